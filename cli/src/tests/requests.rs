use std::{fmt::Write as _, path::PathBuf};

use clap::error::ErrorKind;
use manager::{ListFilter, LoadRequest};
use model::{Attach, Direction, Kind, NetAttach, ProceedOn, ProgramId, Source};

use super::read;
use crate::{
    args::Command,
    commands::{
        image::{Image, Verb},
        load::From,
    },
    output::Format,
    report::Failure,
};

/// The request that a `load file` command line makes.
fn load(line: &str) -> Result<LoadRequest, Failure> {
    match read(&format!("load file {line}"))?.command {
        Command::Load(load) => match load.from {
            From::File(file) => file.request(),
            From::Image(_) => panic!("{line} loads no file"),
        },
        other => panic!("{other:?}"),
    }
}

/// The message of a command line that is wrong, and its status is that of wrong usage.
fn wrong(line: &str) -> String {
    let failure = match read(line).map(|cli| cli.command) {
        Err(failure) => failure,
        Ok(Command::Load(load)) => match load.from {
            From::File(file) => file.request().expect_err(line),
            From::Image(image) => image.request().expect_err(line),
        },
        Ok(Command::List(list)) => list.filter().expect_err(line),
        Ok(Command::Image(Image {
            verb: Verb::Pull(pull),
        })) => pull.request().expect_err(line),
        Ok(other) => panic!("{line}: taken as {other:?}"),
    };
    match &failure {
        Failure::Usage(error) => assert_eq!(error.exit_code(), 2, "{line}"),
        other => panic!("{line}: {other}"),
    }
    failure.to_string()
}

fn eth0(priority: u32) -> NetAttach {
    NetAttach {
        iface: "eth0".into(),
        netns: None,
        priority,
    }
}

fn xdp(priority: u32, actions: &[&str]) -> Attach {
    let proceed_on = ProceedOn::parse(Kind::Xdp, actions).unwrap();
    Attach::Xdp {
        net: eth0(priority),
        proceed_on,
    }
}

const DEFAULT: &[&str] = &["pass", "dispatcher_return"];

/// Checks what to load and where to attach it.
fn check<const N: usize>(cases: [(&str, Attach); N]) {
    for (line, wanted) in cases {
        let request = load(&format!("-p a.o -n pass {line}")).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(request.attach, wanted, "{line}");
        assert_eq!(request.source, Source::File { path: here("a.o") });
        assert_eq!(request.name.as_deref(), Some("pass"));
    }
}

/// A path in the working directory of the test.
fn here(name: &str) -> PathBuf {
    std::env::current_dir().unwrap().join(name)
}

#[test]
fn programs_of_an_interface() {
    check([
        ("xdp -i eth0", xdp(1000, DEFAULT)),
        ("xdp --iface eth0 --priority 0", xdp(0, DEFAULT)),
        (
            "xdp -i eth0 -p 30 --proceed-on drop pass dispatcher_return",
            xdp(30, &["drop", "pass", "dispatcher_return"]),
        ),
        (
            "xdp --proceed-on drop --proceed-on pass -i eth0 --proceed-on drop",
            xdp(1000, &["drop", "pass"]),
        ),
        (
            "tc -d ingress -i eth0 -p 40",
            Attach::Tc {
                net: eth0(40),
                direction: Direction::Ingress,
                proceed_on: ProceedOn::TC_DEFAULT,
            },
        ),
        (
            "tcx --direction egress --iface eth0 -n blue",
            Attach::Tcx {
                net: NetAttach {
                    netns: Some("blue".into()),
                    ..eth0(1000)
                },
                direction: Direction::Egress,
            },
        ),
        (
            "tcx -d egress -i eth0 --netns ./blue",
            Attach::Tcx {
                net: NetAttach {
                    netns: Some(here("blue")),
                    ..eth0(1000)
                },
                direction: Direction::Egress,
            },
        ),
    ]);
}

