//! Messages both ways, codes, and the small parts.

use std::{collections::BTreeMap, io, path::PathBuf, time::SystemTime};

use manager::{Error, ErrorKind};
use model::{
    Attach, BpfmanState, Direction, KernelState, KernelType, NetAttach, ProceedOn, ProgramId,
    ProgramView, PullPolicy, Source,
};
use tonic::Code;

use crate::{
    answer,
    proto::{
        AttachInfo, BytecodeImage, BytecodeLocation, KprobeAttachInfo, ListRequest, LoadRequest,
        TcAttachInfo, UprobeAttachInfo, XdpAttachInfo, attach_info::Info,
        bytecode_location::Location,
    },
    request,
    socket::group_in,
    status::{code, short, status},
};

fn net(iface: &str, netns: Option<&str>, priority: u32) -> NetAttach {
    NetAttach {
        iface: iface.into(),
        netns: netns.map(PathBuf::from),
        priority,
    }
}

/// One of each, with every field that the messages have.
fn attachments() -> Vec<Attach> {
    let fn_name = || "do_unlinkat".to_owned();
    vec![
        Attach::Xdp {
            net: net("eth0", Some("blue"), 0),
            proceed_on: ProceedOn(1 << 31 | 0b11111),
        },
        Attach::Tc {
            net: net("eth0", Some("/run/netns/blue"), 1000),
            direction: Direction::Egress,
            proceed_on: ProceedOn(1 << 31 | 0b11_1111_1111),
        },
        Attach::Tcx {
            net: net("lo", None, 7),
            direction: Direction::Ingress,
        },
        Attach::Tracepoint {
            tracepoint: "sched/sched_switch".parse().unwrap(),
        },
        Attach::Kprobe {
            fn_name: fn_name(),
            offset: 16,
            retprobe: false,
        },
        Attach::Uprobe {
            target: "/usr/bin/bash".into(),
            fn_name: Some("main".into()),
            offset: 0,
            retprobe: true,
            pid: Some(17),
            container_pid: Some(18),
        },
        Attach::Fentry { fn_name: fn_name() },
        Attach::Fexit { fn_name: fn_name() },
    ]
}

fn view(attach: Attach, source: Source) -> ProgramView {
    let kind = attach.kind().kernel_type();
    ProgramView {
        bpfman: Some(BpfmanState {
            name: "pass".into(),
            source,
            globals: [("verdict".to_owned(), "020000FF".to_owned())].into(),
            metadata: [("owner".to_owned(), "acme".to_owned())].into(),
            map_pin_path: "/run/bpfman/fs/maps/17".into(),
            map_owner_id: Some(ProgramId(16)),
            map_used_by: vec![ProgramId(16), ProgramId(17)],
            attach,
            position: Some(3),
            provenance: None,
        }),
        kernel: KernelState {
            id: ProgramId(17),
            name: "pass".into(),
            kind,
            loaded_at: SystemTime::now(),
            tag: [0, 1, 2, 3, 4, 5, 6, 0xff],
            gpl_compatible: true,
            map_ids: vec![],
            btf_id: 1,
            bytes_xlated: 2,
            jited: true,
            bytes_jited: 3,
            bytes_memlock: 4,
            verified_insns: 5,
        },
    }
}

/// What an answer says of a program can be sent back to load the same once more.
#[test]
fn answers_make_requests() {
    let image = Source::Image {
        url: "quay.io/a/b:c".parse().unwrap(),
        pull_policy: PullPolicy::Never,
    };
    let file = Source::File {
        path: "/a/b.o".into(),
    };
    for (attach, source) in attachments().into_iter().zip([image, file].iter().cycle()) {
        let (info, kernel) = answer::program(view(attach.clone(), source.clone()));
        let (info, kernel) = (info.unwrap(), kernel.unwrap());
        assert_eq!(kernel.program_type, attach.kind().kernel_type().number());
        assert_eq!(kernel.tag, "00010203040506ff");
        assert_eq!(info.map_used_by, ["16", "17"]);
        let request = request::load(LoadRequest {
            bytecode: info.bytecode,
            name: info.name,
            program_type: kernel.program_type,
            attach: info.attach,
            metadata: info.metadata,
            global_data: info.global_data,
            uuid: None,
            map_owner_id: info.map_owner_id,
        });
        let request = request.unwrap();
        assert_eq!(request.attach, attach);
        assert_eq!(&request.source, source);
        assert_eq!(request.globals["verdict"], [2, 0, 0, 0xff]);
        assert_eq!(request.metadata["owner"], "acme");
        assert_eq!(request.map_owner_id, Some(ProgramId(16)));
        assert_eq!(request.name.as_deref(), Some("pass"));
    }
}

