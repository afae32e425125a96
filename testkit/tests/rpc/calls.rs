//! The five calls do what the command line does, and tell what it tells.

use daemon::proto::{
    AttachInfo, GetResponse, ListRequest, ProgramInfo, UprobeAttachInfo, attach_info::Info,
    bytecode_location::Location,
};
use testkit::{
    Feature, Sandbox, World, object,
    servers::{Daemon, Options, Registry},
};
use tonic::Code;

use crate::client::{
    Client, TC, TRACEPOINT, XDP, from_image, image, ours, request, tcx, tracepoint, xdp,
};

fn info(answer: GetResponse) -> ProgramInfo {
    answer.info.unwrap()
}

#[track_caller]
fn attach(info: &ProgramInfo) -> Info {
    info.attach.clone().unwrap().info.unwrap()
}

#[test]
fn a_tracepoint_from_load_to_unload() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let daemon = Daemon::start(&sandbox);
    let client = Client::new();
    let before = World::now();
    let mut wanted = tracepoint("syscalls/sys_enter_getcwd");
    wanted.metadata = [("owner".to_owned(), "acme".to_owned())].into();
    wanted.uuid = Some("c0ffee".into());
    let loaded = client.load(wanted).unwrap();
    let kernel = loaded.kernel_info.unwrap();
    assert_eq!(kernel.program_type, TRACEPOINT);

    let got = client.get(kernel.id).unwrap();
    assert_eq!(got.kernel_info.as_ref(), Some(&kernel));
    assert_eq!(got.info, loaded.info);
    let info = info(got);
    assert_eq!(info.name, "tracepoint_nobtf");
    let Info::TracepointAttachInfo(at) = attach(&info) else {
        panic!("{info:?}");
    };
    assert_eq!(at.tracepoint, "syscalls/sys_enter_getcwd");
    assert_eq!(info.metadata["owner"], "acme");
    assert_eq!(info.metadata["bpfman.io/uuid"], "c0ffee");
    assert_eq!(info.map_used_by, [kernel.id.to_string()]);
    let path = object("tracepoint_nobtf").path.display().to_string();
    let location = info.bytecode.unwrap().location;
    assert_eq!(location, Some(Location::File(path)));

    // The command line sees the same, in the same words.
    let shown = sandbox.get(kernel.id);
    assert_eq!(shown.kernel("Loaded At"), kernel.loaded_at);
    assert_eq!(shown.kernel("Tag"), kernel.tag);
    assert_eq!(shown.kernel("Name"), kernel.name);
    assert_eq!(shown.bpfman("Map Pin Path"), info.map_pin_path);
    let insns = shown.kernel("Verified Instruction Count");
    assert_eq!(insns, kernel.verified_insns.to_string());

    let found = ListRequest {
        match_metadata: [("bpfman.io/uuid".to_owned(), "c0ffee".to_owned())].into(),
        ..ListRequest::default()
    };
    assert_eq!(client.list(found).unwrap().results.len(), 1);
    client.unload(kernel.id).unwrap();
    before.assert_same("after load and unload");
    let log = daemon.stop();
    let pid = std::process::id();
    let who = format!("note: pid {pid}, uid 0, gid 0: ");
    let load = format!("{who}load tracepoint_nobtf.bpf.o as tracepoint: from ");
    assert!(log.contains(&load), "{log}");
    assert!(
        log.contains(&format!("{who}unload {}: done", kernel.id)),
        "{log}"
    );
}

