use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use chrono::FixedOffset;
use model::{
    Attach, BpfmanState, Digest, Direction, Holder, ImageOrigin, KernelState, Kind, MapId,
    NetAttach, ProceedOn, ProgramId, ProgramView, Provenance, PullPolicy, Runtime, Source, Summary,
    Tracepoint,
};

use crate::output::{Format, list_text, program_text, write_all};

/// The zone of the guide's examples.
fn zone() -> FixedOffset {
    FixedOffset::west_opt(4 * 3600).unwrap()
}

/// 2023-07-17T17:20:14-0400.
const LOADED: u64 = 1_689_628_814;

fn view(attach: Attach, position: Option<usize>) -> ProgramView {
    let name = format!("my_{}", attach.kind());
    ProgramView {
        kernel: KernelState {
            id: ProgramId(6204),
            name: name.clone(),
            kind: attach.kind().kernel_type(),
            loaded_at: UNIX_EPOCH + Duration::from_millis(LOADED * 1000 + 999),
            tag: [0x0e, 0xad, 0x94, 0x55, 0x37, 0x02, 0xa3, 0x74],
            gpl_compatible: true,
            map_ids: vec![MapId(2705)],
            btf_id: 2821,
            bytes_xlated: 176,
            jited: true,
            bytes_jited: 116,
            bytes_memlock: 4096,
            verified_insns: 24,
        },
        bpfman: Some(BpfmanState {
            name,
            source: Source::File {
                path: "/home/me/examples/bpf_x86_bpfel.o".into(),
            },
            provenance: None,
            globals: BTreeMap::new(),
            metadata: BTreeMap::new(),
            map_pin_path: "/run/bpfman/fs/maps/6204".into(),
            map_owner_id: None,
            map_used_by: vec![ProgramId(6204)],
            attach,
            position,
        }),
    }
}

fn net(priority: u32) -> NetAttach {
    NetAttach {
        iface: "eno3".into(),
        netns: None,
        priority,
    }
}

