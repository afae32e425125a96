//! What manifests say is what runs: applied, changed, pruned, deleted, exported.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use testkit::{Feature, Load, Output, Sandbox, Veth, object, wait_until};

use crate::{
    support::{counts, ingress, positions, tc, xdp},
    swap::under_traffic,
};

/// XDP verdicts as `globaldata` writes them.
pub(crate) const DROP: &str = "AQAAAA==";
pub(crate) const PASS: &str = "AgAAAA==";
const ABORTED: &str = "AAAAAA==";
/// TC verdicts.
const NEXT: &str = "/////w==";
const SHOT: &str = "AgAAAA==";
/// A redirection to nowhere, which takes the packet as well.
const TAKEN: &str = "BwAAAA==";

/// A manifest under construction.
#[derive(Clone)]
pub(crate) struct Manifest {
    head: String,
    spec: String,
}

impl Manifest {
    pub(crate) fn new(kind: &str, name: &str) -> Self {
        Self {
            head: format!(
                "apiVersion: bpfman.io/v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\n"
            ),
            spec: "spec:\n".to_owned(),
        }
    }

    /// One more line of `spec`.
    pub(crate) fn with(mut self, line: &str) -> Self {
        writeln!(self.spec, "  {line}").unwrap();
        self
    }

    pub(crate) fn labels(mut self, labels: &str) -> Self {
        writeln!(self.head, "  labels: {{{labels}}}").unwrap();
        self
    }

    fn object(self, name: &str) -> Self {
        let path = object(name).path;
        self.with(&format!("bytecode: {{path: {}}}", path.display()))
    }

    pub(crate) fn on(self, interfaces: &[&str]) -> Self {
        let interfaces = interfaces.join(", ");
        self.with(&format!(
            "interfaceselector: {{interfaces: [{interfaces}]}}"
        ))
    }

    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.head, self.spec)
    }
}

pub(crate) fn xdp_manifest(name: &str, iface: &str, verdict: &str, priority: u32) -> Manifest {
    Manifest::new("XdpProgram", name)
        .object("xdp_verdict")
        .with(&format!("globaldata: {{verdict: {verdict}}}"))
        .with(&format!("priority: {priority}"))
        .on(&[iface])
}

pub(crate) fn tcx_manifest(name: &str, iface: &str, verdict: &str, priority: u32) -> Manifest {
    Manifest::new("TcxProgram", name)
        .object("tc_verdict")
        .with(&format!("globaldata: {{verdict: {verdict}}}"))
        .with(&format!("priority: {priority}"))
        .with("direction: ingress")
        .on(&[iface])
}

fn tracepoint_manifest(name: &str, events: &str) -> Manifest {
    Manifest::new("TracepointProgram", name)
        .object("probes")
        .with("bpffunctionname: count_tracepoint")
        .with(&format!("names: [{events}]"))
}

/// Writes a file of manifests and answers its path.
pub(crate) fn write(sandbox: &Sandbox, file: &str, manifests: &[Manifest]) -> PathBuf {
    let folder = sandbox.tmp().join("programs.d");
    fs::create_dir_all(&folder).unwrap();
    let texts: Vec<String> = manifests.iter().map(Manifest::text).collect();
    let path = folder.join(file);
    // As editors do it: whole, or not at all.
    let new = folder.join(".new");
    fs::write(&new, texts.join("---\n")).unwrap();
    fs::rename(new, &path).unwrap();
    path
}

fn run(sandbox: &Sandbox, verb: &str, path: &Path, more: &[&str]) -> Output {
    let mut args = vec![verb, "-f", path.to_str().unwrap()];
    args.extend(more);
    sandbox.bpfman(args)
}

/// Applies; all must go well. Answers the table without its heading.
#[track_caller]
fn apply(sandbox: &Sandbox, path: &Path) -> Vec<String> {
    let table = run(sandbox, "apply", path, &[]).ok();
    table.lines().skip(1).map(ToOwned::to_owned).collect()
}

#[track_caller]
fn actions(lines: &[String]) -> Vec<&str> {
    let word = |line: &'_ String| -> &'static str {
        let found = line.split_ascii_whitespace().nth(2).unwrap();
        ["create", "replace", "update", "keep", "remove"]
            .into_iter()
            .find(|word| *word == found)
            .unwrap_or_else(|| panic!("{line}"))
    };
    lines.iter().map(word).collect()
}

