//! What manifests say is what runs: applied, changed, pruned, deleted, exported.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use testkit::{Feature, Output, Sandbox, Veth, object};

use crate::support::{counts, ingress, tc};

/// XDP verdicts as `globaldata` writes them.
pub(crate) const DROP: &str = "AQAAAA==";
pub(crate) const PASS: &str = "AgAAAA==";
pub(crate) const ABORTED: &str = "AAAAAA==";
/// TC verdicts.
pub(crate) const NEXT: &str = "/////w==";
pub(crate) const SHOT: &str = "AgAAAA==";
/// A redirection to nowhere, which takes the packet as well.
pub(crate) const TAKEN: &str = "BwAAAA==";

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

    pub(crate) fn object(self, name: &str) -> Self {
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

pub(crate) fn run(sandbox: &Sandbox, verb: &str, path: &Path, more: &[&str]) -> Output {
    let mut args = vec![verb, "-f", path.to_str().unwrap()];
    args.extend(more);
    sandbox.bpfman(args)
}

/// Applies; all must go well. Answers the table without its heading.
#[track_caller]
pub(crate) fn apply(sandbox: &Sandbox, path: &Path) -> Vec<String> {
    let table = run(sandbox, "apply", path, &[]).ok();
    table.lines().skip(1).map(ToOwned::to_owned).collect()
}

#[track_caller]
pub(crate) fn actions(lines: &[String]) -> Vec<&str> {
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
