//! Programs that links of their own hold.

use std::fs;

use testkit::{
    Feature, Load, Sandbox,
    faults::{Group, assert_passed},
    object,
};

use super::matrix::{Operation, Reach, Stage, Traffic, inbound, outbound};
use crate::support::{hex, tc};

/// Where the kinds of programs differ.
const OF_THE_LINK: Reach = Reach::Brief(&["load.", "unload."]);

/// Each comes and goes beside another one of its kind.
fn come_and_go(sandbox: &Sandbox, traffic: &Traffic<'_>, loads: &[Load], reach: Reach) {
    let mut stage = Stage::new(sandbox, traffic);
    stage.reach = reach;
    for load in loads {
        stage.residents(std::slice::from_ref(load));
        stage.put_through(&Operation::Load(load.clone()), None);
        stage.put_through(&Operation::Unload(load.clone()), None);
    }
    assert_passed(Group::Links, &stage.passed);
}

fn unlink(times: u32) -> u32 {
    for _ in 0..times {
        fs::write("/run/gone", "").unwrap();
        fs::remove_file("/run/gone").unwrap();
    }
    times
}

fn getpid(times: u32) -> u32 {
    for _ in 0..times {
        std::hint::black_box(std::process::id());
    }
    times
}

/// A program that counts the calls of this process.
fn mine(name: &str, attach: &[&str]) -> Load {
    let pid = i32::try_from(std::process::id()).unwrap();
    let load = object("probes").name(name).global("only_pid", &hex(pid));
    load.attach(attach)
}

#[test]
fn tracepoints() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let attach = ["tracepoint", "-t", "syscalls/sys_enter_unlink"];
    come_and_go(
        &sandbox,
        &unlink,
        &[mine("count_tracepoint", &attach)],
        Reach::Full,
    );
}

#[test]
fn kprobes_and_kretprobes() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Kprobe, Feature::PerfLink]) else {
        return;
    };
    let loads = [
        mine("count_kprobe", &["kprobe", "-f", "do_unlinkat"]),
        mine("count_kretprobe", &["kprobe", "-f", "do_unlinkat", "-r"]),
    ];
    come_and_go(&sandbox, &unlink, &loads, OF_THE_LINK);
}

#[test]
fn uprobes_and_uretprobes() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let attach = ["uprobe", "-t", "libc", "-f", "getpid"];
    let loads = [
        mine("count_uprobe", &attach),
        mine("count_uretprobe", &attach).attach(&["-r"]),
    ];
    come_and_go(&sandbox, &getpid, &loads, OF_THE_LINK);
}

#[test]
fn fentries_and_fexits() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tracing]) else {
        return;
    };
    let loads = [
        mine("count_fentry", &["fentry", "-f", "do_unlinkat"]),
        mine("count_fexit", &["fexit", "-f", "do_unlinkat"]),
    ];
    come_and_go(&sandbox, &unlink, &loads, OF_THE_LINK);
}

#[test]
fn tcx_programs_at_ingress() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    let load = tc("unspec").tcx("ingress", &veth.name);
    come_and_go(&sandbox, &inbound(&veth), &[load], OF_THE_LINK);
}

#[test]
fn tcx_programs_at_egress() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    let load = tc("unspec").tcx("egress", &veth.name);
    come_and_go(&sandbox, &outbound(&veth), &[load], OF_THE_LINK);
}
