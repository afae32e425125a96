//! A manifest that changes: its program is exchanged, and nothing passes by meanwhile.

use std::fs;

use testkit::{Feature, Sandbox, Veth, object};

use crate::{
    manifests::{
        ABORTED, DROP, Manifest, NEXT, PASS, SHOT, TAKEN, actions, apply, run, tcx_manifest, write,
        xdp_manifest,
    },
    support::{ingress, positions, tc, xdp},
    swap::under_traffic,
};

/// Changes one manifest again and again while packets come: the program that takes them all is
/// another one each time, and no packet passes by.
fn changed_under_traffic(sandbox: &Sandbox, veth: &Veth, make: &dyn Fn(&str, u32) -> Manifest) {
    let path = |text: &Manifest| write(sandbox, "taker.yaml", std::slice::from_ref(text));
    let file = path(&make("x", 500));
    apply(sandbox, &file);
    let mut seen = sandbox.ids();
    let (sent, arrived) = under_traffic(veth, true, || {
        for round in 0..12 {
            // The priority, the bytecode (the file by another content), and a global.
            let object = sandbox.tmp().join("object.o");
            let [verdict, priority] = match round % 3 {
                0 => ["x", "400"],
                1 => ["x", "600"],
                _ => ["y", "600"],
            };
            if round % 3 == 1 {
                let mut bytes = fs::read(&object).unwrap();
                bytes.push(0);
                fs::write(object.with_extension("new"), bytes).unwrap();
                fs::rename(object.with_extension("new"), &object).unwrap();
            }
            path(&make(verdict, priority.parse().unwrap()));
            let lines = apply(sandbox, &file);
            assert_eq!(actions(&lines), ["replace"]);
            let now = sandbox.ids();
            assert_eq!(now.len(), seen.len());
            seen = now;
        }
    });
    assert!(sent > 100, "{sent}");
    assert_eq!(arrived, 0, "of {sent} packets so many passed by");
}

/// The object of a test as a file of its own, so that it can change.
fn own_object(sandbox: &Sandbox, name: &str) -> String {
    let path = sandbox.tmp().join("object.o");
    fs::copy(object(name).path, &path).unwrap();
    path.display().to_string()
}

/// In a chain where the kernel has chains, by itself elsewhere.
#[test]
fn no_packet_passes_by_an_xdp_manifest_that_changes() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let object = own_object(&sandbox, "xdp_verdict");
    if Feature::Ext.is_present() {
        for priority in [450, 700] {
            sandbox.load(&xdp("pass").xdp(&veth.name).priority(priority));
        }
    }
    changed_under_traffic(&sandbox, &veth, &|verdict, priority| {
        // Both take the packet.
        let verdict = if verdict == "x" { DROP } else { ABORTED };
        Manifest::new("XdpProgram", "taker")
            .with(&format!("bytecode: {{path: {object}}}"))
            .with(&format!("globaldata: {{verdict: {verdict}}}"))
            .with(&format!("priority: {priority}"))
            .on(&[&veth.name])
    });
}

#[test]
fn no_packet_passes_by_a_tc_manifest_that_changes() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let object = own_object(&sandbox, "tc_verdict");
    if Feature::Ext.is_present() {
        for priority in [450, 700] {
            sandbox.load(&tc("ok").tc("ingress", &veth.name).priority(priority));
        }
    }
    changed_under_traffic(&sandbox, &veth, &|verdict, priority| {
        let verdict = if verdict == "x" { SHOT } else { TAKEN };
        Manifest::new("TcProgram", "taker")
            .with(&format!("bytecode: {{path: {object}}}"))
            .with(&format!("globaldata: {{verdict: {verdict}}}"))
            .with(&format!("priority: {priority}"))
            .with("direction: ingress")
            .on(&[&veth.name])
    });
}

#[test]
fn no_packet_passes_by_a_tcx_manifest_that_changes() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    let object = own_object(&sandbox, "tc_verdict");
    for priority in [450, 700] {
        sandbox.load(&tc("unspec").tcx("ingress", &veth.name).priority(priority));
    }
    changed_under_traffic(&sandbox, &veth, &|verdict, priority| {
        let verdict = if verdict == "x" { SHOT } else { TAKEN };
        Manifest::new("TcxProgram", "taker")
            .with(&format!("bytecode: {{path: {object}}}"))
            .with(&format!("globaldata: {{verdict: {verdict}}}"))
            .with(&format!("priority: {priority}"))
            .with("direction: ingress")
            .on(&[&veth.name])
    });
}

/// Of equals the newest runs first, but what is replaced is not new.
fn keeps_its_place(sandbox: &Sandbox, make: &dyn Fn(&str, &str, u32) -> Manifest) {
    let names = ["a", "b", "c"];
    let all = |verdict: &str, priority| {
        names.map(|name| {
            if name == "b" {
                make(name, verdict, priority)
            } else {
                make(name, "x", 50)
            }
        })
    };
    let path = write(sandbox, "equals.yaml", &all("x", 50));
    apply(sandbox, &path);
    let [a, b, c] = *sandbox.ids() else { panic!() };
    assert_eq!(positions(sandbox, &[a, b, c]), [2, 1, 0]);
    write(sandbox, "equals.yaml", &all("y", 50));
    assert_eq!(actions(&apply(sandbox, &path)), ["keep", "replace", "keep"]);
    let ids = sandbox.ids();
    let new = *ids.last().unwrap();
    assert_eq!(ids, [a, c, new]);
    assert_eq!(positions(sandbox, &[a, new, c]), [2, 1, 0]);
    // Another priority is another place.
    write(sandbox, "equals.yaml", &all("y", 40));
    apply(sandbox, &path);
    let new = *sandbox.ids().last().unwrap();
    assert_eq!(positions(sandbox, &[a, new, c]), [2, 0, 1]);
}

#[test]
fn a_replaced_xdp_program_keeps_its_place_among_equals() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    keeps_its_place(&sandbox, &|name, verdict, priority| {
        let verdict = if verdict == "x" { PASS } else { DROP };
        xdp_manifest(name, &veth.name, verdict, priority)
    });
}

#[test]
fn a_replaced_tcx_program_keeps_its_place_among_equals() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    keeps_its_place(&sandbox, &|name, verdict, priority| {
        let verdict = if verdict == "x" { NEXT } else { SHOT };
        tcx_manifest(name, &veth.name, verdict, priority)
    });
}

/// A full chain has no room for one more, but for another one.
#[test]
fn in_a_full_chain() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    for _ in 0..9 {
        sandbox.load(&xdp("pass").xdp(&veth.name).priority(70));
    }
    let path = write(
        &sandbox,
        "a.yaml",
        &[xdp_manifest("one", &veth.name, PASS, 50)],
    );
    apply(&sandbox, &path);
    write(
        &sandbox,
        "a.yaml",
        &[xdp_manifest("one", &veth.name, DROP, 60)],
    );
    assert_eq!(actions(&apply(&sandbox, &path)), ["replace"]);
    assert_eq!(ingress(&sandbox, &veth, 5, &[]).1, 0);
    // By another name it is another program: it comes when the first one has gone.
    write(
        &sandbox,
        "a.yaml",
        &[xdp_manifest("two", &veth.name, PASS, 50)],
    );
    run(&sandbox, "apply", &path, &["--prune"]).ok();
    assert_eq!(sandbox.ids().len(), 10);
    assert_eq!(ingress(&sandbox, &veth, 5, &[]).1, 5);
}
