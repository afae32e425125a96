//! XDP chains, proved with packets.

use testkit::{Feature, Load, Sandbox, json, object, wait_until};

use crate::support::{XDP, counts, hex, ingress, positions, xdp};

/// Appends its tag to a trace that all of them share.
fn trace(tag: i32, owner: Option<u32>) -> Load {
    let load = object("xdp_trace")
        .name("xdp_trace")
        .global("tag", &hex(tag));
    owner.into_iter().fold(load, Load::map_owner)
}

/// The tags in the order in which one packet met them.
fn order(sandbox: &Sandbox, owner: u32) -> Vec<u64> {
    let map = sandbox.map(owner, "trace");
    let stamps = u32::try_from(testkit::maps::count(&map, 0)).unwrap();
    (1..=stamps)
        .map(|at| testkit::maps::count(&map, at))
        .collect()
}

#[test]
fn priority_decides_and_the_newest_of_equals_runs_first() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let mut ids = Vec::new();
    for (tag, priority) in [(1, 50), (2, 10), (3, 50), (4, 0), (5, 1000), (6, 10)] {
        let load = trace(tag, ids.first().copied())
            .xdp(&veth.name)
            .priority(priority);
        ids.push(sandbox.load(&load));
    }
    assert_eq!(veth.ingress(1), 1);
    assert_eq!(order(&sandbox, ids[0]), [4, 6, 2, 3, 1, 5]);
    assert_eq!(positions(&sandbox, &ids), [4, 2, 3, 0, 5, 1]);
}

#[test]
fn without_a_priority_it_runs_last() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let plain = sandbox.load(&xdp("pass").xdp(&veth.name));
    let early = sandbox.load(&xdp("pass").xdp(&veth.name).priority(999));
    assert_eq!(positions(&sandbox, &[plain, early]), [1, 0]);
    assert_eq!(sandbox.get(plain).bpfman("Priority"), "1000");
}

/// Puts a program with each verdict, with and without that verdict in its proceed-on, at one place
/// of a chain of three, whose other two let everything go on.
fn every_verdict(place: usize) {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let others: Vec<u32> = [20, 40]
        .iter()
        .map(|priority| sandbox.load(&xdp("pass").xdp(&veth.name).priority(*priority)))
        .collect();
    for (action, _) in XDP {
        for goes_on in [true, false] {
            let listed: Vec<&str> = XDP
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| (*name == action) == goes_on)
                .collect();
            let priority = [10, 30, 50][place];
            let load = xdp(action)
                .xdp(&veth.name)
                .priority(priority)
                .proceed_on(&listed);
            let subject = sandbox.load(&load);
            let mut ids = others.clone();
            ids.insert(place, subject);
            let (seen, arrived) = ingress(&sandbox, &veth, 5, &ids);
            let expected: Vec<u64> = (0..3)
                .map(|at| if at <= place || goes_on { 5 } else { 0 })
                .collect();
            assert_eq!(seen, expected, "{action} at {place}, goes on: {goes_on}");
            // A chain that reaches its end lets the packet pass, as libxdp's does.
            let passes = goes_on || action == "pass";
            assert_eq!(
                arrived,
                if passes { 5 } else { 0 },
                "{action} at {place}, {goes_on}"
            );
            sandbox.unload(subject);
        }
    }
    assert_eq!(ingress(&sandbox, &veth, 3, &others), (vec![3, 3], 3));
}

#[test]
fn every_verdict_of_the_first_program() {
    every_verdict(0);
}

#[test]
fn every_verdict_of_a_middle_program() {
    every_verdict(1);
}

#[test]
fn every_verdict_of_the_last_program() {
    every_verdict(2);
}

/// Such a program takes the place of the whole dispatcher, and gives it back when others come.
#[test]
fn a_program_alone_that_proceeds_on_pass() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    for (action, _) in XDP {
        let lone = xdp(action)
            .xdp(&veth.name)
            .priority(20)
            .proceed_on(&["pass"]);
        let lone = sandbox.load(&lone);
        let passed = if action == "pass" { 5 } else { 0 };
        let alone = || assert_eq!(ingress(&sandbox, &veth, 5, &[lone]), (vec![5], passed));
        alone();
        for priority in [10, 30] {
            let other = sandbox.load(&xdp("pass").xdp(&veth.name).priority(priority));
            let after = if priority == 30 { passed.into() } else { 5 };
            let seen = ingress(&sandbox, &veth, 5, &[lone, other]);
            assert_eq!(seen, (vec![5, after], passed), "{action} and {priority}");
            sandbox.unload(other);
            alone();
        }
        sandbox.unload(lone);
    }
}

