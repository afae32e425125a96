//! What `load`, `list`, `get` and `unload` say.

use std::fs;

use serde_json::Value;
use testkit::{Details, Feature, Lane, Line, Sandbox, bpfman, bpftool, example, json, tool};

use crate::support::{tc, xdp};

#[test]
fn load_prints_what_get_prints() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let load = tc("ok")
        .metadata("owner=acme")
        .tc("egress", &veth.name)
        .priority(110);
    let printed = sandbox.bpfman(load.args_as(&[])).ok();
    let id: u32 = Details::parse(&printed)
        .kernel("Program ID")
        .parse()
        .unwrap();
    assert_eq!(sandbox.get(id).text, printed);
    let shown = sandbox.get(id);
    for (label, value) in [
        ("Name", "tc_verdict"),
        ("Path", load.path.to_str().unwrap()),
        ("Global", "verdict=00000000"),
        ("Metadata", "owner=acme"),
        ("Map Pin Path", &format!("/run/bpfman/fs/maps/{id}")),
        ("Map Owner ID", "None"),
        ("Map Used By", &id.to_string()),
        ("Priority", "110"),
        ("Iface", &veth.name),
        ("Position", "0"),
        ("Direction", "egress"),
        ("Proceed On", "ok, pipe, dispatcher_return"),
    ] {
        assert_eq!(shown.bpfman(label), value, "{label}");
    }
}

#[test]
fn the_kernel_state_is_the_kernels() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(&xdp("pass").xdp(&veth.name));
    let shown = sandbox.get(id);
    let theirs = bpftool(&["prog", "show", "id", &id.to_string()]);
    let number = |label: &str| shown.kernel(label).parse::<u64>().unwrap();
    assert_eq!(shown.kernel("Program ID"), id.to_string());
    assert_eq!(shown.kernel("Name"), "xdp_verdict");
    assert_eq!(shown.kernel("Type"), "xdp");
    assert_eq!(shown.kernel("Tag"), theirs["tag"].as_str().unwrap());
    assert_eq!(
        shown.kernel("GPL Compatible"),
        theirs["gpl_compatible"].to_string()
    );
    let maps: Vec<String> = theirs["map_ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(Value::to_string)
        .collect();
    assert_eq!(shown.kernel("Map IDs"), format!("[{}]", maps.join(", ")));
    assert_eq!(number("BTF ID"), theirs["btf_id"].as_u64().unwrap());
    assert_eq!(
        number("Size Translated (bytes)"),
        theirs["bytes_xlated"].as_u64().unwrap()
    );
    assert_eq!(shown.kernel("JITed"), theirs["jited"].to_string());
    assert_eq!(
        number("Size JITed (bytes)"),
        theirs["bytes_jited"].as_u64().unwrap()
    );
    let memlock = number("Kernel Allocated Memory (bytes)");
    assert_eq!(memlock, theirs["bytes_memlock"].as_u64().unwrap());
    // The kernel counts them since 5.16.
    let counted = number("Verified Instruction Count") > 0;
    assert_eq!(counted, Lane::current() != Lane::V5_10);
    let now = tool("date", &["-u", "+%Y-%m-%dT%H:"]).ok();
    let loaded = shown.kernel("Loaded At");
    assert!(loaded.ends_with("+0000"), "{loaded}");
    assert!(
        loaded.starts_with(now.trim()) || now.contains("00:"),
        "{loaded} is not {now}"
    );
}

