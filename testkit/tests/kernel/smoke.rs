//! The shortest way through each verb.

use testkit::{Feature, Sandbox, example, tool};

use crate::support::{ingress, tc, xdp};

#[test]
fn one_xdp_program_counts_and_goes() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(&xdp("pass").xdp(&veth.name).priority(50));
    assert_eq!(ingress(&sandbox, &veth, 10, &[id]), (vec![10], 10));
    assert_eq!(sandbox.ids(), [id]);
    sandbox.unload(id);
    assert_eq!(sandbox.ids(), [0; 0]);
    assert_eq!(veth.ingress(10), 10);
}

#[test]
fn one_xdp_program_drops() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(&xdp("drop").xdp(&veth.name));
    assert_eq!(ingress(&sandbox, &veth, 10, &[id]), (vec![10], 0));
    sandbox.unload(id);
    assert_eq!(veth.ingress(10), 10);
}

#[test]
fn one_tc_program_counts_each_way() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let inbound = sandbox.load(&tc("ok").tc("ingress", &veth.name));
    let outbound = sandbox.load(&tc("shot").tc("egress", &veth.name));
    assert_eq!(
        ingress(&sandbox, &veth, 10, &[inbound, outbound]),
        (vec![10, 0], 10)
    );
    assert_eq!(veth.egress(7), 0);
    assert_eq!(sandbox.count(outbound, "counter"), 7);
}

#[test]
fn one_tracepoint_program_counts() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let load = example("tracepoint_counter").name("sched_switch");
    let id = sandbox.load(&load.attach(&["tracepoint", "--tracepoint", "sched/sched_switch"]));
    tool("sleep", &["0.05"]).ok();
    assert!(sandbox.count(id, "switch_count") > 0);
    assert_eq!(sandbox.get(id).kernel("Type"), "tracepoint");
}

#[test]
fn two_xdp_programs_share_an_interface() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let second = sandbox.load(&xdp("pass").xdp(&veth.name).priority(60));
    let first = sandbox.load(&xdp("pass").xdp(&veth.name).priority(50));
    assert_eq!(
        ingress(&sandbox, &veth, 10, &[first, second]),
        (vec![10, 10], 10)
    );
}