#[test]
fn proceed_on_is_pass_by_default() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let last = sandbox.load(&xdp("pass").xdp(&veth.name).priority(90));
    for (action, _) in XDP {
        let first = sandbox.load(&xdp(action).xdp(&veth.name).priority(10));
        assert_eq!(
            sandbox.get(first).bpfman("Proceed On"),
            "pass, dispatcher_return"
        );
        let expected = if action == "pass" { 5 } else { 0 };
        let seen = ingress(&sandbox, &veth, 5, &[first, last]);
        assert_eq!(seen, (vec![5, u64::from(expected)], expected), "{action}");
        sandbox.unload(first);
    }
}

#[test]
fn proceed_on_takes_words_in_one_flag_or_in_several() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let one = xdp("drop")
        .xdp(&veth.name)
        .attach(&["--proceed-on", "drop", "dispatcher_return"]);
    let several = xdp("drop")
        .xdp(&veth.name)
        .proceed_on(&["drop", "dispatcher_return"]);
    let ids = [sandbox.load(&one), sandbox.load(&several)];
    for id in ids {
        assert_eq!(
            sandbox.get(id).bpfman("Proceed On"),
            "drop, dispatcher_return"
        );
    }
    assert_eq!(ingress(&sandbox, &veth, 5, &ids).0, [5, 5]);
}

#[test]
fn ten_run_and_the_eleventh_is_refused() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let load = xdp("pass").xdp(&veth.name).priority(50);
    let mut ids: Vec<u32> = (0..10).map(|_| sandbox.load(&load)).collect();
    ids.reverse();
    assert_eq!(ingress(&sandbox, &veth, 20, &ids), (vec![20; 10], 20));
    assert_eq!(positions(&sandbox, &ids), (0..10).collect::<Vec<_>>());
    sandbox.unchanged(|| sandbox.try_load(&load).fails(1, &[&veth.name, "10"]));
    assert_eq!(ingress(&sandbox, &veth, 5, &ids), (vec![5; 10], 5));
    sandbox.unload(ids.remove(3));
    ids.insert(0, sandbox.load(&load));
    assert_eq!(ingress(&sandbox, &veth, 5, &ids), (vec![5; 10], 5));
}

#[test]
fn proceed_on_stays_with_its_program_when_others_go() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let first = sandbox.load(&xdp("pass").xdp(&veth.name).priority(10));
    let drop_on = ["drop"];
    let second = sandbox.load(
        &xdp("drop")
            .xdp(&veth.name)
            .priority(20)
            .proceed_on(&drop_on),
    );
    let third = sandbox.load(&xdp("tx").xdp(&veth.name).priority(30).proceed_on(&["tx"]));
    let fourth = sandbox.load(&xdp("pass").xdp(&veth.name).priority(40));
    assert_eq!(
        ingress(&sandbox, &veth, 5, &[first, second, third, fourth]),
        (vec![5; 4], 5)
    );
    sandbox.unload(first);
    assert_eq!(
        ingress(&sandbox, &veth, 5, &[second, third, fourth]),
        (vec![5; 3], 5)
    );
    sandbox.unload(second);
    assert_eq!(
        ingress(&sandbox, &veth, 5, &[third, fourth]),
        (vec![5; 2], 5)
    );
    sandbox.load(
        &xdp("pass")
            .xdp(&veth.name)
            .priority(5)
            .proceed_on(&["drop"]),
    );
    assert_eq!(
        ingress(&sandbox, &veth, 5, &[third, fourth]),
        (vec![0; 2], 5)
    );
}

#[test]
fn programs_go_in_any_order() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let ids: Vec<u32> = [10, 20, 30]
            .iter()
            .map(|priority| sandbox.load(&xdp("pass").xdp(&veth.name).priority(*priority)))
            .collect();
        let mut left = ids.clone();
        for gone in order {
            sandbox.unload(ids[gone]);
            left.retain(|id| *id != ids[gone]);
            assert_eq!(ingress(&sandbox, &veth, 2, &left), (vec![2; left.len()], 2));
            assert_eq!(
                positions(&sandbox, &left),
                (0..left.len()).collect::<Vec<_>>()
            );
        }
        assert_eq!(sandbox.ids(), [0; 0]);
    }
}