#[test]
fn the_list_shows_each_kind_as_it_was_attached() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let mut expected = vec![
        (
            sandbox.load(&xdp("pass").xdp(&veth.name)),
            "xdp_verdict",
            "xdp",
        ),
        (
            sandbox.load(&tc("ok").tc("ingress", &veth.name)),
            "tc_verdict",
            "tc",
        ),
    ];
    if Feature::PerfLink.is_present() {
        let load = example("tracepoint_counter").name("enter_openat");
        let load = load.attach(&["tracepoint", "-t", "syscalls/sys_enter_openat"]);
        expected.push((sandbox.load(&load), "enter_openat", "tracepoint"));
        let load = example("uprobe").attach(&["uprobe", "-t", "libc", "-f", "malloc"]);
        expected.push((sandbox.load(&load), "my_uprobe", "probe"));
    }
    if Feature::Tracing.is_present() {
        let load = example("fentry").attach(&["fentry", "-f", "do_unlinkat"]);
        expected.push((sandbox.load(&load), "test_fentry", "tracing"));
    }
    if Feature::Tcx.is_present() {
        let load = example("tcx_counter").tcx("ingress", &veth.name);
        expected.push((sandbox.load(&load), "tcx_stats", "tc"));
    }
    let shown = |lines: Vec<Line>| -> Vec<(u32, String, String)> {
        lines
            .into_iter()
            .map(|line| (line.id, line.name, line.kind))
            .collect()
    };
    let expected: Vec<(u32, String, String)> = expected
        .into_iter()
        .map(|(id, name, kind)| (id, name.into(), kind.into()))
        .collect();
    assert_eq!(shown(sandbox.list(&[])), expected);
    for kind in ["xdp", "tc", "tracepoint", "probe", "tracing", "lsm"] {
        let of_kind: Vec<_> = expected
            .iter()
            .filter(|(.., k)| k == kind)
            .cloned()
            .collect();
        assert_eq!(
            shown(sandbox.list(&["--program-type", kind])),
            of_kind,
            "{kind}"
        );
        let all = sandbox.list(&["--all", "-p", kind]);
        assert!(all.iter().all(|line| line.kind == kind), "{all:?}");
    }
}

#[test]
fn list_all_shows_programs_of_others_and_our_dispatchers() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let path = tc("ok").path;
    tool(
        "bpftool",
        &[
            "prog",
            "load",
            path.to_str().unwrap(),
            "/sys/fs/bpf/foreign",
        ],
    )
    .ok();
    let foreign = bpftool(&["prog", "show", "pinned", "/sys/fs/bpf/foreign"]);
    let foreign = u32::try_from(foreign["id"].as_u64().unwrap()).unwrap();
    let ours = sandbox.load(&xdp("pass").xdp(&veth.name));
    assert_eq!(sandbox.ids(), [ours]);
    let all = sandbox.list(&["--all"]);
    let find = |id: u32| all.iter().find(|line| line.id == id).unwrap();
    assert_eq!(
        (find(foreign).name.as_str(), find(foreign).kind.as_str()),
        ("tc_verdict", "tc")
    );
    assert_eq!(
        (find(ours).name.as_str(), find(ours).kind.as_str()),
        ("xdp_verdict", "xdp")
    );
    // Others may have dispatchers, too: ours is on the interface.
    let attached = json("ip", &["-j", "-d", "link", "show", "dev", &veth.name]);
    let attached = attached[0]["xdp"]["prog"]["id"].as_u64().unwrap();
    let attached = find(u32::try_from(attached).unwrap());
    let expected = if Feature::Ext.is_present() {
        "xdp_dispatcher"
    } else {
        "xdp_verdict"
    };
    assert_eq!(
        (attached.name.as_str(), attached.kind.as_str()),
        (expected, "xdp")
    );
    // A foreign program: nothing of ours, all of the kernel's.
    let shown = sandbox.get(foreign);
    assert!(shown.is_foreign(), "{}", shown.text);
    assert_eq!(shown.kernel("Type"), "tc");
    let refused = sandbox.bpfman(["unload", &foreign.to_string()]);
    refused.fails(
        1,
        &[&foreign.to_string(), "tc_verdict", "not loaded by bpfman"],
    );
    assert_eq!(sandbox.list(&["--all", "-m", "owner=acme"]), []);
    fs::remove_file("/sys/fs/bpf/foreign").unwrap();
}

#[test]
fn an_empty_list_is_headings() {
    let sandbox = Sandbox::new();
    assert_eq!(
        sandbox.bpfman(["list"]).ok(),
        " Program ID  Name  Type  Load Time\n"
    );
    assert_eq!(sandbox.bpfman(["list", "-o", "json"]).ok().trim(), "[]");
    assert_eq!(sandbox.bpfman(["list", "-o", "id"]).ok(), "");
    // Reading makes nothing.
    assert!(!fs::exists("/run/bpfman").unwrap());
}

