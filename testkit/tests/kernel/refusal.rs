//! What a kernel lacks is refused with its name and the version that brings it, and nothing stays
//! behind. Where extension programs are refused, the first program is attached directly, and the
//! second is refused with the reason and a way out. Each runs where that is so.

use testkit::{Feature, Sandbox};

use crate::support::{egress, ingress, tc, xdp};

fn sandbox() -> Option<Sandbox> {
    (!Feature::Ext.is_present()).then(Sandbox::new)
}

#[test]
fn the_second_xdp_program_is_refused() {
    let Some(sandbox) = sandbox() else { return };
    let veth = sandbox.veth();
    let first = sandbox.load(&xdp("pass").xdp(&veth.name).priority(50));
    let said = sandbox.unchanged(|| sandbox.try_load(&xdp("drop").xdp(&veth.name)));
    said.fails(
        1,
        &[&veth.name, &first.to_string(), "BPF_PROG_TYPE_EXT", "hint:"],
    );
    assert_eq!(ingress(&sandbox, &veth, 5, &[first]), (vec![5], 5));
    assert_eq!(sandbox.get(first).bpfman("Position"), "0");
    assert_eq!(
        sandbox.get(first).bpfman("Proceed On"),
        "pass, dispatcher_return"
    );
    sandbox.unload(first);
    let second = sandbox.load(&xdp("drop").xdp(&veth.name));
    assert_eq!(ingress(&sandbox, &veth, 5, &[second]), (vec![5], 0));
}

#[test]
fn the_second_tc_program_is_refused_and_tcx_proposed() {
    let Some(sandbox) = sandbox() else { return };
    let veth = sandbox.veth();
    let first = sandbox.load(&tc("ok").tc("egress", &veth.name));
    let said = sandbox.unchanged(|| sandbox.try_load(&tc("ok").tc("egress", &veth.name)));
    let said = said.fails(1, &[&veth.name, "BPF_PROG_TYPE_EXT", "hint:"]);
    if Feature::Tcx.is_present() {
        assert!(said.contains("tcx"), "{said}");
        let many = sandbox.load(&tc("unspec").tcx("egress", &veth.name));
        assert_eq!(egress(&sandbox, &veth, 5, &[many, first]), (vec![5, 5], 5));
    }
    // The other side and other interfaces are free.
    let inbound = sandbox.load(&tc("ok").tc("ingress", &veth.name));
    assert_eq!(ingress(&sandbox, &veth, 5, &[inbound]), (vec![5], 5));
}

#[test]
fn fentry_says_which_feature_is_missing() {
    if Feature::Tracing.is_present() {
        return;
    }
    let sandbox = Sandbox::new();
    let load = testkit::object("probes").name("count_fentry");
    let load = load.attach(&["fentry", "-f", "do_unlinkat"]);
    sandbox
        .unchanged(|| sandbox.try_load(&load))
        .fails(1, &["fentry and fexit"]);
}

#[test]
fn kprobe_says_which_option_is_missing() {
    if Feature::Kprobe.is_present() {
        return;
    }
    let sandbox = Sandbox::new();
    let load = testkit::object("probes").name("count_kprobe");
    let load = load.attach(&["kprobe", "-f", "do_unlinkat"]);
    sandbox
        .unchanged(|| sandbox.try_load(&load))
        .fails(1, &["kprobes", "CONFIG_KPROBE"]);
}

/// Without a link only a process would keep them attached, and none stays.
#[test]
fn tracepoints_and_probes_without_links_name_5_15() {
    if Feature::PerfLink.is_present() {
        return;
    }
    let sandbox = Sandbox::new();
    let probes = |name: &str, words: &[&str]| testkit::object("probes").name(name).attach(words);
    let loads = [
        probes(
            "count_tracepoint",
            &["tracepoint", "-t", "syscalls/sys_enter_unlink"],
        ),
        probes("count_kprobe", &["kprobe", "-f", "do_unlinkat"]),
        probes("count_kretprobe", &["kprobe", "-f", "do_unlinkat", "-r"]),
        probes("count_uprobe", &["uprobe", "-t", "libc", "-f", "getpid"]),
        probes(
            "count_uretprobe",
            &["uprobe", "-t", "libc", "-f", "getpid", "-r"],
        ),
    ];
    for load in loads {
        let said = sandbox.unchanged(|| sandbox.try_load(&load));
        said.fails(1, &["BPF links for perf events", "need kernel 5.15"]);
    }
}

#[test]
fn tcx_names_6_6_and_tc_works() {
    if Feature::Tcx.is_present() {
        return;
    }
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    for side in ["ingress", "egress"] {
        let said = sandbox.unchanged(|| sandbox.try_load(&tc("ok").tcx(side, &veth.name)));
        said.fails(1, &["tcx programs", "need kernel 6.6"]);
        let id = sandbox.load(&tc("ok").tc(side, &veth.name));
        sandbox.unload(id);
    }
}

#[test]
fn frags_and_tail_calls_are_refused_by_name() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    if !Feature::ExtTailCall.is_present() && Feature::Ext.is_present() {
        let load = testkit::object("tail_call").name("entry").xdp(&veth.name);
        let said = sandbox.unchanged(|| sandbox.try_load(&load));
        said.fails(1, &["tail calls in chained programs", "need kernel 6.2"]);
    }
    if !Feature::XdpFrags.is_present() {
        let load = testkit::object("xdp_frags").xdp(&veth.name);
        let said = sandbox.unchanged(|| sandbox.try_load(&load));
        said.fails(1, &["XDP programs with fragments", "need kernel 5.18"]);
    }
}
