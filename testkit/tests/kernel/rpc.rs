//! `bpfman-rpc` beside the command line, on chains, with real packets. What else there is to the
//! daemon is in the binary `rpc`, which needs no other kernel than the machine's.

use std::{collections::BTreeSet, thread};

use daemon::proto::{AttachInfo, LoadRequest, TcAttachInfo, attach_info::Info};
use nix::sys::signal::Signal;
use testkit::{
    Feature, Load, Sandbox, Veth, World, object,
    servers::{Daemon, Gate, Options, Registry},
    wait_until,
};

use crate::{
    client::{Client, TC, from_image, image, request, tcx, xdp as xdp_request},
    support::{egress, ingress, positions, tc, xdp},
    swap::under_traffic,
};

const DROP: u32 = 1;
const PASS: u32 = 2;

/// A TC program that counts and lets the next one run.
fn tc_request(direction: &str, iface: &str, priority: i32) -> LoadRequest {
    let info = TcAttachInfo {
        priority,
        iface: iface.into(),
        direction: direction.into(),
        ..TcAttachInfo::default()
    };
    let attach = Info::TcAttachInfo(info);
    let mut request = request(&object("tc_verdict"), "tc_verdict", TC, attach);
    let verdict = 0_i32.to_le_bytes().to_vec();
    request.global_data.insert("verdict".into(), verdict);
    request
}

/// `position` as the daemon answers it.
fn position(client: &Client, id: u32) -> i32 {
    let info = client.get(id).unwrap().info.unwrap();
    match info.attach {
        Some(AttachInfo { info: Some(info) }) => match info {
            Info::XdpAttachInfo(info) => info.position,
            Info::TcAttachInfo(info) => info.position,
            Info::TcxAttachInfo(info) => info.position,
            other => panic!("{other:?}"),
        },
        None | Some(AttachInfo { info: None }) => panic!("program {id} is attached to nothing"),
    }
}

/// Ids in the order of a chain: command line and daemon say the same of it.
#[track_caller]
fn in_order(sandbox: &Sandbox, client: &Client, ids: &[u32]) {
    let expected: Vec<usize> = (0..ids.len()).collect();
    assert_eq!(positions(sandbox, ids), expected);
    for (at, id) in ids.iter().enumerate() {
        assert_eq!(usize::try_from(position(client, *id)), Ok(at));
    }
}

/// Three XDP and three TC programs on each side of one interface, every other one by gRPC.
#[test]
fn chains_of_both_front_ends() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let mut daemon = Daemon::start(&sandbox);
    let veth = sandbox.veth();
    let (client, iface) = (Client::new(), veth.name.as_str());
    let xdp_chain = [
        client.loaded(xdp_request(iface, 40, PASS)),
        sandbox.load(&xdp("pass").xdp(iface).priority(50)),
        client.loaded(xdp_request(iface, 60, PASS)),
    ];
    let on_tc = |side: &str| {
        let mut ids = vec![
            sandbox.load(&tc("ok").tc(side, iface).priority(30)),
            client.loaded(tc_request(side, iface, 20)),
            sandbox.load(&tc("ok").tc(side, iface).priority(10)),
        ];
        ids.reverse();
        ids
    };
    let (inbound, outbound) = (on_tc("ingress"), on_tc("egress"));
    for chain in [&xdp_chain[..], &inbound, &outbound] {
        in_order(&sandbox, &client, chain);
    }
    let entering: Vec<u32> = xdp_chain.iter().chain(&inbound).copied().collect();
    assert_eq!(ingress(&sandbox, &veth, 7, &entering), (vec![7; 6], 7));
    assert_eq!(egress(&sandbox, &veth, 5, &outbound), (vec![5; 3], 5));

    // One in the middle takes every packet, and no process holds any of it.
    let taker = client.loaded(xdp_request(iface, 55, DROP));
    let before = World::now();
    let (sent, arrived) = under_traffic(&veth, true, || {
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        before.assert_same("after the daemon was killed");
        daemon = Daemon::start(&sandbox);
    });
    assert!(sent > 0);
    assert_eq!(arrived, 0, "of {sent} packets so many passed by");
    let client = Client::new();
    let chain = [xdp_chain[0], xdp_chain[1], taker, xdp_chain[2]];
    in_order(&sandbox, &client, &chain);
    let seen = ingress(&sandbox, &veth, 5, &[&chain[..], &inbound].concat());
    assert_eq!(seen, (vec![5, 5, 5, 0, 0, 0, 0], 0));
    // Each takes away what the other one loaded.
    sandbox.unload(taker);
    client.unload(xdp_chain[1]).unwrap();
    let left = [xdp_chain[0], xdp_chain[2]];
    in_order(&sandbox, &client, &left);
    assert_eq!(ingress(&sandbox, &veth, 5, &left), (vec![5; 2], 5));
    assert_eq!(client.ids(), sandbox.ids());
}

