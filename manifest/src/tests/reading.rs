use std::{fs, path::PathBuf};

use model::{Attach, Direction, Kind, NetAttach, ProceedOn, PullPolicy, Source};

use super::{desired, host, manifest, parse};
use crate::{Host, expand, read};

const FILE: &str = "bytecode: {path: x.o}";

fn complaints(text: &str) -> Vec<String> {
    let errors = parse(text).errors;
    errors.iter().map(ToString::to_string).collect()
}

/// The guide's own example, with what its dots stand for.
#[test]
fn the_guides_manifest() {
    let text = "\
apiVersion: bpfman.io/v1alpha1
kind: XdpProgram
metadata:
  name: my-ebpf-program
spec:
  bpfProgram:
    image: my-ebpf-prog:dev
  interfaceselector:
    primarynodeinterface: true
";
    let [program] = &desired(text)[..] else {
        panic!()
    };
    assert_eq!(
        program.identity.to_string(),
        "XdpProgram/my-ebpf-program on eth0"
    );
    let Source::Image { url, pull_policy } = &program.source else {
        panic!()
    };
    assert_eq!(url.to_string(), "my-ebpf-prog:dev");
    assert_eq!(*pull_policy, PullPolicy::IfNotPresent);
    let net = NetAttach {
        iface: "eth0".into(),
        netns: None,
        priority: 1000,
    };
    let proceed_on = ProceedOn::XDP_DEFAULT;
    assert_eq!(program.attach, Attach::Xdp { net, proceed_on });
}

#[test]
fn each_interface_and_each_event_is_a_program() {
    let interfaces = "interfaceselector: {interfaces: [a, b, a], primarynodeinterface: true}";
    let tc = manifest(
        "TcProgram",
        "t",
        &format!("{FILE}\n{interfaces}\ndirection: egress\nproceedon: [ok]\npriority: 7"),
    );
    let names = "names: [a/b, c/d]\nglobaldata: {x: AQI=}\nbpffunctionname: f";
    let tracepoint = manifest("TracepointProgram", "t", &format!("{FILE}\n{names}"));
    let all = desired(&format!("{tc}---\n{tracepoint}"));
    let shown: Vec<String> = all.iter().map(|one| one.identity.to_string()).collect();
    assert_eq!(
        shown,
        [
            "TcProgram/t on a",
            "TcProgram/t on b",
            "TcProgram/t on eth0",
            "TracepointProgram/t on a/b",
            "TracepointProgram/t on c/d",
        ]
    );
    assert_eq!(all[1].attach.direction(), Some(Direction::Egress));
    assert_eq!(all[1].attach.proceed_on(), Some(ProceedOn(2)));
    assert_eq!(all[3].globals["x"], [1, 2]);
    assert_eq!(all[3].function.as_deref(), Some("f"));
    // Relative to the file.
    let path = PathBuf::from("/srv/x.o");
    assert_eq!(all[0].source, Source::File { path });
    assert_eq!(all[3].origin.line, 15);
}

#[test]
fn probes() {
    let texts = [
        manifest(
            "KprobeProgram",
            "k",
            &format!("{FILE}\nfunc_name: g\nretprobe: true"),
        ),
        manifest(
            "UprobeProgram",
            "u",
            &format!("{FILE}\ntarget: libc\noffset: 16\npid: 7\ncontainerpid: 8"),
        ),
        manifest("FentryProgram", "e", &format!("{FILE}\nfunc_name: g")),
        manifest("FexitProgram", "x", &format!("{FILE}\nfunc_name: g")),
    ];
    let all = desired(&texts.join("---\n"));
    let kinds: Vec<Kind> = all.iter().map(|one| one.attach.kind()).collect();
    assert_eq!(
        kinds,
        [Kind::Kprobe, Kind::Uprobe, Kind::Fentry, Kind::Fexit]
    );
    let Attach::Uprobe {
        fn_name: None,
        offset: 16,
        pid: Some(7),
        container_pid: Some(8),
        ..
    } = all[1].attach
    else {
        panic!("{:?}", all[1].attach)
    };
}

