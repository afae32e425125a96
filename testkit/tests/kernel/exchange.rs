//! A manifest that changes: its program is exchanged, and nothing passes by meanwhile.

use std::fs;

use testkit::{Feature, Load, Sandbox, Veth, object, wait_until};

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

/// Killed, or failing, at every step of an exchange: the old program or the new one takes the
/// packets, and one apply later it is the new one alone.
fn interrupted(what: &str, make: &dyn Fn(u32) -> Manifest, sandbox: &Sandbox, veth: &Veth) {
    let points = [
        "load.loaded",
        "load.program-pinned",
        "load.maps-pinned",
        "load.attached",
        "chain.noted",
        "chain.member-attached",
        "chain.assembled",
        "chain.swapped",
        "state.written",
        "load.committed",
        "chain.retired",
    ];
    let mut reached = 0;
    let mut priority = 100;
    let file = write(sandbox, "a.yaml", &[make(priority)]);
    let neighbours = sandbox.ids();
    apply(sandbox, &file);
    for point in points {
        eprintln!("--- {what} at {point}");
        priority += 1;
        write(sandbox, "a.yaml", &[make(priority)]);
        let words = ["apply", "-f", file.to_str().unwrap()];
        let fault = format!("{point}:{what}");
        let output = sandbox.bpfman_env("BPFMAN_FAULT", &fault, words);
        reached += u32::from(output.status != 0);
        assert_eq!(veth.ingress(3), 0, "{point}: none took them");
        // Any command that writes brings kernel and state together.
        sandbox.bpfman(["unload", "4000000000"]);
        assert_eq!(veth.ingress(3), 0, "{point}: none took them afterwards");
        assert_eq!(sandbox.ids().len(), neighbours.len() + 1, "{point}");
        apply(sandbox, &file);
        let ids = sandbox.ids();
        let seen = ingress(sandbox, veth, 3, &ids);
        assert_eq!(seen, (vec![3; ids.len()], 0), "{point}");
        let taker = ids.last().unwrap();
        assert_eq!(sandbox.get(*taker).bpfman("Priority"), priority.to_string());
    }
    assert!(reached >= 4, "{reached}");
    run(sandbox, "delete", &file, &[]).ok();
    assert!(wait_until(5, || veth.ingress(1) == 1));
}

#[test]
fn an_exchange_that_is_interrupted() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    for what in ["abort", "fail"] {
        let beside = |load: Load| {
            let chains = Feature::Ext.is_present();
            chains.then(|| sandbox.load(&load.priority(50)))
        };
        let done = |beside: Option<u32>| beside.into_iter().for_each(|id| sandbox.unload(id));
        let neighbour = beside(xdp("pass").xdp(&veth.name));
        let xdp = |priority| xdp_manifest("x", &veth.name, DROP, priority);
        interrupted(what, &xdp, &sandbox, &veth);
        done(neighbour);
        if Feature::Tcx.is_present() {
            let tcx = |priority| tcx_manifest("x", &veth.name, SHOT, priority);
            interrupted(what, &tcx, &sandbox, &veth);
        }
        let neighbour = beside(tc("ok").tc("ingress", &veth.name));
        let tc = |priority| {
            Manifest::new("TcProgram", "x")
                .object("tc_verdict")
                .with(&format!("globaldata: {{verdict: {SHOT}}}"))
                .with(&format!("priority: {priority}"))
                .with("direction: ingress")
                .on(&[&veth.name])
        };
        interrupted(what, &tc, &sandbox, &veth);
        done(neighbour);
    }
}