#[test]
fn xdp_with_globals_sees_packets() {
    let sandbox = Sandbox::new();
    let _daemon = Daemon::start(&sandbox);
    let client = Client::new();
    let veth = sandbox.veth();
    // XDP_DROP, then XDP_PASS: the bytes reach the program.
    for (verdict, arrive) in [(1, 0), (2, 10)] {
        let id = client.loaded(xdp(&veth.name, 50, verdict));
        assert_eq!(veth.ingress(10), arrive);
        assert_eq!(sandbox.count(id, "counter"), 10);
        let got = client.get(id).unwrap();
        assert_eq!(got.kernel_info.as_ref().unwrap().program_type, XDP);
        let info = info(got);
        assert_eq!(info.global_data["verdict"], u32::to_le_bytes(verdict));
        let Info::XdpAttachInfo(at) = attach(&info) else {
            panic!("{info:?}");
        };
        assert_eq!((at.priority, at.position), (50, 0));
        assert_eq!((at.iface, at.netns), (veth.name.clone(), None));
        assert_eq!(at.proceed_on, [2, 31]);
        client.unload(id).unwrap();
    }
    assert_eq!(veth.ingress(10), 10);
}

#[test]
fn tcx_keeps_its_order_on_both_sides() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let _daemon = Daemon::start(&sandbox);
    let client = Client::new();
    let veth = sandbox.veth();
    let late = client.loaded(tcx("ingress", &veth.name, 500));
    let early = client.loaded(tcx("ingress", &veth.name, 100));
    let out = client.loaded(tcx("egress", &veth.name, 100));
    assert_eq!((veth.ingress(5), veth.egress(7)), (5, 7));
    let counts = [late, early, out].map(|id| sandbox.count(id, "counter"));
    assert_eq!(counts, [5, 5, 7]);
    for (id, direction, position) in [
        (early, "ingress", 0),
        (late, "ingress", 1),
        (out, "egress", 0),
    ] {
        let got = client.get(id).unwrap();
        assert_eq!(got.kernel_info.as_ref().unwrap().program_type, TC);
        let Info::TcxAttachInfo(at) = attach(&info(got)) else {
            panic!("not tcx");
        };
        assert_eq!((at.direction.as_str(), at.position), (direction, position));
    }
}

/// Each call runs on a thread of its own: none inherits the namespace that another one went into.
#[test]
fn network_namespaces_do_not_leak_between_calls() {
    let sandbox = Sandbox::new();
    let _daemon = Daemon::start(&sandbox);
    let client = Client::new();
    sandbox.netns("blue");
    let (near, far) = (sandbox.veth(), sandbox.veth_in("blue"));
    for _ in 0..10 {
        let mut there = xdp(&far.name, 50, 2);
        let Some(Info::XdpAttachInfo(at)) = there.attach.as_mut().unwrap().info.as_mut() else {
            panic!("not xdp");
        };
        at.netns = Some("blue".into());
        let there = client.loaded(there);
        let here = client.loaded(xdp(&near.name, 50, 2));
        let error = client.load(xdp(&far.name, 50, 2)).unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
        client.unload(there).unwrap();
        client.unload(here).unwrap();
    }
}

#[test]
fn maps_are_shared() {
    let sandbox = Sandbox::new();
    let _daemon = Daemon::start(&sandbox);
    let client = Client::new();
    let (one, two) = (sandbox.veth(), sandbox.veth());
    let owner = client.loaded(xdp(&one.name, 50, 2));
    let mut sharer = xdp(&two.name, 50, 2);
    sharer.map_owner_id = Some(owner);
    let sharer = client.loaded(sharer);
    two.ingress(4);
    assert_eq!(sandbox.count(owner, "counter"), 4);
    let info = info(client.get(sharer).unwrap());
    assert_eq!(info.map_owner_id, Some(owner));
    assert_eq!(info.map_used_by, [owner.to_string(), sharer.to_string()]);
}