#[test]
fn json_yaml_and_ids() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let load = xdp("pass")
        .metadata("owner=acme")
        .xdp(&veth.name)
        .priority(7);
    let loaded = sandbox.bpfman(load.args_as(&["-o", "json"])).ok();
    let document: Value = serde_json::from_str(&loaded).unwrap();
    let id = document["kernel"]["id"].as_u64().unwrap();
    let text = id.to_string();
    let shown: Value =
        serde_json::from_str(&sandbox.bpfman(["get", &text, "-o", "json"]).ok()).unwrap();
    assert_eq!(shown, document);
    assert_eq!(shown["bpfman"]["attach"]["type"], "xdp");
    assert_eq!(shown["bpfman"]["attach"]["priority"], 7);
    assert_eq!(shown["bpfman"]["attach"]["position"], 0);
    assert_eq!(shown["bpfman"]["attach"]["iface"], veth.name);
    assert_eq!(shown["bpfman"]["metadata"]["owner"], "acme");
    assert_eq!(shown["bpfman"]["map_used_by"][0], id);
    let list: Value = serde_json::from_str(&sandbox.bpfman(["list", "-o", "json"]).ok()).unwrap();
    assert_eq!(list[0]["id"], id);
    assert_eq!(list[0]["type"], "xdp");
    let yaml = sandbox.bpfman(["list", "--output", "yaml"]).ok();
    assert!(yaml.contains(&format!("id: {id}")), "{yaml}");
    let yaml = sandbox.bpfman(["get", &text, "--output", "yaml"]).ok();
    assert!(yaml.contains("owner: acme"), "{yaml}");
    assert_eq!(sandbox.bpfman(["list", "-o", "id"]).ok(), format!("{id}\n"));
    assert_eq!(
        sandbox.bpfman(["get", &text, "-o", "id"]).ok(),
        format!("{id}\n")
    );
}

#[test]
fn several_are_unloaded_and_each_failure_is_told() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let one = sandbox
        .load(&tc("ok").tc("ingress", &veth.name))
        .to_string();
    let two = sandbox.load(&tc("ok").tc("egress", &veth.name)).to_string();
    let three = sandbox.load(&xdp("pass").xdp(&veth.name));
    let said = sandbox.bpfman(["unload", &one, "4000000", &two, "4000001"]);
    let said = said.fails(1, &["4000000", "4000001"]);
    assert_eq!(said.matches("error:").count(), 2, "{said}");
    assert_eq!(sandbox.ids(), [three]);
    sandbox.bpfman(["unload", &one]).fails(1, &[&one]);
}

/// A closed pipe is no error.
#[test]
fn a_reader_that_goes_away() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    sandbox.load(&tc("ok").tc("ingress", &veth.name));
    let program = bpfman();
    let program = program.display();
    let script =
        format!("set -o pipefail; {program} list --all | true; {program} list | head -n 1");
    let output = tool("bash", &["-c", &script]);
    assert_eq!((output.status, output.stderr.as_str()), (0, ""), "{output}");
}

#[test]
fn another_runtime_root() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let load = tc("ok").tc("ingress", &veth.name);
    let with_root: Vec<String> = ["--runtime-dir", "/run/test-root"]
        .map(str::to_owned)
        .into_iter()
        .chain(load.args())
        .collect();
    let id = sandbox.bpfman(with_root).ok();
    assert_eq!(sandbox.ids(), [0; 0]);
    let listed = sandbox.bpfman_env("BPFMAN_RUNTIME_DIR", "/run/test-root", ["list", "-o", "id"]);
    assert_eq!(listed.ok(), id);
    assert_eq!(veth.ingress(3), 3);
    let counter = format!("/run/test-root/fs/maps/{}/counter", id.trim());
    assert_eq!(testkit::maps::count(counter.as_ref(), 0), 3);
    sandbox
        .bpfman(["--runtime-dir", "/run/test-root", "unload", id.trim()])
        .ok();
}

#[test]
fn the_version() {
    let sandbox = Sandbox::new();
    let text = sandbox.bpfman(["--version"]).ok();
    assert_eq!(text, format!("bpfman {}\n", env!("CARGO_PKG_VERSION")));
}