/// A program each of which all packets must pass, while three others change the chain around it.
fn crowd(
    sandbox: &Sandbox,
    veth: &Veth,
    taker: &Load,
    by_grpc: &(dyn Fn(i32) -> u32 + Sync),
    by_command: &Load,
) {
    const ROUNDS: i32 = 4;
    let taker = sandbox.load(&taker.clone().priority(500));
    let mut kept = BTreeSet::from([taker]);
    let (sent, arrived) = under_traffic(veth, true, || {
        thread::scope(|scope| {
            let clients = [100, 900].map(|priority| {
                scope.spawn(move || {
                    let ids: Vec<_> = (0..ROUNDS).map(|round| by_grpc(priority + round)).collect();
                    let (stay, go) = ids.split_at(2);
                    let client = Client::new();
                    for id in go {
                        client.unload(*id).unwrap();
                    }
                    stay.to_vec()
                })
            });
            for round in 0..ROUNDS {
                let priority = if round % 2 == 0 { 50 } else { 950 };
                let id = sandbox.load(&by_command.clone().priority(priority));
                sandbox.unload(id);
            }
            for client in clients {
                kept.extend(client.join().unwrap());
            }
        });
    });
    assert!(sent > 0);
    assert_eq!(arrived, 0, "of {sent} packets so many passed by");
    let ids: Vec<u32> = kept.into_iter().collect();
    assert_eq!(sandbox.ids(), ids);
    let mut chain = ids;
    chain.sort_unstable_by_key(|id| sandbox.get(*id).bpfman("Position").parse::<u32>().unwrap());
    in_order(sandbox, &Client::new(), &chain);
    // Two before it, and two behind it that see nothing.
    assert_eq!(chain[2], taker);
    assert_eq!(ingress(sandbox, veth, 5, &chain), (vec![5, 5, 5, 0, 0], 0));
    for id in chain {
        sandbox.unload(id);
    }
    assert_eq!(veth.ingress(5), 5);
}

#[test]
fn two_clients_and_the_command_line_on_one_chain() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let _daemon = Daemon::start(&sandbox);
    let veth = sandbox.veth();
    let iface = veth.name.as_str();
    let by_grpc = |priority| Client::new().loaded(xdp_request(iface, priority, PASS));
    let by_command = xdp("pass").xdp(iface);
    crowd(
        &sandbox,
        &veth,
        &xdp("drop").xdp(iface),
        &by_grpc,
        &by_command,
    );
    let by_grpc = |priority| Client::new().loaded(tc_request("ingress", iface, priority));
    let by_command = tc("ok").tc("ingress", iface);
    let taker = tc("shot").tc("ingress", iface);
    crowd(&sandbox, &veth, &taker, &by_grpc, &by_command);
}

#[test]
fn two_clients_and_the_command_line_on_one_tcx_hook() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let _daemon = Daemon::start(&sandbox);
    let veth = sandbox.veth();
    let iface = veth.name.as_str();
    let by_grpc = |priority| Client::new().loaded(tcx("ingress", iface, priority));
    let by_command = tc("unspec").tcx("ingress", iface);
    let taker = tc("shot").tcx("ingress", iface);
    crowd(&sandbox, &veth, &taker, &by_grpc, &by_command);
}

/// A load that waits for a registry while the daemon is told to end joins the chain all the same.
#[test]
fn sigterm_lets_a_load_into_a_chain_finish() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let registry = Registry::start(&sandbox, &Options::default());
    registry.build(&sandbox, "a", &object("xdp_verdict").path);
    let gate = Gate::new(registry.port(), 0);
    let mut daemon = Daemon::start(&sandbox);
    let veth = sandbox.veth();
    let first = sandbox.load(&xdp("pass").xdp(&veth.name).priority(50));
    let url = format!("{}/a", gate.host());
    let load = from_image(xdp_request(&veth.name, 40, PASS), image(&url));
    let loading = thread::spawn(|| Client::new().load(load));
    gate.wait_held();
    daemon.signal(Signal::SIGTERM);
    let ending = || daemon.log().contains("ending: SIGTERM");
    assert!(wait_until(ending), "{}", daemon.log());
    // The command line does not wait for it.
    let last = sandbox.load(&xdp("pass").xdp(&veth.name).priority(60));
    assert!(!daemon.has_ended());
    gate.open();
    let second = loading.join().unwrap().unwrap().kernel_info.unwrap().id;
    assert!(daemon.wait().success(), "{}", daemon.log());
    let chain = [second, first, last];
    assert_eq!(positions(&sandbox, &chain), [0, 1, 2]);
    assert_eq!(ingress(&sandbox, &veth, 5, &chain), (vec![5; 3], 5));
}
