//! What goes wrong is told in a line that names it, with exit status 1 or 2, and nothing changes.

use std::fs;

use testkit::{Feature, Load, Output, Sandbox, Veth, bpfman, example, object, tool};

use crate::support::{tc, xdp};

/// Refused, with a reason that has these fragments, and the world stays as it is.
#[track_caller]
fn refused(sandbox: &Sandbox, load: &Load, fragments: &[&str]) -> String {
    sandbox
        .unchanged(|| sandbox.try_load(load))
        .fails(1, fragments)
}

/// A wrong command line.
#[track_caller]
fn usage(output: Output, fragments: &[&str]) {
    output.fails(2, fragments);
}

fn stage() -> (Sandbox, Veth) {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    (sandbox, veth)
}

#[test]
fn files_that_are_no_objects() {
    let (sandbox, veth) = stage();
    let dir = sandbox.tmp();
    let good = fs::read(xdp("pass").path).unwrap();
    let at = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        fs::write(&path, bytes).unwrap();
        Load::from_path(path).xdp(&veth.name)
    };
    let missing = Load::from_path(dir.join("missing.o")).xdp(&veth.name);
    refused(&sandbox, &missing, &["missing.o", "no such file"]);
    refused(
        &sandbox,
        &Load::from_path(&dir).xdp(&veth.name),
        &["directory"],
    );
    refused(&sandbox, &at("empty.o", b""), &["empty.o", "empty"]);
    refused(
        &sandbox,
        &at("text.o", b"int main() {}\n"),
        &["text.o", "not an ELF file"],
    );
    refused(
        &sandbox,
        &at("short.o", &good[..good.len() / 2]),
        &["short.o", "truncated"],
    );
    refused(&sandbox, &at("header.o", &good[..20]), &["header.o"]);
    let host = Load::from_path("/bin/sh").xdp(&veth.name);
    refused(&sandbox, &host, &["not an eBPF object"]);
    refused(
        &sandbox,
        &object("xdp_bpfeb").xdp(&veth.name),
        &["big-endian", "little-endian"],
    );
}

#[test]
fn names_of_programs() {
    let (sandbox, veth) = stage();
    let said = refused(
        &sandbox,
        &object("several").xdp(&veth.name),
        &["first", "second"],
    );
    assert!(!said.contains("only_tc"), "{said}");
    let typo = object("several").name("secnd").xdp(&veth.name);
    refused(&sandbox, &typo, &["secnd", "did you mean", "second"]);
    let missing = object("several").name("nothing_like_it").xdp(&veth.name);
    refused(&sandbox, &missing, &["nothing_like_it", "first"]);
    let none = object("several").attach(&["tracepoint", "-t", "sched/sched_switch"]);
    refused(&sandbox, &none, &["tracepoint"]);
    // One that fits needs no name.
    let id = sandbox.load(&object("several").tc("ingress", &veth.name));
    assert_eq!(sandbox.get(id).bpfman("Name"), "only_tc");
}

#[test]
fn what_the_verifier_rejects() {
    let (sandbox, veth) = stage();
    let said = refused(
        &sandbox,
        &object("out_of_bounds")
            .name("out_of_bounds")
            .xdp(&veth.name),
        &["out_of_bounds", "verifier", "invalid access to packet"],
    );
    assert!(
        said.lines().count() < 30,
        "the lines that matter only: {said}"
    );
    let broken = object("broken_sibling").name("broken").xdp(&veth.name);
    refused(&sandbox, &broken, &["broken", "verifier"]);
    let said = refused(&sandbox, &object("no_license").xdp(&veth.name), &["GPL"]);
    assert!(said.contains("verifier"), "{said}");
}

#[test]
fn the_whole_log_on_demand() {
    let (sandbox, veth) = stage();
    let load = object("long_log").xdp(&veth.name);
    let short = refused(
        &sandbox,
        &load,
        &["invalid access to packet", "--verifier-log"],
    );
    let long = refused(
        &sandbox,
        &load.with(&["--verifier-log"]),
        &["invalid access to packet"],
    );
    assert!(short.lines().count() < 30, "{}", short.lines().count());
    assert!(long.lines().count() > 200, "{}", long.lines().count());
    // Not of a program that is fine.
    let id = sandbox.load(&xdp("pass").with(&["--verifier-log"]).xdp(&veth.name));
    sandbox.unload(id);
}

