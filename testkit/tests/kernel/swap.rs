//! A chain changes in one step: no packet misses a program that was there before and after.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use testkit::{Feature, Load, Sandbox, Veth, maps, object, receive, send, wait_until};

use crate::support::{tc, xdp};

/// Packets that are sent at once. Then the sender rests, so that on two slow processors the command
/// under test gets its turn.
const BURST: u32 = 32;
const REST: Duration = Duration::from_micros(200);

/// Ends the traffic, also when the work fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends all the time while `work` runs. Answers how many were sent and how many arrived.
pub(crate) fn under_traffic(veth: &Veth, inbound: bool, work: impl FnOnce()) -> (u64, u64) {
    let (near, far) = veth.sockets();
    let (from, to) = if inbound { (far, near) } else { (near, far) };
    let address = to.local_addr().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                for _ in 0..BURST {
                    send(from, address, sent);
                    sent += 1;
                }
                thread::sleep(REST);
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
        let end = End(&done);
        work();
        drop(end);
        (u64::from(sender.join().unwrap()), receiver.join().unwrap())
    })
}

/// One program that takes every packet stays while another comes and goes, before and behind it.
fn none_bypasses(swaps: u32, veth: &Veth, inbound: bool, loads: [&Load; 2], sandbox: &Sandbox) {
    let [taker, other] = loads;
    let taker = sandbox.load(&taker.clone().priority(500));
    let refused = veth.refused();
    let (sent, arrived) = under_traffic(veth, inbound, || {
        for swap in 0..swaps / 2 {
            let priority = if swap % 2 == 0 { 100 } else { 900 };
            let id = sandbox.load(&other.clone().priority(priority));
            sandbox.unload(id);
        }
    });
    eprintln!("{sent} packets over {swaps} swaps");
    assert!(sent > u64::from(swaps));
    assert_eq!(arrived, 0, "of {sent} packets so many passed by");
    // On a busy machine the queue of an interface fills up.
    let refused = veth.refused() - refused;
    assert_eq!(sandbox.count(taker, "counter") + refused, sent);
}

#[test]
fn no_packet_passes_by_an_xdp_program() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let (taker, other) = (xdp("drop").xdp(&veth.name), xdp("pass").xdp(&veth.name));
    none_bypasses(200, &veth, true, [&taker, &other], &sandbox);
}

#[test]
fn no_packet_passes_by_a_tc_program_at_ingress() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let (taker, other) = (tc("shot"), tc("ok"));
    let on = |load: Load| load.tc("ingress", &veth.name);
    none_bypasses(80, &veth, true, [&on(taker), &on(other)], &sandbox);
}

#[test]
fn no_packet_passes_by_a_tc_program_at_egress() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let (taker, other) = (tc("shot"), tc("ok"));
    let on = |load: Load| load.tc("egress", &veth.name);
    none_bypasses(40, &veth, false, [&on(taker), &on(other)], &sandbox);
}

#[test]
fn no_packet_passes_by_a_tcx_program() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    let on = |load: Load| load.tcx("ingress", &veth.name);
    let loads = [&on(tc("shot")), &on(tc("unspec"))];
    none_bypasses(40, &veth, true, loads, &sandbox);
}

/// A packet that is in the chain while it changes meets every program that was there all the time.
#[test]
fn a_packet_under_way_passes_by_nobody() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext, Feature::TwoProcessors]) else {
        return;
    };
    let veth = sandbox.veth();
    let load = |load: Load, priority| {
        let load = load.tc("egress", &veth.name);
        sandbox.load(&load.priority(priority))
    };
    let two_seconds = format!("{:016X}", 2_000_000_000_u64.swap_bytes());
    let slow = object("tc_slow").name("tc_slow");
    let slow = load(slow.global("nanoseconds", &two_seconds), 100);
    load(tc("shot"), 500);
    let (near, far) = veth.sockets();
    let maps = sandbox.runtime_dir().join("fs/maps").join(slow.to_string());
    thread::scope(|scope| {
        let packet = scope.spawn(|| send(near, far.local_addr().unwrap(), 0));
        assert!(wait_until(|| maps::count(&maps.join("counter"), 0) > 0));
        load(tc("ok"), 900);
        assert_eq!(maps::count(&maps.join("kept"), 0), 1, "it is still there");
        packet.join().unwrap();
    });
    assert!(receive(far).is_none(), "it passed by");
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
            let all = || {
                arrived += u32::from(receive(near).is_some());
                arrived == sent - first
            };
            assert!(wait_until(all), "a packet was lost");
        });
    }
    assert_eq!(sandbox.count(stays, "counter"), u64::from(sent));
}