fn pairs(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// One program of each kind; every field has a value in one of them and none in another.
fn programs() -> Vec<ProgramView> {
    let function = || "do_unlinkat".to_owned();
    let mut xdp = view(
        Attach::Xdp {
            net: net(100),
            proceed_on: ProceedOn::XDP_DEFAULT,
        },
        Some(1),
    );
    if let Some(state) = &mut xdp.bpfman {
        state.globals = pairs(&[("GLOBAL_u32", "0A0B0C0D"), ("GLOBAL_u8", "01")]);
        state.metadata = pairs(&[("owner", "acme\u{1b}[31m"), ("team", "a=b")]);
        state.map_owner_id = Some(ProgramId(6371));
        state.map_used_by = vec![ProgramId(6371), ProgramId(6204)];
    }
    let blue = NetAttach {
        netns: Some("/run/netns/blue".into()),
        ..net(1000)
    };
    let uprobe = |fn_name: Option<&str>, pid, container_pid| Attach::Uprobe {
        target: "libc".into(),
        fn_name: fn_name.map(Into::into),
        offset: if fn_name.is_some() { 0 } else { 0x2f0 },
        retprobe: fn_name.is_some(),
        pid,
        container_pid,
    };
    vec![
        xdp,
        view(
            Attach::Tc {
                net: blue,
                direction: Direction::Ingress,
                proceed_on: ProceedOn::parse(Kind::Tc, ["pipe", "dispatcher_return"]).unwrap(),
            },
            None,
        ),
        view(
            Attach::Tcx {
                net: net(0),
                direction: Direction::Egress,
            },
            Some(0),
        ),
        view(
            Attach::Tracepoint {
                tracepoint: Tracepoint {
                    category: "sched".into(),
                    name: "sched_switch".into(),
                },
            },
            None,
        ),
        view(
            Attach::Kprobe {
                fn_name: function(),
                offset: 8,
                retprobe: false,
            },
            None,
        ),
        view(uprobe(Some("malloc"), Some(4711), None), None),
        view(uprobe(None, None, Some(4712)), None),
        view(
            Attach::Fentry {
                fn_name: function(),
            },
            None,
        ),
        view(
            Attach::Fexit {
                fn_name: function(),
            },
            None,
        ),
    ]
}

/// A program of somebody else, with as little as the kernel can say.
fn foreign() -> ProgramView {
    let mut view = view(
        Attach::Fentry {
            fn_name: "f".into(),
        },
        None,
    );
    view.bpfman = None;
    view.kernel.name = String::new();
    view.kernel.kind = model::KernelType::CgroupSkb;
    view.kernel.map_ids = vec![MapId(1), MapId(20)];
    view.kernel.btf_id = 0;
    view
}

fn all(format: Format) -> String {
    let mut text = String::new();
    for view in programs().iter().chain([&foreign()]) {
        let kind = view
            .bpfman
            .as_ref()
            .map_or("foreign", |state| state.attach.kind().name());
        write!(
            text,
            "### {kind}\n{}\n",
            program_text(view, format, &zone()).unwrap()
        )
        .unwrap();
    }
    text
}

fn summaries() -> Vec<Summary> {
    let summary = |id, name: &str, kind: model::KernelType, managed| Summary {
        id: ProgramId(id),
        name: name.into(),
        kind,
        loaded_at: UNIX_EPOCH + Duration::from_secs(LOADED + u64::from(id)),
        managed,
        metadata: if managed {
            pairs(&[("owner", "acme")])
        } else {
            BTreeMap::new()
        },
    };
    vec![
        summary(52, "restrict_filesy", model::KernelType::Lsm, false),
        summary(455, "", model::KernelType::CgroupDevice, false),
        summary(
            6202,
            "sys_enter_openat",
            model::KernelType::Tracepoint,
            true,
        ),
    ]
}

#[test]
fn table() {
    insta::assert_snapshot!(all(Format::Table));
}

#[test]
fn json() {
    insta::assert_snapshot!(all(Format::Json));
}

#[test]
fn yaml() {
    insta::assert_snapshot!(all(Format::Yaml));
}

/// Where an image was found, in all the words there are for it.
#[test]
fn programs_of_images() {
    let holder = |runtime| Holder {
        runtime,
        at: "/run/c.sock".into(),
        user: None,
        namespace: Some("k8s.io".into()),
    };
    let attach = Attach::Fentry {
        fn_name: "do_unlinkat".to_owned(),
    };
    let mut program = view(attach, None);
    let texts = [
        (ImageOrigin::Registry, None),
        (ImageOrigin::Store, Some(holder(Runtime::Containerd))),
        (ImageOrigin::Containerd, Some(holder(Runtime::Containerd))),
    ]
    .map(|(from, holder)| {
        if let Some(state) = &mut program.bpfman {
            state.source = Source::Image {
                url: "x:dev".parse().unwrap(),
                pull_policy: PullPolicy::IfNotPresent,
            };
            state.provenance = Some(Provenance {
                from,
                digest: Digest::new([9; 32]),
                holder,
            });
        }
        let text = program_text(&program, Format::Table, &zone()).unwrap();
        let lines = text.lines().skip(3).take(4);
        lines.collect::<Vec<_>>().join("\n")
    });
    insta::assert_snapshot!(texts.join("\n\n"));
    insta::assert_snapshot!(program_text(&program, Format::Json, &zone()).unwrap());
}

#[test]
fn id() {
    assert_eq!(
        program_text(&foreign(), Format::Id, &zone()).unwrap(),
        "6204\n"
    );
    assert_eq!(
        list_text(&summaries(), Format::Id, &zone()).unwrap(),
        "52\n455\n6202\n"
    );
    assert_eq!(list_text(&[], Format::Id, &zone()).unwrap(), "");
}

#[test]
fn list_table() {
    let lines = [
        " Program ID  Name              Type           Load Time",
        " 52          restrict_filesy   lsm            2023-07-17T17:21:06-0400",
        " 455                           cgroup_device  2023-07-17T17:27:49-0400",
        " 6202        sys_enter_openat  tracepoint     2023-07-17T19:03:36-0400",
        "",
    ];
    assert_eq!(
        list_text(&summaries(), Format::Table, &zone()).unwrap(),
        lines.join("\n")
    );
}

#[test]
fn list_documents() {
    insta::assert_snapshot!(list_text(&summaries(), Format::Json, &zone()).unwrap());
    insta::assert_snapshot!(list_text(&summaries(), Format::Yaml, &zone()).unwrap());
}

#[test]
fn empty_list() {
    let list = |format| list_text(&[], format, &zone()).unwrap();
    assert_eq!(list(Format::Table), " Program ID  Name  Type  Load Time\n");
    assert_eq!(list(Format::Json), "[]\n");
    assert_eq!(list(Format::Yaml), "[]\n");
}

#[test]
fn a_reader_that_left_is_no_error() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    drop(reader);
    assert!(write_all(&mut writer, "x\n").is_ok());
    let mut full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let error = write_all(&mut full, "x\n").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

/// The examples of docs/json.md are results of this program, word for word.
#[test]
fn documented_examples_are_true() {
    let docs = include_str!("../../../docs/json.md");
    let tc = &programs()[1];
    for text in [
        program_text(tc, Format::Json, &zone()),
        list_text(&summaries()[1..], Format::Json, &zone()),
        list_text(&summaries()[2..], Format::Yaml, &zone()),
    ] {
        let text = text.unwrap();
        assert!(docs.contains(&text), "docs/json.md lacks:\n{text}");
    }
}