#[test]
fn interfaces_and_namespaces() {
    let (sandbox, veth) = stage();
    refused(&sandbox, &xdp("pass").xdp("nope"), &["nope"]);
    refused(&sandbox, &tc("ok").tc("ingress", "bm00"), &["bm00", "bm0"]);
    let too_long = xdp("pass").xdp("a_name_that_is_too_long");
    let output = sandbox.unchanged(|| sandbox.try_load(&too_long));
    assert!(
        [1, 2].contains(&output.status) && output.stderr.contains("a_name_that"),
        "{output}"
    );
    let on = |netns: &str| xdp("pass").xdp(&veth.name).attach(&["--netns", netns]);
    refused(&sandbox, &on("nowhere"), &["nowhere", "namespace"]);
    refused(&sandbox, &on("/run/netns/nowhere"), &["/run/netns/nowhere"]);
    refused(&sandbox, &on("/etc/hosts"), &["/etc/hosts", "namespace"]);
    // The interface is here, not there.
    refused(&sandbox, &on(&veth.netns), &[&veth.name]);
}

#[test]
fn tracepoints_functions_libraries_and_processes() {
    let sandbox = Sandbox::new();
    let probe = |name: &str, words: &[&str]| object("probes").name(name).attach(words);
    let tp = |event: &str| probe("count_tracepoint", &["tracepoint", "-t", event]);
    if Feature::PerfLink.is_present() {
        refused(
            &sandbox,
            &tp("sched/no_such_event"),
            &["sched/no_such_event"],
        );
        refused(
            &sandbox,
            &tp("nowhere/sched_switch"),
            &["nowhere/sched_switch"],
        );
        refused(
            &sandbox,
            &tp("sched/sched_swich"),
            &["sched_swich", "sched_switch"],
        );
        let uprobe = |words: &[&str]| probe("count_uprobe", &[&["uprobe"], words].concat());
        refused(
            &sandbox,
            &uprobe(&["-t", "libnothing", "-f", "f"]),
            &["libnothing"],
        );
        refused(
            &sandbox,
            &uprobe(&["-t", "/no/such/file", "-f", "f"]),
            &["/no/such/file"],
        );
        refused(
            &sandbox,
            &uprobe(&["-t", "/etc/hosts", "-f", "f"]),
            &["/etc/hosts"],
        );
        refused(
            &sandbox,
            &uprobe(&["-t", "libc", "-f", "no_such_fn"]),
            &["no_such_fn", "libc"],
        );
        let pid = ["-t", "libc", "-f", "getpid", "--pid", "4194303"];
        refused(&sandbox, &uprobe(&pid), &["4194303"]);
        let container = ["-t", "libc", "-f", "getpid", "--container-pid", "4194303"];
        refused(&sandbox, &uprobe(&container), &["4194303"]);
    }
    if Feature::Kprobe.is_present() {
        let kprobe = |words: &[&str]| probe("count_kprobe", &[&["kprobe"], words].concat());
        refused(
            &sandbox,
            &kprobe(&["-f", "no_such_function"]),
            &["no_such_function"],
        );
        refused(
            &sandbox,
            &kprobe(&["-f", "do_unlinkat", "-o", "1000000"]),
            &["do_unlinkat"],
        );
    }
    if Feature::Tracing.is_present() {
        let fentry = |name: &str| probe("count_fentry", &["fentry", "-f", name]);
        refused(&sandbox, &fentry("no_such_function"), &["no_such_function"]);
    }
}

#[test]
fn globals() {
    let (sandbox, veth) = stage();
    let set = |name: &str, hex: &str| object("globals").global(name, hex).xdp(&veth.name);
    refused(
        &sandbox,
        &set("global_u23", "01"),
        &["global_u23", "global_u32"],
    );
    refused(
        &sandbox,
        &set("nothing", "01"),
        &["nothing", "global_u8", "global_u64"],
    );
    refused(
        &sandbox,
        &set("global_u32", "01"),
        &["global_u32", "4", "1"],
    );
    refused(
        &sandbox,
        &set("global_u8", "0102"),
        &["global_u8", "1", "2"],
    );
    usage(sandbox.try_load(&set("global_u8", "0")), &["global_u8"]);
    usage(sandbox.try_load(&set("global_u8", "xx")), &["xx"]);
    usage(
        sandbox.try_load(&object("globals").with(&["-g", "global_u8"]).xdp("bm0")),
        &["global"],
    );
}