/// A manifest of each kind that runs by itself here.
fn some(veth: &Veth) -> Vec<Manifest> {
    let mut all = vec![xdp_manifest("first", &veth.name, PASS, 50).labels("app: web")];
    if Feature::Tcx.is_present() {
        all.push(tcx_manifest("second", &veth.name, NEXT, 10));
    }
    if Feature::PerfLink.is_present() {
        let events = "syscalls/sys_enter_unlink, syscalls/sys_enter_mkdir";
        all.push(tracepoint_manifest("third", events));
    }
    if Feature::Ext.is_present() {
        let tc = Manifest::new("TcProgram", "fourth")
            .object("tc_verdict")
            .with("direction: egress")
            .with("proceedon: [ok, pipe]");
        all.push(tc.on(&[&veth.name]));
    }
    all
}

#[test]
fn applied_twice_is_applied_once() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let path = write(&sandbox, "a.yaml", &some(&veth));
    // First only as a plan.
    sandbox.unchanged(|| {
        let plan = run(&sandbox, "apply", &path, &["--dry-run"]).ok();
        assert!(plan.contains("would be loaded"), "{plan}");
        let diff = run(&sandbox, "diff", &path, &[]).ok();
        let expected = format!("+ XdpProgram/first on {}\n", veth.name);
        assert!(diff.contains(&expected), "{diff}");
        run(&sandbox, "diff", &path, &["--exit-code"]);
    });
    assert_eq!(sandbox.ids(), [0; 0]);
    let lines = apply(&sandbox, &path);
    assert!(actions(&lines).iter().all(|word| *word == "create"));
    let ids = sandbox.ids();
    assert_eq!(ids.len(), lines.len());
    assert_eq!(ingress(&sandbox, &veth, 5, &ids[..1]), (vec![5], 5));
    sandbox.unchanged(|| {
        let again = apply(&sandbox, &path);
        assert!(actions(&again).iter().all(|word| *word == "keep"));
        assert_eq!(run(&sandbox, "diff", &path, &["--exit-code"]).ok(), "");
    });
    assert_eq!(sandbox.ids(), ids);
    // Labels are metadata, by which list selects.
    let selected = sandbox.list(&["--metadata-selector", "app=web"]);
    assert_eq!(selected.len(), 1, "{selected:?}");
    let gone = run(&sandbox, "delete", &path, &[]).ok();
    assert_eq!(gone.matches("unloaded").count(), ids.len());
    assert_eq!(sandbox.ids(), [0; 0]);
    // What is gone already is no failure.
    run(&sandbox, "delete", &path, &[]).ok();
}

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

#[test]
fn what_a_folder_no_longer_says_is_pruned() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    let manifest = |name: &str| tcx_manifest(name, &veth.name, NEXT, 50);
    let a = write(&sandbox, "a.yaml", &[manifest("one"), manifest("two")]);
    let b = write(&sandbox, "b.yaml", &[manifest("three")]);
    let folder = a.parent().unwrap().to_owned();
    let other = sandbox.load(&tc("unspec").tcx("ingress", &veth.name));
    let elsewhere = sandbox.tmp().join("elsewhere.yaml");
    fs::write(&elsewhere, manifest("four").text()).unwrap();
    apply(&sandbox, &elsewhere);
    apply(&sandbox, &folder);
    assert_eq!(sandbox.ids().len(), 5);
    fs::remove_file(&b).unwrap();
    write(&sandbox, "a.yaml", &[manifest("two")]);
    // Without --prune nothing goes.
    assert_eq!(actions(&apply(&sandbox, &folder)), ["keep"]);
    // Nor where a file cannot be read: nobody knows what it says.
    fs::write(&b, "kind: [").unwrap();
    let output = run(&sandbox, "apply", &folder, &["--prune"]);
    assert_eq!(output.status, 1, "{output}");
    assert!(output.stderr.contains("b.yaml:1:"), "{output}");
    assert_eq!(sandbox.ids().len(), 5);
    fs::remove_file(&b).unwrap();
    let diff = run(&sandbox, "diff", &folder, &["--prune"]).ok();
    assert_eq!(diff.matches("- TcxProgram/").count(), 2, "{diff}");
    let table = run(&sandbox, "apply", &folder, &["--prune"]).ok();
    assert_eq!(table.matches("unloaded").count(), 2, "{table}");
    let left = sandbox.ids();
    assert_eq!(left.len(), 3);
    assert!(left.contains(&other));
    // Standard input has no name.
    sandbox
        .bpfman(["apply", "-f", "-", "--prune"])
        .fails(2, &["--prune"]);
}

