//! TC chains in both directions, proved with packets.

use testkit::{Feature, Load, Sandbox, object};

use crate::support::{TC, counts, egress, hex, ingress, positions, tc};

/// What the stack does with a packet at the end of a chain: a filter in direct-action mode takes
/// it away with these and lets it go on with all others.
const TAKEN: [&str; 4] = ["shot", "stolen", "redirect", "trap"];

fn trace(tag: i32, owner: Option<u32>) -> Load {
    let load = object("tc_trace").name("tc_trace").global("tag", &hex(tag));
    owner.into_iter().fold(load, Load::map_owner)
}

#[test]
fn priority_decides_and_the_newest_of_equals_runs_first() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    for direction in ["ingress", "egress"] {
        let mut ids = Vec::new();
        for (tag, priority) in [(1, 50), (2, 10), (3, 50), (4, 0), (5, 1000), (6, 10)] {
            let load = trace(tag, ids.first().copied()).tc(direction, &veth.name);
            ids.push(sandbox.load(&load.priority(priority)));
        }
        assert_eq!(
            if direction == "ingress" {
                veth.ingress(1)
            } else {
                veth.egress(1)
            },
            1
        );
        let map = sandbox.map(ids[0], "trace");
        let seen: Vec<u64> = (0..8).map(|at| testkit::maps::count(&map, at)).collect();
        assert_eq!(seen, [6, 4, 6, 2, 3, 1, 5, 0]);
        assert_eq!(positions(&sandbox, &ids), [4, 2, 3, 0, 5, 1]);
        for id in ids {
            sandbox.unload(id);
        }
    }
}

/// As for XDP: each verdict at one place of three, with and without a proceed-on for it.
fn every_verdict(direction: &str, place: usize) {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let send = if direction == "ingress" {
        ingress
    } else {
        egress
    };
    let others: Vec<u32> = [20, 40]
        .iter()
        .map(|priority| sandbox.load(&tc("ok").tc(direction, &veth.name).priority(*priority)))
        .collect();
    for (action, _) in TC {
        for goes_on in [true, false] {
            let listed: Vec<&str> = TC
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| (*name == action) == goes_on)
                .collect();
            let priority = [10, 30, 50][place];
            let load = tc(action).tc(direction, &veth.name).priority(priority);
            let subject = sandbox.load(&load.proceed_on(&listed));
            let mut ids = others.clone();
            ids.insert(place, subject);
            let (seen, arrived) = send(&sandbox, &veth, 5, &ids);
            let expected: Vec<u64> = (0..3)
                .map(|at| if at <= place || goes_on { 5 } else { 0 })
                .collect();
            assert_eq!(seen, expected, "{action} at {place}, goes on: {goes_on}");
            let passes = goes_on || !TAKEN.contains(&action);
            assert_eq!(
                arrived,
                if passes { 5 } else { 0 },
                "{action} at {place}, {goes_on}"
            );
            sandbox.unload(subject);
        }
    }
    assert_eq!(send(&sandbox, &veth, 3, &others), (vec![3, 3], 3));
}

#[test]
fn every_verdict_of_the_first_program_at_ingress() {
    every_verdict("ingress", 0);
}

#[test]
fn every_verdict_of_a_middle_program_at_ingress() {
    every_verdict("ingress", 1);
}

#[test]
fn every_verdict_of_the_last_program_at_ingress() {
    every_verdict("ingress", 2);
}

#[test]
fn every_verdict_of_the_first_program_at_egress() {
    every_verdict("egress", 0);
}

#[test]
fn every_verdict_of_the_last_program_at_egress() {
    every_verdict("egress", 2);
}

/// One program alone takes the same way out as a chain, but for two verdicts where a TCX link holds
/// it by itself: TCX knows them as "next", and no dispatcher translates them.
#[test]
fn every_verdict_of_the_only_program() {
    let sandbox = Sandbox::new();
    let direct = !Feature::Ext.is_present() && Feature::Tcx.is_present();
    let veth = sandbox.veth();
    for (direction, send) in [
        ("ingress", ingress as fn(&_, &_, _, &_) -> _),
        ("egress", egress),
    ] {
        for (action, _) in TC {
            // Repeat is no verdict of a filter in direct-action mode, only a wish.
            let id = sandbox.load(&tc(action).tc(direction, &veth.name).proceed_on(&["unspec"]));
            let untold = direct && ["stolen", "trap"].contains(&action);
            let taken = TAKEN.contains(&action) && !untold;
            let arrives = if taken { 0 } else { 5 };
            let seen = send(&sandbox, &veth, 5, &[id]);
            assert_eq!(seen, (vec![5], arrives), "{action} at {direction}");
            sandbox.unload(id);
        }
    }
}

