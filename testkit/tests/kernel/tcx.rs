//! TCX programs in the kernel's own order: many everywhere, with or without extension programs.

use testkit::{Feature, Load, Sandbox, json};

use crate::support::{counts, egress, ingress, positions, tc};

/// Lets the next program decide.
fn next(iface: &str, direction: &str) -> Load {
    tc("unspec").tcx(direction, iface)
}

#[test]
fn many_run_in_order() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    for (direction, send) in [
        ("ingress", ingress as fn(&_, &_, _, &_) -> _),
        ("egress", egress),
    ] {
        let ids: Vec<u32> = [50, 10, 50, 0, 1000, 10]
            .iter()
            .map(|priority| sandbox.load(&next(&veth.name, direction).priority(*priority)))
            .collect();
        assert_eq!(positions(&sandbox, &ids), [4, 2, 3, 0, 5, 1]);
        assert_eq!(send(&sandbox, &veth, 5, &ids), (vec![5; 6], 5));
        // A verdict in the middle ends it: those before have run, those after have not.
        let stop = sandbox.load(&tc("shot").tcx(direction, &veth.name).priority(20));
        assert_eq!(send(&sandbox, &veth, 5, &ids), (vec![0, 5, 0, 5, 0, 5], 0));
        sandbox.unload(stop);
        let pass = sandbox.load(&tc("ok").tcx(direction, &veth.name).priority(5));
        assert_eq!(send(&sandbox, &veth, 5, &ids), (vec![0, 0, 0, 5, 0, 0], 5));
        sandbox.unload(pass);
        for gone in ids {
            sandbox.unload(gone);
        }
    }
}

#[test]
fn more_than_ten() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    let ids: Vec<u32> = (0..20)
        .map(|_| sandbox.load(&next(&veth.name, "ingress")))
        .collect();
    assert_eq!(ingress(&sandbox, &veth, 5, &ids), (vec![5; 20], 5));
    let newest_first: Vec<usize> = (0..20).rev().collect();
    assert_eq!(positions(&sandbox, &ids), newest_first);
}

#[test]
fn get_shows_what_it_is() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    let id = sandbox.load(&next(&veth.name, "egress").priority(7));
    let shown = sandbox.get(id);
    assert_eq!(shown.kernel("Type"), "tc");
    assert_eq!(shown.bpfman("Attach Type"), "tcx");
    assert_eq!(shown.bpfman("Priority"), "7");
    assert_eq!(shown.bpfman("Direction"), "egress");
    assert_eq!(shown.bpfman("Position"), "0");
    assert!(!shown.has("Proceed On"));
}

#[test]
fn tcx_runs_before_a_tc_chain() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    let chained = sandbox.load(&tc("ok").tc("ingress", &veth.name).priority(0));
    let first = sandbox.load(&next(&veth.name, "ingress").priority(900));
    assert_eq!(
        ingress(&sandbox, &veth, 5, &[first, chained]),
        (vec![5, 5], 5)
    );
    let stop = sandbox.load(&tc("shot").tcx("ingress", &veth.name).priority(1000));
    assert_eq!(
        ingress(&sandbox, &veth, 5, &[first, stop, chained]),
        (vec![5, 5, 0], 0)
    );
}

#[test]
fn a_namespace() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    sandbox.netns("there");
    let veth = sandbox.veth_in("there");
    let load = next(&veth.name, "ingress").attach(&["--netns", "there"]);
    let ids = [sandbox.load(&load), sandbox.load(&load)];
    assert_eq!(ingress(&sandbox, &veth, 5, &ids), (vec![5, 5], 5));
    assert_eq!(counts(&sandbox, &ids), [5, 5]);
    // TCX needs no qdisc.
    let qdiscs = testkit::in_netns("there", || json("tc", &["-j", "qdisc", "show"]));
    assert!(!qdiscs.to_string().contains("clsact"), "{qdiscs}");
}

#[test]
fn an_older_kernel_says_since_when() {
    if Feature::Tcx.is_present() {
        return;
    }
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let load = next(&veth.name, "ingress");
    sandbox
        .unchanged(|| sandbox.try_load(&load))
        .fails(1, &["tcx", "6.6"]);
}