#[test]
fn lists_are_filtered() {
    let sandbox = Sandbox::new();
    let _daemon = Daemon::start(&sandbox);
    let client = Client::new();
    let veth = sandbox.veth();
    let pinned = testkit::object("xdp_verdict").path;
    let at = "/sys/fs/bpf/foreign";
    testkit::tool("bpftool", &["prog", "load", pinned.to_str().unwrap(), at]).ok();
    let mine = client.loaded(xdp(&veth.name, 50, 2));
    assert_eq!(client.ids(), [mine]);

    let all = client.list(ListRequest::default()).unwrap().results;
    let (ours_found, foreign): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|result| result.info.is_some());
    assert_eq!(ours_found.len(), 1);
    let name = |kernel: &Option<daemon::proto::KernelProgramInfo>| kernel.clone().unwrap().name;
    let theirs = testkit::bpftool(&["prog", "show", "pinned", at])["id"].as_u64();
    let theirs = u32::try_from(theirs.unwrap()).unwrap();
    let found = foreign
        .iter()
        .find(|result| result.kernel_info.as_ref().unwrap().id == theirs);
    assert_eq!(name(&found.unwrap().kernel_info), "xdp_verdict");

    let of = |number| {
        let mut wanted = ours();
        wanted.program_type = Some(number);
        client.list(wanted).unwrap().results.len()
    };
    assert_eq!((of(XDP), of(TC), of(77)), (1, 0, 0));
    let other = ListRequest {
        match_metadata: [("owner".to_owned(), "nobody".to_owned())].into(),
        ..ListRequest::default()
    };
    assert_eq!(client.list(other).unwrap().results, []);

    // A foreign program can be looked at, and not unloaded.
    assert_eq!(client.get(theirs).unwrap().info, None);
    let error = client.unload(theirs).unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    std::fs::remove_file(at).unwrap();
}

#[test]
fn images_are_pulled_and_loaded() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default().user("me", "secret-word"));
    let from = object("xdp_verdict");
    let path = from.path.display().to_string();
    let layout = sandbox.tmp().join("layout").display().to_string();
    let words = [
        "image", "build", "-r", "none", "-t", "a:b", "-b", &path, "--output", &layout,
    ];
    sandbox.bpfman(words).ok();
    registry.push(layout.as_ref(), "a", &[]);
    let daemon = Daemon::start(&sandbox);
    let client = Client::new();
    let veth = sandbox.veth();
    let url = registry.image("a");

    let error = client.pull(image(&url)).unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied, "{error}");
    let mut wanted = image(&url);
    wanted.username = Some("me".into());
    wanted.password = Some("secret-word".into());
    client.pull(wanted.clone()).unwrap();
    // Now it is in the store: neither the registry nor the password is needed.
    drop(registry);
    let id = client.loaded(from_image(xdp(&veth.name, 50, 2), image(&url)));
    assert_eq!(veth.ingress(3), 3);
    assert_eq!(sandbox.count(id, "counter"), 3);
    let info = info(client.get(id).unwrap());
    assert_eq!(
        info.bytecode.unwrap().location,
        Some(Location::Image(image(&url)))
    );
    assert_eq!(sandbox.get(id).bpfman("Image URL"), url);
    let log = daemon.stop();
    assert!(log.contains(&format!("pull {url}: sha256:")), "{log}");
    assert!(!log.contains("secret-word"), "{log}");
    sandbox.unload(id);
}

/// What this kernel may not be able to attach is understood all the same.
#[test]
fn a_uprobe_keeps_its_fields() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let _daemon = Daemon::start(&sandbox);
    let client = Client::new();
    let at = UprobeAttachInfo {
        fn_name: Some("malloc".into()),
        offset: 0,
        target: "libc".into(),
        retprobe: false,
        pid: Some(i32::try_from(std::process::id()).unwrap()),
        container_pid: None,
    };
    let from = testkit::example("uprobe");
    let id = client.loaded(request(&from, "", 2, Info::UprobeAttachInfo(at.clone())));
    let got = client.get(id).unwrap();
    assert_eq!(got.kernel_info.as_ref().unwrap().program_type, 2);
    let info = Some(Info::UprobeAttachInfo(at));
    assert_eq!(got.info.unwrap().attach, Some(AttachInfo { info }));
    client.unload(id).unwrap();
}