#[test]
fn proceed_on_is_ok_and_pipe_by_default() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let last = sandbox.load(&tc("ok").tc("ingress", &veth.name).priority(90));
    for (action, _) in TC {
        let first = sandbox.load(&tc(action).tc("ingress", &veth.name).priority(10));
        assert_eq!(
            sandbox.get(first).bpfman("Proceed On"),
            "ok, pipe, dispatcher_return"
        );
        let goes_on = ["ok", "pipe"].contains(&action);
        let (seen, _) = ingress(&sandbox, &veth, 5, &[first, last]);
        assert_eq!(seen, [5, if goes_on { 5 } else { 0 }], "{action}");
        sandbox.unload(first);
    }
}

#[test]
fn ten_run_and_the_eleventh_is_refused() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let load = tc("pipe").tc("egress", &veth.name).priority(50);
    let mut ids: Vec<u32> = (0..10).map(|_| sandbox.load(&load)).collect();
    ids.reverse();
    assert_eq!(egress(&sandbox, &veth, 20, &ids), (vec![20; 10], 20));
    sandbox.unchanged(|| {
        sandbox
            .try_load(&load)
            .fails(1, &[&veth.name, "egress", "10"])
    });
    assert_eq!(egress(&sandbox, &veth, 5, &ids), (vec![5; 10], 5));
    // The other side of the interface is another chain.
    let inbound = sandbox.load(&tc("ok").tc("ingress", &veth.name));
    assert_eq!(ingress(&sandbox, &veth, 5, &[inbound]), (vec![5], 5));
}

#[test]
fn the_two_directions_are_two_chains() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let inbound = sandbox.load(&tc("ok").tc("ingress", &veth.name).priority(10));
    let outbound = sandbox.load(&tc("ok").tc("egress", &veth.name).priority(20));
    let second = sandbox.load(&tc("pipe").tc("ingress", &veth.name).priority(5));
    let ids = [inbound, outbound, second];
    assert_eq!(ingress(&sandbox, &veth, 5, &ids), (vec![5, 0, 5], 5));
    assert_eq!(egress(&sandbox, &veth, 6, &ids), (vec![0, 6, 0], 6));
    assert_eq!(positions(&sandbox, &ids), [1, 0, 0]);
    assert_eq!(sandbox.get(inbound).bpfman("Direction"), "ingress");
    assert_eq!(sandbox.get(outbound).bpfman("Direction"), "egress");
}

#[test]
fn proceed_on_stays_with_its_program_when_others_go() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let load = |action, priority| tc(action).tc("ingress", &veth.name).priority(priority);
    let first = sandbox.load(&load("ok", 10));
    let second = sandbox.load(&load("shot", 20).proceed_on(&["shot"]));
    let third = sandbox.load(&load("trap", 30).proceed_on(&["trap"]));
    let fourth = sandbox.load(&load("unspec", 40).proceed_on(&["unspec"]));
    let fifth = sandbox.load(&load("ok", 50));
    let ids = [first, second, third, fourth, fifth];
    assert_eq!(ingress(&sandbox, &veth, 5, &ids), (vec![5; 5], 5));
    for gone in 0..4 {
        sandbox.unload(ids[gone]);
        let left = &ids[gone + 1..];
        assert_eq!(ingress(&sandbox, &veth, 5, left), (vec![5; left.len()], 5));
    }
}

#[test]
fn a_program_keeps_its_counter_when_the_chain_changes() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let id = sandbox.load(&tc("ok").tc("egress", &veth.name).priority(50));
    assert_eq!(veth.egress(4), 4);
    let other = sandbox.load(&tc("ok").tc("egress", &veth.name).priority(10));
    assert_eq!(veth.egress(4), 4);
    assert_eq!(counts(&sandbox, &[id, other]), [8, 4]);
    sandbox.unload(other);
    assert_eq!(sandbox.count(id, "counter"), 8);
}

#[test]
fn a_namespace_by_name_and_by_path() {
    let sandbox = Sandbox::new();
    sandbox.netns("there");
    let veth = sandbox.veth_in("there");
    for netns in ["there", "/run/netns/there"] {
        let load = tc("ok")
            .tc("ingress", &veth.name)
            .attach(&["--netns", netns]);
        let id = sandbox.load(&load);
        assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5));
        sandbox.unload(id);
    }
}
