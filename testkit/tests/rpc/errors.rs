//! Codes, and the words of the command line.

use daemon::proto::{KprobeAttachInfo, LoadRequest, XdpAttachInfo, attach_info::Info};
use testkit::{Sandbox, object, servers::Daemon};
use tonic::Code;

use crate::client::{Client, XDP, from_image, image, request, tcx, tracepoint, xdp};

/// The message of the status and stderr of the command line, which has `error: ` in front.
#[track_caller]
fn same(message: &str, stderr: &str) {
    assert_eq!(format!("error: {message}\n"), stderr);
}

#[test]
fn the_words_are_those_of_the_command_line() {
    let sandbox = Sandbox::new();
    let _daemon = Daemon::start(&sandbox);
    let client = Client::new();
    let veth = sandbox.veth();

    let error = client.unload(4_000_000).unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    same(
        error.message(),
        &sandbox.bpfman(["unload", "4000000"]).stderr,
    );
    let error = client.get(4_000_000).unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    same(error.message(), &sandbox.bpfman(["get", "4000000"]).stderr);

    // A misspelt interface has a cause and a hint.
    let misspelt = format!("{}x", veth.name);
    let error = client.load(xdp(&misspelt, 50, 2)).unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains("\nhint: did you mean"), "{error}");
    let load = object("xdp_verdict").name("xdp_verdict");
    let load = load.global("verdict", "02000000");
    same(
        error.message(),
        &sandbox
            .try_load(&load.clone().xdp(&misspelt).priority(50))
            .stderr,
    );

    // The end of the verifier's log comes with it.
    let at = XdpAttachInfo {
        priority: 1000,
        iface: veth.name.clone(),
        ..XdpAttachInfo::default()
    };
    let wrong = request(&object("out_of_bounds"), "", XDP, Info::XdpAttachInfo(at));
    let error = client.load(wrong).unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    assert!(error.message().contains("verifier log"), "{error}");
    same(
        error.message(),
        &sandbox
            .try_load(&object("out_of_bounds").xdp(&veth.name))
            .stderr,
    );

    // A configuration that cannot be read stands in the way of loads, and of nothing else.
    sandbox.config("[interfaces\n");
    let error = client.load(xdp(&veth.name, 50, 2)).unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    same(
        error.message(),
        &sandbox.try_load(&load.xdp(&veth.name)).stderr,
    );
    assert_eq!(client.ids(), [0; 0]);
}

#[test]
fn wrong_messages_change_nothing() {
    let sandbox = Sandbox::new();
    let _daemon = Daemon::start(&sandbox);
    let client = Client::new();
    let kprobe = KprobeAttachInfo {
        fn_name: "do_unlinkat".into(),
        container_pid: Some(1),
        ..KprobeAttachInfo::default()
    };
    let kprobe = request(&object("probes"), "", 2, Info::KprobeAttachInfo(kprobe));
    let with = |change: &dyn Fn(&mut LoadRequest)| {
        let mut request = xdp("lo", 50, 2);
        change(&mut request);
        request
    };
    let cases = [
        (LoadRequest::default(), "nothing to attach to"),
        (with(&|r| r.attach = None), "nothing to attach to"),
        (with(&|r| r.bytecode = None), "no bytecode"),
        (with(&|r| r.program_type = 5), "set 6"),
        (with(&|r| r.program_type = 0), "set 6"),
        (xdp("lo", -1, 2), "priority"),
        (xdp("lo", 1001, 2), "priority 1001"),
        (xdp("no/name", 50, 2), "no/name"),
        (tcx("sideways", "lo", 50), "sideways"),
        (tracepoint("nonsense"), "CATEGORY/NAME"),
        (kprobe, "container_pid"),
        (
            from_image(xdp("lo", 50, 2), image("UPPER case")),
            "UPPER case",
        ),
    ];
    sandbox.unchanged(|| {
        for (request, word) in cases {
            let error = client.load(request).unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(error.message().contains(word), "{error}");
            assert!(error.message().starts_with("cannot load: "), "{error}");
        }
    });
}