/// Every mistake is named with its line and column.
#[test]
#[expect(clippy::too_many_lines, reason = "one table of mistakes")]
fn mistakes() {
    let on = "interfaceselector: {interfaces: [a]}";
    let xdp = |spec: &str| manifest("XdpProgram", "x", spec);
    for (text, at, words) in [
        (
            xdp(&format!("{FILE}\n{on}\nprioritty: 5")),
            "8:3",
            "unknown field `prioritty`",
        ),
        (
            xdp(&format!("bytecode: {{pat: x}}\n{on}")),
            "6:14",
            "unknown field `pat`",
        ),
        (
            xdp(&format!("{FILE}\n{on}\ndirection: ingress")),
            "8:14",
            "'direction' of XdpProgram",
        ),
        (
            xdp(&format!("{FILE}\n{on}\npriority: 1001")),
            "8:13",
            "out of range",
        ),
        (
            xdp(&format!("{FILE}\n{on}\npriority: high")),
            "8:13",
            "whole number",
        ),
        (
            xdp(&format!("{FILE}\n{on}\nproceedon: [pss]")),
            "8:15",
            "unknown action 'pss'",
        ),
        (
            xdp(&format!("{FILE}\n{on}\nglobaldata: {{a: '!'}}")),
            "8:19",
            "not base64",
        ),
        (
            xdp(&format!("{FILE}\n{on}\nglobaldata: {{a: ''}}")),
            "8:19",
            "empty",
        ),
        (xdp(on), "4:9", "needs bytecode"),
        (xdp(FILE), "4:9", "'interfaceselector'"),
        (
            xdp(&format!("{FILE}\ninterfaceselector: {{}}")),
            "7:22",
            "no interface",
        ),
        (
            xdp(&format!("{FILE}\ninterfaceselector: {{interfaces: [a/b]}}")),
            "7:22",
            "a/b",
        ),
        (
            xdp(&format!(
                "{FILE}\ninterfaceselector: {{primarynodeinterface: true}}\nnetns: n"
            )),
            "7:22",
            "netns",
        ),
        (
            xdp(&format!("bytecode: {{path: x, image: {{url: y}}}}\n{on}")),
            "6:13",
            "either",
        ),
        (
            xdp(&format!("{FILE}\nbpfProgram: {{image: y}}\n{on}")),
            "7:15",
            "not both",
        ),
        (
            xdp(&format!("bpfProgram: {{image: 'UP:x'}}\n{on}")),
            "6:23",
            "names no image",
        ),
        (
            xdp(&format!(
                "bytecode: {{image: {{url: y, imagepullpolicy: Often}}}}\n{on}"
            )),
            "6:47",
            "'Often'",
        ),
        (
            xdp(&format!("{FILE}\n{on}\nmapownerselector: {{}}")),
            "8:21",
            "selects nothing",
        ),
        (
            manifest(
                "UprobeProgram",
                "u",
                &format!("{FILE}\ntarget: t\ncontainers: {{}}"),
            ),
            "8:15",
            "containerpid",
        ),
        (
            xdp(&format!(
                "bytecode:\n  image:\n    url: x\n    imagepullsecret: {{name: s}}\n{on}"
            )),
            "9:24",
            "podman login",
        ),
        (
            manifest("TcProgram", "t", &format!("{FILE}\n{on}")),
            "4:9",
            "'direction'",
        ),
        (
            manifest("TcProgram", "t", &format!("{FILE}\n{on}\ndirection: up")),
            "8:14",
            "'up'",
        ),
        (
            manifest("TracepointProgram", "t", &format!("{FILE}\nnames: [a]")),
            "7:11",
            "CATEGORY/NAME",
        ),
        (
            manifest("XdpProgramm", "x", FILE),
            "2:7",
            "use one of XdpProgram,",
        ),
        (
            manifest("XdpProgram", "My_Prog", FILE),
            "4:9",
            "'My_Prog' is no name",
        ),
        (xdp(FILE).replace("v1alpha1", "v2"), "1:13", "apiVersion"),
        ("kind: [".to_owned(), "1:", ""),
    ] {
        let said = complaints(&text);
        let place = format!("standard input:{at}");
        assert_eq!(said.len(), 1, "{text}\n{said:?}");
        assert!(said[0].starts_with(&place), "{text}\n{said:?}");
        assert!(said[0].contains(words), "{words}: {said:?}");
    }
}

#[test]
fn a_name_stands_for_one_manifest() {
    let text = manifest("FexitProgram", "x", &format!("{FILE}\nfunc_name: g"));
    let said = complaints(&format!("{text}---\n{text}"));
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("standard input:4 already"), "{said:?}");
    let other = text.replace("Fexit", "Fentry");
    assert!(complaints(&format!("{text}---\n{other}")).is_empty());
}

#[test]
fn hosts_are_selected() {
    let with = |selector: &str| {
        let spec = format!("{FILE}\nfunc_name: g\nnodeselector: {selector}");
        desired(&manifest("FexitProgram", "x", &spec)).len()
    };
    for (selector, selected) in [
        ("{}", 1),
        ("{matchLabels: {role: edge}}", 1),
        ("{matchLabels: {role: core}}", 0),
        (
            "{matchExpressions: [{key: role, operator: In, values: [edge, core]}]}",
            1,
        ),
        (
            "{matchExpressions: [{key: role, operator: NotIn, values: [edge]}]}",
            0,
        ),
        (
            "{matchExpressions: [{key: zone, operator: DoesNotExist}]}",
            1,
        ),
        ("{matchExpressions: [{key: zone, operator: Exists}]}", 0),
    ] {
        assert_eq!(with(selector), selected, "{selector}");
    }
    let primary = "interfaceselector: {primarynodeinterface: true}";
    let set = parse(&manifest("XdpProgram", "x", &format!("{FILE}\n{primary}")));
    let (none, errors) = expand(&set.documents, &Host::default());
    assert!(
        none.is_empty() && errors[0].what.contains("no default route"),
        "{errors:?}"
    );
    assert_eq!(expand(&set.documents, &host()).0.len(), 1);
}

#[test]
fn a_folder_is_read_in_the_order_of_names() {
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| manifest("FexitProgram", name, &format!("{FILE}\nfunc_name: g"));
    for (file, name) in [("b.yaml", "two"), ("a.yml", "one"), ("c.json", "three")] {
        fs::write(folder.path().join(file), text(name)).unwrap();
    }
    for file in ["notes.txt", ".hidden.yaml"] {
        fs::write(folder.path().join(file), "no manifest: [").unwrap();
    }
    let set = read(folder.path());
    let names: Vec<_> = set
        .documents
        .iter()
        .filter_map(crate::Document::name)
        .collect();
    let names: Vec<_> = names.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["one", "two", "three"]);
    assert!(set.errors.is_empty());
    let path = folder.path().canonicalize().unwrap();
    assert_eq!(set.name, path.display().to_string());
    let missing = read(&folder.path().join("missing"));
    assert_eq!(missing.errors.len(), 1);
}
