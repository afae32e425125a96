//! A program of a manifest in the place of the one before it.

use testkit::{Feature, Sandbox};

use super::matrix::{Operation, Reach, Stage, Traffic, inbound};
use crate::{
    manifests::{Manifest, NEXT, PASS, tcx_manifest, xdp_manifest},
    support::{tc, xdp},
};

fn exchanged(stage: &mut Stage<'_>, make: &dyn Fn(u32) -> Manifest) {
    stage.put_through(&Operation::Exchange(make), None);
}

/// In a chain where the kernel has chains, by itself elsewhere.
#[test]
fn an_xdp_program_is_exchanged() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let traffic = inbound(&veth);
    let mut stage = Stage::new(&sandbox, &traffic);
    if Feature::Ext.is_present() {
        stage.residents(&[xdp("pass").xdp(&veth.name).priority(50)]);
    }
    exchanged(&mut stage, &|priority| {
        xdp_manifest("x", &veth.name, PASS, priority)
    });
}

#[test]
fn a_tc_program_is_exchanged() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let traffic = inbound(&veth);
    let mut stage = Stage::new(&sandbox, &traffic);
    stage.reach = Reach::Brief(&["chain.", "load."]);
    if Feature::Ext.is_present() {
        stage.residents(&[tc("ok").tc("ingress", &veth.name).priority(50)]);
    }
    exchanged(&mut stage, &|priority| {
        Manifest::new("TcProgram", "x")
            .object("tc_verdict")
            .with("globaldata: {verdict: AAAAAA==}")
            .with(&format!("priority: {priority}"))
            .with("direction: ingress")
            .on(&[&veth.name])
    });
}

#[test]
fn a_tcx_program_is_exchanged() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    let traffic: &Traffic<'_> = &inbound(&veth);
    let mut stage = Stage::new(&sandbox, traffic);
    stage.reach = Reach::Brief(&["load.", "unload."]);
    stage.residents(&[tc("unspec").tcx("ingress", &veth.name).priority(50)]);
    exchanged(&mut stage, &|priority| {
        tcx_manifest("x", &veth.name, NEXT, priority)
    });
}