#[test]
fn numbers_of_types_and_values_are_the_kernels() {
    let mut found = BTreeMap::new();
    for attach in attachments() {
        let kind = attach.kind();
        let source = Source::File { path: "/a".into() };
        let (info, kernel) = answer::program(view(attach, source));
        found.insert(kind.to_string(), kernel.unwrap().program_type);
        match info.unwrap().attach.unwrap().info.unwrap() {
            Info::XdpAttachInfo(at) => {
                assert_eq!(at.proceed_on, [0, 1, 2, 3, 4, 31]);
                assert_eq!((at.priority, at.position), (0, 3));
            }
            Info::TcAttachInfo(at) => {
                assert_eq!(at.proceed_on, [-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 30]);
                assert_eq!(at.direction, "egress");
            }
            _ => {}
        }
    }
    let wanted = [
        ("fentry", 26),
        ("fexit", 26),
        ("kprobe", 2),
        ("tc", 3),
        ("tcx", 3),
        ("tracepoint", 5),
        ("uprobe", 2),
        ("xdp", 6),
    ];
    assert_eq!(found, wanted.map(|(kind, n)| (kind.to_owned(), n)).into());
}

fn load(info: Info, program_type: u32) -> LoadRequest {
    LoadRequest {
        bytecode: Some(BytecodeLocation {
            location: Some(Location::File("/a.o".into())),
        }),
        program_type,
        attach: Some(AttachInfo { info: Some(info) }),
        ..LoadRequest::default()
    }
}

fn xdp() -> LoadRequest {
    let iface = "eth0".to_owned();
    let info = XdpAttachInfo {
        iface,
        ..XdpAttachInfo::default()
    };
    load(Info::XdpAttachInfo(info), 6)
}

#[test]
fn what_is_left_out_has_its_default() {
    let request = request::load(LoadRequest {
        uuid: Some(String::new()),
        ..xdp()
    });
    let request = request.unwrap();
    assert_eq!(request.name, None);
    assert_eq!(request.metadata, BTreeMap::new());
    assert_eq!(request.attach.proceed_on(), Some(ProceedOn::XDP_DEFAULT));
    assert_eq!(request.attach.net(), Some(&net("eth0", None, 0)));
    let tc = TcAttachInfo {
        iface: "eth0".into(),
        direction: "ingress".into(),
        netns: Some(String::new()),
        ..TcAttachInfo::default()
    };
    let tc = request::load(load(Info::TcAttachInfo(tc), 3)).unwrap();
    assert_eq!(tc.attach.proceed_on(), Some(ProceedOn::TC_DEFAULT));
    assert_eq!(tc.attach.net(), Some(&net("eth0", None, 0)));

    let all = request::list(ListRequest::default());
    assert!(all.all && all.kind.is_none());
    let few = request::list(ListRequest {
        program_type: Some(6),
        bpfman_programs_only: Some(true),
        ..ListRequest::default()
    });
    assert!(!few.all);
    assert_eq!(few.kind, Some(KernelType::Xdp));
}

#[test]
fn the_uuid_becomes_metadata() {
    let with = |metadata: &[(&str, &str)]| {
        let pairs = metadata.iter();
        let pairs = pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let request = LoadRequest {
            uuid: Some("u".into()),
            metadata: pairs.collect(),
            ..xdp()
        };
        request::load(request).unwrap().metadata
    };
    assert_eq!(with(&[("a", "b")])[request::UUID], "u");
    assert_eq!(with(&[(request::UUID, "v")])[request::UUID], "v");
}

