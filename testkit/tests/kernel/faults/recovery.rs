//! The first command of all, and the command that clears up after one that was killed: at their
//! points, too, they fail and are killed.

use testkit::{
    Feature, Sandbox,
    faults::{Group, assert_passed},
    object,
};

use super::matrix::{Operation, Reach, Stage, inbound};
use crate::{
    manifests::{PASS, xdp_manifest},
    support::{tc, xdp},
};

/// On a machine on which bpfman never ran.
#[test]
fn the_first_command() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let traffic = inbound(&veth);
    let mut stage = Stage::new(&sandbox, &traffic);
    let load = xdp("pass").xdp(&veth.name);
    stage.put_through(&Operation::First(load), Some(0));
    assert_passed(Group::First, &stage.passed);
}

/// What is cleared up, and what is left when that is interrupted.
#[test]
fn clearing_up() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let traffic = inbound(&veth);
    let mut stage = Stage::new(&sandbox, &traffic);
    stage.reach = Reach::Brief(&[""]);
    let ext = Feature::Ext.is_present();
    let chain = |priority| xdp("pass").xdp(&veth.name).priority(priority);
    if ext {
        stage.residents(&[chain(40), chain(60)]);
    }
    let mut clear = |operation, point| {
        stage.put_through(&Operation::Recover(Box::new(operation), point), None);
    };
    for point in ["load.program-pinned", "chain.swapped"] {
        clear(Operation::Load(chain(50)), point);
    }
    let make = |priority| xdp_manifest("x", &veth.name, PASS, priority);
    clear(Operation::Exchange(&make), "chain.swapped");
    clear(Operation::Unload(chain(50)), "chain.swapped");
    stage.residents(&[]);
    let mut clear = |operation, point| {
        stage.put_through(&Operation::Recover(Box::new(operation), point), None);
    };
    let egress = || tc("ok").tc("egress", &veth.name);
    clear(Operation::Load(egress()), "chain.swapped");
    clear(Operation::Unload(egress()), "chain.swapped");
    if Feature::PerfLink.is_present() {
        let attach = ["tracepoint", "-t", "syscalls/sys_enter_unlink"];
        let probe = || object("probes").name("count_tracepoint").attach(&attach);
        clear(Operation::Load(probe()), "load.attached");
        // Killed when the link had no name any more: it is gone, and its record goes.
        clear(Operation::Unload(probe()), "unload.link-released");
        assert_passed(Group::Recovery, &stage.passed);
    }
}
