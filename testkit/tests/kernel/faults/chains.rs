//! Chains: a program alone on its hook, and first, in the middle and last among others.

use testkit::{
    Feature, Load, Sandbox,
    faults::{Group, assert_passed},
    tool,
};

use super::matrix::{Operation, Reach, Stage, Traffic, inbound, outbound};
use crate::support::{foreign_filter, tc, xdp};

/// What an operation does besides is the same wherever in the chain its program is.
const OF_THE_CHAIN: Reach = Reach::Brief(&["chain."]);

/// A program comes and goes alone.
fn alone(stage: &mut Stage<'_>, make: &dyn Fn(u32) -> Load) {
    stage.residents(&[]);
    stage.put_through(&Operation::Load(make(50)), Some(0));
    stage.put_through(&Operation::Unload(make(50)), None);
}

/// A program comes and goes beside two others.
fn beside(stage: &mut Stage<'_>, make: &dyn Fn(u32) -> Load, positions: &[usize]) {
    stage.residents(&[make(40), make(60)]);
    for position in positions {
        let load = make([30, 50, 70][*position]);
        stage.put_through(&Operation::Load(load.clone()), Some(*position));
        stage.put_through(&Operation::Unload(load), None);
    }
}

fn prove(
    sandbox: &Sandbox,
    traffic: &Traffic<'_>,
    make: &dyn Fn(u32) -> Load,
    positions: &[usize],
    groups: &[Group],
    reach: Reach,
) {
    let mut stage = Stage::new(sandbox, traffic);
    if positions.is_empty() {
        alone(&mut stage, make);
    } else {
        stage.reach = reach;
        beside(&mut stage, make, positions);
    }
    for group in groups {
        assert_passed(*group, &stage.passed);
    }
}

/// The points that a chain passes only where it begins and ends.
fn tc_groups() -> Vec<Group> {
    let hold = if Feature::Tcx.is_present() {
        Group::TcxChains
    } else {
        Group::Filters
    };
    if Feature::Ext.is_present() {
        vec![hold]
    } else {
        Vec::new()
    }
}

macro_rules! hook {
    ($module:ident, $traffic:ident, $make:expr, $groups:expr, $middle:expr) => {
        mod $module {
            use super::*;

            #[test]
            fn alone_on_its_hook() {
                let sandbox = Sandbox::new();
                let veth = sandbox.veth();
                let make = |priority| $make(&veth.name, priority);
                prove(
                    &sandbox,
                    &$traffic(&veth),
                    &make,
                    &[],
                    &$groups,
                    Reach::Full,
                );
            }

            #[test]
            fn first_in_a_chain() {
                among_others(&[0], OF_THE_CHAIN);
            }

            #[test]
            fn in_the_middle_of_a_chain() {
                among_others(&[1], $middle);
            }

            #[test]
            fn last_in_a_chain() {
                among_others(&[2], OF_THE_CHAIN);
            }

            fn among_others(positions: &[usize], reach: Reach) {
                let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
                    return;
                };
                let veth = sandbox.veth();
                let make = |priority| $make(&veth.name, priority);
                let groups = [Group::Chains];
                prove(&sandbox, &$traffic(&veth), &make, positions, &groups, reach);
            }
        }
    };
}

hook!(
    an_xdp_program,
    inbound,
    |iface: &str, priority| xdp("pass").xdp(iface).priority(priority),
    [],
    Reach::Full
);
hook!(
    a_tc_program_at_ingress,
    inbound,
    |iface: &str, priority| tc("ok").tc("ingress", iface).priority(priority),
    tc_groups(),
    Reach::Full
);
hook!(
    a_tc_program_at_egress,
    outbound,
    |iface: &str, priority| tc("ok").tc("egress", iface).priority(priority),
    tc_groups(),
    OF_THE_CHAIN
);

/// Taken back, the last program of a hook is where it was among what others attached.
#[test]
fn a_failed_unload_keeps_the_place_among_filters_of_others() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(&tc("ok").tc("ingress", &veth.name));
    let tc = |words: &str| {
        let words = words.replace("DEV", &veth.name);
        tool("tc", &words.split(' ').collect::<Vec<_>>())
    };
    let made = tc("qdisc add dev DEV clsact").status == 0;
    for pref in ["30", "60"] {
        foreign_filter(&veth.name, "ingress", &["pref", pref]);
    }
    for point in ["chain.swapped", "state.written"] {
        sandbox.unchanged(|| {
            let fault = format!("{point}:fail");
            let words = ["unload".to_owned(), id.to_string()];
            let output = sandbox.bpfman_env("BPFMAN_FAULT", &fault, words);
            output.fails(1, &["fault injected"]);
        });
    }
    for pref in ["30", "60"] {
        tc(&format!("filter del dev DEV ingress pref {pref}")).ok();
    }
    if made {
        tc("qdisc del dev DEV clsact").ok();
    }
}

/// Taken back, an XDP program is on the hook on which it was, whatever the configuration says now.
#[test]
fn a_failed_unload_keeps_the_xdp_mode() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let mode = |mode| {
        sandbox.config(&format!(
            "[interfaces.{}]\nxdp_mode = \"{mode}\"\n",
            veth.name
        ));
    };
    mode("skb");
    let id = sandbox.load(&xdp("pass").xdp(&veth.name));
    mode("drv");
    sandbox.unchanged(|| {
        let words = ["unload".to_owned(), id.to_string()];
        let output = sandbox.bpfman_env("BPFMAN_FAULT", "chain.swapped:fail", words);
        output.fails(1, &["fault injected"]);
    });
}

/// A program that uses the maps of another one, and one whose maps another one uses.
#[test]
fn shared_maps() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let traffic = inbound(&veth);
    let mut stage = Stage::new(&sandbox, &traffic);
    stage.shared = true;
    stage.reach = Reach::Brief(&["load.", "unload.", "pins."]);
    let load = |priority| xdp("pass").xdp(&veth.name).priority(priority);
    stage.residents(&[load(40)]);
    let user = load(50).map_owner(stage.residents[0]);
    stage.put_through(&Operation::Load(user.clone()), Some(1));
    stage.put_through(&Operation::Unload(user), None);
    // The owner goes, the maps stay with their user.
    stage.put_through(&Operation::Orphan(load(50)), None);
}
