//! A chain changes in one step: no packet misses a program that was there before and after.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use testkit::{Feature, Load, Sandbox, Veth, receive, send};

use crate::support::{tc, xdp};

/// Changes of the chain while packets come in.
const SWAPS: u32 = 200;

/// Sends without a pause while `work` runs. Answers how many were sent and how many arrived.
fn under_traffic(veth: &Veth, inbound: bool, work: impl FnOnce()) -> (u64, u64) {
    let (near, far) = veth.sockets();
    let (from, to) = if inbound { (far, near) } else { (near, far) };
    let address = to.local_addr().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                send(from, address, sent);
                sent += 1;
            }
            sent
        });
        let receiver = scope.spawn(|| {
            let mut arrived = 0;
            while !done.load(Ordering::Relaxed) {
                arrived += u64::from(receive(to).is_some());
            }
            while receive(to).is_some() {
                arrived += 1;
            }
            arrived
        });
        work();
        done.store(true, Ordering::Relaxed);
        (u64::from(sender.join().unwrap()), receiver.join().unwrap())
    })
}

/// One program that takes every packet stays while another comes and goes, before and behind it.
fn none_bypasses(sandbox: &Sandbox, veth: &Veth, inbound: bool, taker: &Load, other: &Load) {
    let taker = sandbox.load(&taker.clone().priority(500));
    let (sent, arrived) = under_traffic(veth, inbound, || {
        for swap in 0..SWAPS / 2 {
            let priority = if swap % 2 == 0 { 100 } else { 900 };
            let id = sandbox.load(&other.clone().priority(priority));
            sandbox.unload(id);
        }
    });
    eprintln!("{sent} packets over {SWAPS} swaps");
    assert!(sent > u64::from(SWAPS));
    assert_eq!(arrived, 0, "of {sent} packets so many passed by");
    assert_eq!(sandbox.count(taker, "counter"), sent);
}

#[test]
fn no_packet_passes_by_an_xdp_program() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let (taker, other) = (xdp("drop").xdp(&veth.name), xdp("pass").xdp(&veth.name));
    none_bypasses(&sandbox, &veth, true, &taker, &other);
}

#[test]
fn no_packet_passes_by_a_tc_program_at_ingress() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let (taker, other) = (tc("shot"), tc("ok"));
    let on = |load: Load| load.tc("ingress", &veth.name);
    none_bypasses(&sandbox, &veth, true, &on(taker), &on(other));
}

#[test]
fn no_packet_passes_by_a_tc_program_at_egress() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let (taker, other) = (tc("shot"), tc("ok"));
    let on = |load: Load| load.tc("egress", &veth.name);
    none_bypasses(&sandbox, &veth, false, &on(taker), &on(other));
}

#[test]
fn no_packet_passes_by_a_tcx_program() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    let on = |load: Load| load.tcx("ingress", &veth.name);
    none_bypasses(&sandbox, &veth, true, &on(tc("shot")), &on(tc("unspec")));
}

/// A chain whose programs all let packets through loses none of them while it changes.
#[test]
fn no_packet_is_lost() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let stays = sandbox.load(&xdp("pass").xdp(&veth.name).priority(500));
    let (near, far) = veth.sockets();
    let address = near.local_addr().unwrap();
    let mut sent = 0;
    for _ in 0..20 {
        // As many as the receiver's queue holds for sure, so that a loss is the chain's.
        thread::scope(|scope| {
            let change = scope.spawn(|| {
                let id = sandbox.load(&xdp("pass").xdp(&veth.name).priority(100));
                sandbox.unload(id);
            });
            let mut arrived = 0;
            let first = sent;
            while !change.is_finished() || sent == first {
                send(far, address, sent);
                sent += 1;
                arrived += u32::from(receive(near).is_some());
            }
            change.join().unwrap();
            assert_eq!(arrived, sent - first);
        });
    }
    assert_eq!(sandbox.count(stays, "counter"), u64::from(sent));
}
