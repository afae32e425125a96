//! What single fields of manifests do on a real kernel.

use std::{fs, io::Write as _, process::Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use testkit::{
    Feature, Output, Sandbox, example, maps,
    servers::{Options, Registry},
    tool,
};

use crate::{
    manifests::{Manifest, PASS, actions, apply, run, write, xdp_manifest},
    support::{ingress, xdp},
};

/// bpfman with a text on its standard input.
fn fed(sandbox: &Sandbox, words: &[&str], text: &str) -> Output {
    let mut command = sandbox.command(words);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = pipes.stderr(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let output = Output {
        command: words.join(" "),
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    eprintln!("{output}");
    output
}

#[test]
fn manifests_on_standard_input() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let text = xdp_manifest("piped", &veth.name, PASS, 50).text();
    let table = fed(&sandbox, &["apply", "-f", "-"], &text).ok();
    assert!(table.contains("create"), "{table}");
    let ids = sandbox.ids();
    assert_eq!(ingress(&sandbox, &veth, 5, &ids), (vec![5], 5));
    assert_eq!(fed(&sandbox, &["diff", "-f", "-"], &text).ok(), "");
    let output = fed(&sandbox, &["apply", "-f", "-"], "kind: [");
    assert_eq!(output.status, 1);
    assert!(output.stderr.contains("standard input:1:"));
    fed(&sandbox, &["delete", "-f", "-"], &text).ok();
    assert_eq!(sandbox.ids(), [0; 0]);
}

/// The policy Always asks each time and follows a tag that moved; the others do not.
#[test]
fn an_image_whose_tag_moved() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let registry = Registry::start(&sandbox, &Options::default());
    let url = registry.build(&sandbox, "a:1", &xdp("pass").path);
    let file = |policy: &str| {
        let image = format!("bytecode: {{image: {{url: {url}, imagepullpolicy: {policy}}}}}");
        let manifest = Manifest::new("XdpProgram", "moved").with(&image);
        write(&sandbox, "a.yaml", &[manifest.on(&[&veth.name])])
    };
    let path = file("Always");
    assert_eq!(actions(&apply(&sandbox, &path)), ["create"]);
    assert_eq!(actions(&apply(&sandbox, &path)), ["keep"]);
    registry.build(&sandbox, "a:1", &example("xdp_counter").path);
    // Who only looks when nothing is there goes on with what it has.
    file("IfNotPresent");
    assert_eq!(actions(&apply(&sandbox, &path)), ["update"]);
    assert_eq!(actions(&apply(&sandbox, &path)), ["keep"]);
    let id = sandbox.ids()[0];
    assert_eq!(sandbox.get(id).bpfman("Name"), "xdp_verdict");
    file("Always");
    assert_eq!(actions(&apply(&sandbox, &path)), ["replace"]);
    let id = sandbox.ids()[0];
    assert_eq!(sandbox.get(id).bpfman("Name"), "xdp_stats");
    assert_eq!(veth.ingress(5), 5);
    assert_eq!(sandbox.count(id, "xdp_stats_map"), 5);
    assert_eq!(actions(&apply(&sandbox, &path)), ["keep"]);
}

/// It follows the default route.
#[test]
fn the_primary_interface() {
    let sandbox = Sandbox::new();
    let (first, second) = (sandbox.veth(), sandbox.veth());
    let manifest = Manifest::new("XdpProgram", "primary")
        .object("xdp_verdict")
        .with(&format!("globaldata: {{verdict: {PASS}}}"))
        .with("interfaceselector: {primarynodeinterface: true}");
    let path = write(&sandbox, "a.yaml", &[manifest]);
    let output = run(&sandbox, "apply", &path, &[]);
    assert_eq!(output.status, 1);
    assert!(output.stderr.contains("a.yaml:") && output.stderr.contains("no default route"));
    let route = |veth: &testkit::Veth| {
        tool("ip", &["route", "replace", "default", "dev", &veth.name]).ok();
    };
    route(&first);
    assert_eq!(actions(&apply(&sandbox, &path)), ["create"]);
    let ids = sandbox.ids();
    assert_eq!(sandbox.get(ids[0]).bpfman("Iface"), first.name);
    assert_eq!(ingress(&sandbox, &first, 5, &ids), (vec![5], 5));
    route(&second);
    let table = run(&sandbox, "apply", &path, &["--prune"]).ok();
    assert!(table.contains("remove"), "{table}");
    let ids = sandbox.ids();
    assert_eq!(ids.len(), 1);
    assert_eq!(sandbox.get(ids[0]).bpfman("Iface"), second.name);
    assert_eq!(ingress(&sandbox, &second, 5, &ids), (vec![5], 5));
}

/// A program that counts the calls of this process.
fn probe(kind: &str, name: &str, function: &str) -> Manifest {
    let pid = STANDARD.encode(std::process::id().to_ne_bytes());
    Manifest::new(kind, name)
        .object("probes")
        .with(&format!("bpffunctionname: {function}"))
        .with(&format!("globaldata: {{only_pid: {pid}}}"))
}

#[test]
fn probes_of_all_kinds() {
    let needed = [Feature::Kprobe, Feature::PerfLink, Feature::Tracing];
    let Some(sandbox) = Sandbox::requiring(&needed) else {
        return;
    };
    let all = [
        probe("TracepointProgram", "events", "count_tracepoint")
            .with("names: [syscalls/sys_enter_unlink, syscalls/sys_enter_rmdir]"),
        probe("KprobeProgram", "entry", "count_kprobe").with("func_name: do_unlinkat"),
        probe("KprobeProgram", "return", "count_kretprobe")
            .with("func_name: do_unlinkat")
            .with("retprobe: true"),
        probe("UprobeProgram", "libc", "count_uprobe")
            .with("target: libc")
            .with("func_name: getpid"),
        probe("FentryProgram", "before", "count_fentry").with("func_name: do_unlinkat"),
        probe("FexitProgram", "after", "count_fexit").with("func_name: do_unlinkat"),
    ];
    let path = write(&sandbox, "a.yaml", &all);
    let lines = apply(&sandbox, &path);
    assert!(actions(&lines).iter().all(|word| *word == "create"));
    assert_eq!(lines.len(), 7, "one for each name: {lines:?}");
    let ids = sandbox.ids();
    let counters: Vec<_> = ids.iter().map(|id| sandbox.map(*id, "counter")).collect();
    let counts = || -> Vec<u64> { counters.iter().map(|map| maps::count(map, 0)).collect() };
    let before = counts();
    for _ in 0..3 {
        fs::write("/run/gone", "").unwrap();
        fs::remove_file("/run/gone").unwrap();
        std::hint::black_box(std::process::id());
    }
    fs::create_dir("/run/gone").unwrap();
    fs::remove_dir("/run/gone").unwrap();
    let after = counts();
    let seen: Vec<u64> = after
        .iter()
        .zip(before)
        .map(|(now, old)| now - old)
        .collect();
    assert_eq!(seen, [3, 1, 3, 3, 3, 3, 3]);
    assert!(
        actions(&apply(&sandbox, &path))
            .iter()
            .all(|word| *word == "keep")
    );
    // One name less, and another function: what is no longer meant goes, the rest stays.
    let mut changed = all.to_vec();
    changed[0] = probe("TracepointProgram", "events", "count_tracepoint")
        .with("names: [syscalls/sys_enter_unlink]");
    changed[1] = probe("KprobeProgram", "entry", "count_kprobe").with("func_name: do_rmdir");
    write(&sandbox, "a.yaml", &changed);
    let table = run(&sandbox, "apply", &path, &["--prune"]).ok();
    for (word, times) in [("replace", 1), ("remove", 1), ("keep", 5)] {
        assert_eq!(table.matches(word).count(), times, "{word}: {table}");
    }
    run(&sandbox, "delete", &path, &[]).ok();
    assert_eq!(sandbox.ids(), [0; 0]);
}

/// Whoever could set it would have his program pruned by the next `apply`.
#[test]
fn keys_of_manifests_are_reserved() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    for key in ["bpfman.io/manifest", "bpfman.io/manifest-set"] {
        let load = xdp("pass").metadata(&format!("{key}=XdpProgram/x"));
        let output = sandbox.try_load(&load.xdp(&veth.name));
        output.fails(1, &[key, "bpfman apply"]);
    }
    assert_eq!(sandbox.ids(), [0; 0]);
    let load = xdp("pass").metadata("bpfman.io/ProgramName=x");
    sandbox.load(&load.xdp(&veth.name));
}