#[test]
fn one_failure_does_not_keep_the_others_from_being_done() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    let nowhere = Manifest::new("TcxProgram", "lost")
        .with("bytecode: {path: /nowhere.o}")
        .with("direction: ingress")
        .on(&[&veth.name]);
    let path = write(
        &sandbox,
        "a.yaml",
        &[
            tcx_manifest("no-interface", "nosuch0", NEXT, 50),
            tcx_manifest("good", &veth.name, NEXT, 50),
            nowhere,
            tcx_manifest("also-good", &veth.name, NEXT, 60),
        ],
    );
    let output = run(&sandbox, "apply", &path, &[]);
    assert_eq!(output.status, 1, "{output}");
    for words in [
        "TcxProgram/no-interface on nosuch0",
        "TcxProgram/lost",
        "/nowhere.o",
    ] {
        assert!(output.stderr.contains(words), "{words}: {output}");
    }
    assert_eq!(output.stderr.matches("error:").count(), 2, "{output}");
    assert_eq!(output.stdout.matches("failed").count(), 2, "{output}");
    assert_eq!(sandbox.ids().len(), 2);
}

#[test]
fn what_is_exported_and_applied_changes_nothing() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let path = write(&sandbox, "a.yaml", &some(&veth));
    apply(&sandbox, &path);
    // And what was typed, one program with the maps of another one.
    if Feature::Tcx.is_present() {
        let owner = sandbox.load(&tc("unspec").tcx("egress", &veth.name).metadata("who=me"));
        let sharer = tc("unspec").map_owner(owner);
        sandbox.load(&sharer.tcx("egress", &veth.name).priority(7));
    }
    let ids = sandbox.ids();
    let exported = sandbox.unchanged(|| sandbox.bpfman(["export"]).ok());
    let export = sandbox.tmp().join("export.yaml");
    fs::write(&export, &exported).unwrap();
    apply(&sandbox, &export);
    assert_eq!(sandbox.ids(), ids, "{exported}");
    assert!(
        actions(&apply(&sandbox, &export))
            .iter()
            .all(|word| *word == "keep")
    );
    // From nothing it makes the same again.
    let shapes = || -> Vec<(String, String)> {
        let shape = |id: &u32| {
            let details = sandbox.get(*id);
            let owner = details.bpfman("Map Owner ID") != "None";
            (details.bpfman("Name"), owner.to_string())
        };
        sandbox.ids().iter().map(shape).collect()
    };
    let before = shapes();
    for id in ids {
        sandbox.unload(id);
    }
    apply(&sandbox, &export);
    let (mut before, mut after) = (before, shapes());
    before.sort();
    after.sort();
    assert_eq!(after, before);
    assert_eq!(sandbox.bpfman(["export"]).ok(), exported);
}

/// The maps of a program that is replaced are new ones, and who shares them follows.
#[test]
fn who_shares_maps_follows_the_owner() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    let sharer = tcx_manifest("a-sharer", &veth.name, NEXT, 60)
        .with("mapownerselector: {matchLabels: {counts: here}}");
    let owner =
        |priority| tcx_manifest("the-owner", &veth.name, NEXT, priority).labels("counts: here");
    let path = write(&sandbox, "a.yaml", &[sharer.clone(), owner(50)]);
    apply(&sandbox, &path);
    let counted = |ids: &[u32]| {
        assert_eq!(ingress(&sandbox, &veth, 5, &[]).1, 5);
        counts(&sandbox, ids)
    };
    let ids = sandbox.ids();
    assert_eq!(counted(&ids), [10, 10]);
    write(&sandbox, "a.yaml", &[sharer, owner(70)]);
    assert_eq!(actions(&apply(&sandbox, &path)), ["replace", "replace"]);
    let ids = sandbox.ids();
    assert_eq!(counted(&ids), [10, 10]);
    assert_eq!(actions(&apply(&sandbox, &path)), ["keep", "keep"]);
}

#[test]
fn a_host_that_is_not_selected() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    let manifest = tcx_manifest("edge-only", &veth.name, NEXT, 50)
        .with("nodeselector: {matchLabels: {role: edge}}");
    let path = write(&sandbox, "a.yaml", &[manifest]);
    assert_eq!(apply(&sandbox, &path), [""; 0]);
    sandbox.config("[host]\nlabels = { role = \"edge\" }\n");
    assert_eq!(actions(&apply(&sandbox, &path)), ["create"]);
    sandbox.config("[host]\nlabels = { role = \"core\" }\n");
    run(&sandbox, "apply", &path, &["--prune"]).ok();
    assert_eq!(sandbox.ids(), [0; 0]);
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