#[test]
fn a_program_keeps_its_id_and_its_counter_when_the_chain_changes() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let id = sandbox.load(&xdp("pass").xdp(&veth.name).priority(50));
    let tag = sandbox.get(id).kernel("Tag");
    assert_eq!(veth.ingress(4), 4);
    let other = sandbox.load(&xdp("pass").xdp(&veth.name).priority(10));
    assert_eq!(veth.ingress(4), 4);
    assert_eq!(counts(&sandbox, &[id, other]), [8, 4]);
    sandbox.unload(other);
    assert_eq!(sandbox.ids(), [id]);
    assert_eq!(sandbox.get(id).kernel("Tag"), tag);
    assert_eq!(sandbox.count(id, "counter"), 8);
}

#[test]
fn interfaces_do_not_mix() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let (one, two) = (sandbox.veth(), sandbox.veth());
    let a = sandbox.load(&xdp("pass").xdp(&one.name).priority(10));
    let b = sandbox.load(&xdp("pass").xdp(&two.name).priority(10));
    let c = sandbox.load(&xdp("drop").xdp(&one.name).priority(20));
    assert_eq!(ingress(&sandbox, &one, 5, &[a, b, c]), (vec![5, 0, 5], 0));
    assert_eq!(ingress(&sandbox, &two, 5, &[a, b, c]), (vec![0, 5, 0], 5));
    assert_eq!(positions(&sandbox, &[a, b, c]), [0, 0, 1]);
}

#[test]
fn a_namespace_by_name_and_by_path() {
    let sandbox = Sandbox::new();
    sandbox.netns("there");
    let veth = sandbox.veth_in("there");
    let load = xdp("pass").xdp(&veth.name);
    sandbox.unchanged(|| sandbox.try_load(&load).fails(1, &[&veth.name]));
    for netns in ["there", "/run/netns/there"] {
        let id = sandbox.load(&load.clone().attach(&["--netns", netns]));
        assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5));
        assert!(
            sandbox.get(id).text.contains("there"),
            "{}",
            sandbox.get(id).text
        );
        sandbox.unload(id);
    }
}

#[test]
fn a_chain_in_a_namespace() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    sandbox.netns("there");
    let (here, there) = (sandbox.veth(), sandbox.veth_in("there"));
    let load = |priority| xdp("pass").xdp(&there.name).priority(priority);
    let ids = [
        sandbox.load(&load(10).attach(&["-n", "there"])),
        sandbox.load(&load(20).attach(&["-n", "/run/netns/there"])),
    ];
    let outside = sandbox.load(&xdp("pass").xdp(&here.name).priority(5));
    assert_eq!(ingress(&sandbox, &there, 5, &ids), (vec![5, 5], 5));
    assert_eq!(positions(&sandbox, &[ids[0], ids[1], outside]), [0, 1, 0]);
}

/// `ip` calls driver mode 1 and generic mode 2.
fn mode(iface: &str) -> u64 {
    json("ip", &["-j", "-d", "link", "show", "dev", iface])[0]["xdp"]["mode"]
        .as_u64()
        .unwrap()
}

#[test]
fn the_configuration_chooses_the_xdp_mode() {
    let sandbox = Sandbox::new();
    let (one, two) = (sandbox.veth(), sandbox.veth());
    sandbox.config(&format!("[interfaces.{}]\nxdp_mode = \"skb\"\n", one.name));
    let a = sandbox.load(&xdp("pass").xdp(&one.name));
    let b = sandbox.load(&xdp("pass").xdp(&two.name));
    assert_eq!((mode(&one.name), mode(&two.name)), (2, 1));
    assert_eq!(ingress(&sandbox, &one, 5, &[a, b]), (vec![5, 0], 5));
    sandbox.config("[interfaces.bm0]\nxdp_mode = \"fast\"\n");
    sandbox.unload(b);
    let refused = sandbox.try_load(&xdp("pass").xdp(&two.name));
    refused.fails(1, &["bpfman.toml", "xdp_mode"]);
}

/// Falls back to the generic mode where the driver has no XDP: the loopback interface.
#[test]
fn a_driver_without_xdp_gets_the_generic_mode() {
    let sandbox = Sandbox::new();
    let id = sandbox.load(&xdp("pass").xdp("lo"));
    assert_eq!(mode("lo"), 2);
    testkit::tool("ping", &["-c", "1", "-W", "60", "127.0.0.1"]).ok();
    assert!(wait_until(|| sandbox.count(id, "counter") >= 2));
}