#[test]
fn wrong_usage() {
    let (sandbox, veth) = stage();
    let on = |words: &[&str]| xdp("pass").xdp(&veth.name).attach(words);
    sandbox.unchanged(|| {
        usage(
            sandbox.try_load(&on(&["--priority", "1001"])),
            &["1001", "1000"],
        );
        usage(sandbox.try_load(&on(&["--priority", "-1"])), &[]);
        usage(
            sandbox.try_load(&on(&["--proceed-on", "ok"])),
            &["ok", "pass"],
        );
        usage(
            sandbox.try_load(&on(&["--proceed-on", "pass,drop"])),
            &["pass,drop"],
        );
        usage(
            sandbox.try_load(&tc("ok").tc("sideways", &veth.name)),
            &["sideways", "ingress"],
        );
        usage(
            sandbox.try_load(&xdp("pass").attach(&["xdp"])),
            &["--iface"],
        );
        usage(
            sandbox.try_load(&xdp("pass").attach(&["socket"])),
            &["socket"],
        );
        usage(
            sandbox.try_load(&xdp("pass").metadata("nokey").xdp(&veth.name)),
            &["nokey"],
        );
        usage(
            sandbox.try_load(&xdp("pass").metadata("=value").xdp(&veth.name)),
            &["=value"],
        );
        usage(sandbox.bpfman(["unload"]), &[]);
        usage(sandbox.bpfman(["unload", "x"]), &["x"]);
        usage(sandbox.bpfman(["get", "-1"]), &[]);
        usage(sandbox.bpfman(["list", "-p", "xpd"]), &["xpd"]);
        usage(sandbox.bpfman(["frobnicate"]), &["frobnicate"]);
        let event = example("tracepoint_counter").name("sched_switch");
        let output = sandbox.try_load(&event.attach(&["tracepoint", "-t", "sched_switch"]));
        usage(output, &["sched_switch", "CATEGORY/NAME"]);
        let probe = object("probes").name("count_kprobe");
        let words = ["kprobe", "-f", "do_unlinkat", "-r", "-o", "4"];
        usage(sandbox.try_load(&probe.attach(&words)), &["offset"]);
    });
}

#[test]
fn programs_that_do_not_exist() {
    let sandbox = Sandbox::new();
    sandbox.unchanged(|| {
        sandbox.bpfman(["get", "4000000"]).fails(1, &["4000000"]);
        sandbox.bpfman(["unload", "4000000"]).fails(1, &["4000000"]);
    });
}

#[test]
fn without_privilege() {
    let (sandbox, veth) = stage();
    let load = xdp("pass").xdp(&veth.name);
    let program = bpfman().to_str().unwrap().to_owned();
    let as_nobody = |args: &[String]| {
        let mut words = vec![
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--",
            &program,
        ];
        words.extend(args.iter().map(String::as_str));
        tool("setpriv", &words)
    };
    let no_caps = |args: &[String]| {
        let mut words = vec!["--bounding-set=-all", "--inh-caps=-all", "--", &program];
        words.extend(args.iter().map(String::as_str));
        tool("setpriv", &words)
    };
    sandbox.unchanged(|| {
        as_nobody(&load.args()).fails(1, &["root"]);
        no_caps(&load.args()).fails(1, &["CAP_BPF"]);
    });
    let id = sandbox.load(&load);
    sandbox.unchanged(|| {
        as_nobody(&["list".into()]).fails(1, &["root"]);
        as_nobody(&["get".into(), id.to_string()]).fails(1, &["root"]);
        as_nobody(&["unload".into(), id.to_string()]).fails(1, &["root"]);
    });
    assert_eq!(veth.ingress(3), 3);
}

#[test]
fn a_runtime_root_that_cannot_be_written() {
    let (sandbox, veth) = stage();
    fs::write("/run/a-file", "").unwrap();
    for root in ["/proc/bpfman", "/run/a-file", "/run/a-file/below"] {
        let load = xdp("pass").xdp(&veth.name).args();
        let output = sandbox.unchanged(|| sandbox.bpfman_env("BPFMAN_RUNTIME_DIR", root, &load));
        output.fails(1, &[root]);
    }
}

#[test]
fn a_configuration_that_does_not_parse() {
    let (sandbox, veth) = stage();
    for (text, fragments) in [
        (
            "[interfaces.bm0]\nxdp_mode = \"quick\"\n",
            ["line 2", "xdp_mode"],
        ),
        ("[interfaces.bm0\n", ["line 1", "bpfman.toml"]),
        ("\n\nno_such_key = 1\n", ["line 3", "no_such_key"]),
    ] {
        sandbox.config(text);
        refused(&sandbox, &xdp("pass").xdp(&veth.name), &fragments);
    }
}