#[test]
fn probes() {
    let uprobe = |target: &str, fn_name: Option<&str>, offset| Attach::Uprobe {
        target: target.into(),
        fn_name: fn_name.map(Into::into),
        offset,
        retprobe: false,
        pid: None,
        container_pid: None,
    };
    check([
        (
            "tracepoint -t sched/sched_switch",
            Attach::Tracepoint {
                tracepoint: "sched/sched_switch".parse().unwrap(),
            },
        ),
        (
            "kprobe -f try_to_wake_up -o 0x10",
            Attach::Kprobe {
                fn_name: "try_to_wake_up".into(),
                offset: 16,
                retprobe: false,
            },
        ),
        (
            "kprobe -f try_to_wake_up -r",
            Attach::Kprobe {
                fn_name: "try_to_wake_up".into(),
                offset: 0,
                retprobe: true,
            },
        ),
        (
            "uprobe -f malloc -t libc",
            uprobe("libc", Some("malloc"), 0),
        ),
        ("uprobe -o 32 -t /bin/sh", uprobe("/bin/sh", None, 32)),
        (
            "uprobe -f main -t ./a.out",
            uprobe(here("a.out").to_str().unwrap(), Some("main"), 0),
        ),
        (
            "uprobe -f malloc -t libc -r -p 1 -c 2",
            Attach::Uprobe {
                target: "libc".into(),
                fn_name: Some("malloc".into()),
                offset: 0,
                retprobe: true,
                pid: Some(1),
                container_pid: Some(2),
            },
        ),
        (
            "fentry -f do_unlinkat",
            Attach::Fentry {
                fn_name: "do_unlinkat".into(),
            },
        ),
        (
            "fexit -f do_unlinkat",
            Attach::Fexit {
                fn_name: "do_unlinkat".into(),
            },
        ),
    ]);
}