#[test]
fn what_can_never_work_is_refused() {
    let refused = |request: LoadRequest| request::load(request).unwrap_err().to_string();
    let image = |image: BytecodeImage| {
        let location = Some(Location::Image(image));
        refused(LoadRequest {
            bytecode: Some(BytecodeLocation { location }),
            ..xdp()
        })
    };
    let url = || "a/b".to_owned();
    let half = BytecodeImage {
        url: url(),
        username: Some("me".into()),
        ..BytecodeImage::default()
    };
    let policy = BytecodeImage {
        url: url(),
        image_pull_policy: 3,
        ..BytecodeImage::default()
    };
    assert!(image(half).contains("belong together"));
    assert!(image(policy).contains("image_pull_policy 3"));
    assert!(image(BytecodeImage::default()).contains("image.url"));
    let kprobe = KprobeAttachInfo {
        container_pid: Some(0),
        ..KprobeAttachInfo::default()
    };
    let kprobe = refused(load(Info::KprobeAttachInfo(kprobe), 2));
    assert!(kprobe.contains("not supported"), "{kprobe}");
    let uprobe = |target: &str, pid| {
        let at = UprobeAttachInfo {
            fn_name: Some("f".into()),
            target: target.into(),
            pid: Some(pid),
            ..UprobeAttachInfo::default()
        };
        refused(load(Info::UprobeAttachInfo(at), 2))
    };
    assert!(uprobe("./libx.so", 1).contains("target './libx.so' is relative"));
    assert!(uprobe("libc", -1).contains("pid is -1"));
    let change = |change: &dyn Fn(&mut XdpAttachInfo)| {
        let mut request = xdp();
        let info = request.attach.as_mut().and_then(|it| it.info.as_mut());
        let Some(Info::XdpAttachInfo(at)) = info else {
            panic!("not xdp");
        };
        change(at);
        refused(request)
    };
    assert!(change(&|at| at.proceed_on = vec![2, 9]).contains("unknown action 9"));
    assert!(change(&|at| at.netns = Some("a/b".into())).contains("netns 'a/b' is relative"));
    assert!(change(&|at| at.netns = Some("..".into())).contains("netns '..' is relative"));
    assert!(change(&|at| at.priority = 1001).contains("1001"));
    let relative = LoadRequest {
        bytecode: Some(BytecodeLocation {
            location: Some(Location::File("a.o".into())),
        }),
        ..xdp()
    };
    assert!(refused(relative).contains("bytecode.file 'a.o' is relative"));
    let empty_key = LoadRequest {
        metadata: [(String::new(), String::new())].into(),
        ..xdp()
    };
    assert!(refused(empty_key).contains("metadata"));
}

#[test]
fn each_kind_of_error_has_its_code() {
    let codes = [
        (ErrorKind::NotFound, Code::NotFound),
        (ErrorKind::Invalid, Code::InvalidArgument),
        (ErrorKind::Conflict, Code::FailedPrecondition),
        (ErrorKind::Unsupported, Code::Unimplemented),
        (ErrorKind::Permission, Code::PermissionDenied),
        (ErrorKind::Busy, Code::Unavailable),
        (ErrorKind::External, Code::Aborted),
        (ErrorKind::Internal, Code::Internal),
    ];
    for (kind, wanted) in codes {
        assert_eq!(code(kind), wanted);
    }
    let error = Error::File {
        doing: "write",
        path: "/run/bpfman/state.json".into(),
        source: io::Error::from(io::ErrorKind::ReadOnlyFilesystem),
    };
    let status = status("cannot unload 17", &error);
    assert_eq!(status.code(), Code::Aborted);
    assert_eq!(
        status.message(),
        "cannot unload 17: cannot write /run/bpfman/state.json\ncaused by: read-only filesystem or \
         storage medium\nhint: --runtime-dir names another runtime root"
    );
}

#[test]
fn a_message_fits_into_a_header() {
    assert_eq!(short("a b"), "a b");
    let letters = "x".repeat(10_000);
    assert_eq!(short(&letters), format!("{}…", "x".repeat(6 << 10)));
    let umlauts = short(&"ü".repeat(10_000));
    assert_eq!(umlauts.chars().count(), 1024 + 1);
}

#[test]
fn the_group_is_found_in_its_file() {
    let text = "root:x:0:\nbpfmanx:x:4:\nbpfman:x:998:alice,bob\n";
    assert_eq!(group_in(text), Some(998));
    assert_eq!(group_in("bpfman:x\nbpfman:x:12:"), Some(12));
    assert_eq!(group_in("other:x:bpfman:1\n"), None);
}
