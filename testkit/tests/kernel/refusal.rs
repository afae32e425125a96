//! Kernels that refuse extension programs: the first program is attached directly, the second is
//! refused with the reason and a way out. Runs where that is so.

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