#[test]
fn lists_end_where_their_words_end() {
    for line in [
        "-p a.o -g A=01 B=0x0a0B -n xdp xdp -i eth0",
        "-p a.o -n xdp -g A=01 B=0A0B xdp -i eth0",
        "-p a.o -n xdp -g A=01 -g B=0A0B xdp -i eth0",
        "-gA=01 B=0A0B -p a.o -n xdp xdp -i eth0",
        "--global=A=01 B=0A0B -p a.o -n xdp xdp -i eth0",
        "--global A=01 A=01 B=0A0B --path a.o --name xdp xdp --iface eth0",
    ] {
        let request = load(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let globals: Vec<_> = request.globals.into_iter().collect();
        assert_eq!(
            globals,
            [("A".into(), vec![1]), ("B".into(), vec![10, 11])],
            "{line}"
        );
        assert_eq!(request.name.as_deref(), Some("xdp"), "{line}");
    }
    let request = load("-p a.o -m a=b=c d= e=f,g -m h=é --map-owner-id 7 xdp -i eth0").unwrap();
    let metadata: Vec<_> = request
        .metadata
        .iter()
        .map(|(k, v)| format!("{k}:{v}"))
        .collect();
    assert_eq!(metadata, ["a:b=c", "d:", "e:f,g", "h:é"]);
    assert_eq!(request.map_owner_id, Some(ProgramId(7)));
    assert_eq!(request.name, None);
}

#[test]
fn wrong_usage_is_explained() {
    let mut text = String::new();
    for line in [
        "load file -p a.o -g A=01,B=02 xdp -i eth0",
        "load file -p a.o -g A=01 foo xdp -i eth0",
        "load file -p a.o -g A xdp -i eth0",
        "load file -p a.o -g =01 xdp -i eth0",
        "load file -p a.o -g A= xdp -i eth0",
        "load file -p a.o -g A=0x xdp -i eth0",
        "load file -p a.o -g A=1 xdp -i eth0",
        "load file -p a.o -g A=0G xdp -i eth0",
        "load file -p a.o -g A=éé xdp -i eth0",
        "load file -p a.o -g A=01 A=02 xdp -i eth0",
        "load file -p a.o -g",
        "load file -p a.o -m =b xdp -i eth0",
        "load file -p a.o -m a=b,c=d xdp -i eth0",
        "load file -p a.o -m a=b a=c xdp -i eth0",
        "load file -p a.o --map-owner-id x xdp -i eth0",
        "load file -n pass xdp -i eth0",
        "load file -p a.o xdp",
        "load file -p a.o xdp -i eth0 -p 1001",
        "load file -p a.o xdp -i eth0 -p -1",
        "load file -p a.o xdp -i a-name-longer-than-15",
        "load file -p a.o xdp -i eth0 --proceed-on pass,drop",
        "load file -p a.o xdp -i eth0 --proceed-on ok",
        "load file -p a.o xdp -i eth0 --proceed-on",
        "load file -p a.o xdp -i eth0 -o json",
        "load file -p a.o xdp -i eth0 -g A=01",
        "load file -p a.o tc -i eth0",
        "load file -p a.o tc -i eth0 -d up",
        "load file -p a.o tracepoint -t sched_switch",
        "load file -p a.o kprobe -f f -c 1",
        "load file -p a.o kprobe -f f -r -o 1",
        "load file -p a.o uprobe -t libc",
        "load file -p a.o uprobe -t libc -o 0",
        "load file -p a.o uprobe -t libc -f malloc -o 4 -r",
        "load file -p a.o uprobe -t lib/x.so -f f -c 1",
        "load file -p a.o uprobe -t libc -f f -o ten",
        "load file -p a.o xpd -i eth0",
        "load image xdp -i eth0",
        "load image -i https://quay.io/x xdp -i eth0",
        "load image -i quay.io/X xdp -i eth0",
        "load image -i x -p Sometimes xdp -i eth0",
        "load image -i x -r user:s3cr3t xdp -i eth0",
        "load image -i x xdp -i eth0 --pull-policy Never",
        "image pull",
        "image pull -i x@sha256:12",
        "image pull -i x -r user:s3cr3t",
        "image inspect",
        "image inspect sha256:12",
        "image remove",
        "get",
        "get 0x10",
        "get 1 2",
        "unload",
        "unload 17 x",
        "list -p cgroup",
        "list -m owner",
        "list -m a=b a=c",
        "list -o xml",
        "-q -v list",
        "frobnicate",
    ] {
        let message = wrong(line);
        // The usage line and the pointer to --help are clap's.
        let lines = message
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with("For more"));
        let said: Vec<_> = lines.take_while(|l| !l.starts_with("Usage:")).collect();
        write!(text, "$ bpfman {line}\n{}\n\n", said.join("\n")).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn lists() {
    let filter = |line: &str| -> ListFilter {
        match read(line).unwrap_or_else(|e| panic!("{e}")).command {
            Command::List(list) => list.filter().unwrap_or_else(|e| panic!("{e}")),
            other => panic!("{other:?}"),
        }
    };
    let plain = filter("list");
    assert!(!plain.all && plain.kind.is_none() && plain.metadata.is_empty());
    for line in [
        "list -a -p cgroup_skb -m a=b c=d",
        "list --all --program-type cgroup-skb -m a=b -m c=d",
    ] {
        let given = filter(line);
        assert!(given.all);
        assert_eq!(given.kind, Some(model::KernelType::CgroupSkb));
        assert_eq!(given.metadata.len(), 2, "{line}");
    }
}

#[test]
fn the_rest() {
    let command = |line| read(line).unwrap_or_else(|e| panic!("{e}")).command;
    assert!(matches!(command("get 7 -o yaml"), Command::Get(get)
        if get.id == ProgramId(7) && get.output.format == Format::Yaml));
    assert!(matches!(command("unload 7 8 7"), Command::Unload(unload)
        if unload.ids == [7, 8, 7].map(ProgramId)));
    for line in [
        "--runtime-dir /x --config c list -vv",
        "list --config c --runtime-dir /x -v -v",
    ] {
        let globals = read(line).unwrap_or_else(|e| panic!("{e}")).globals;
        assert_eq!(globals.verbose, 2, "{line}");
        assert_eq!(
            globals.options().runtime_dir,
            std::path::Path::new("/x"),
            "{line}"
        );
        assert!(globals.options().config.is_absolute(), "{line}");
    }
}

#[test]
fn help_is_no_failure() {
    for (line, kind) in [
        ("--help", ErrorKind::DisplayHelp),
        ("help load file tcx", ErrorKind::DisplayHelp),
        ("load file xdp -h", ErrorKind::DisplayHelp),
        ("-V", ErrorKind::DisplayVersion),
    ] {
        match read(line) {
            Err(Failure::Usage(error)) => {
                assert_eq!(error.kind(), kind, "{line}");
                assert_eq!(error.exit_code(), 0, "{line}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}
