//! What was just built runs, whichever runtime built it.

use testkit::{
    Sandbox, example,
    servers::{Containerd, Dockerd, Podman},
};

use super::{Runtime, by, command, forget, id, load, pulled, served};
use crate::support::under;

/// Build, load, build again, load again.
fn runs_what_was_just_built(sandbox: &Sandbox, runtime: &Runtime) {
    let veth = sandbox.veth();
    let [old, new] = ["xdp_pass", "xdp_counter"].map(example);
    let image = "x:dev";

    runtime.build(sandbox, &old, image);
    let first = load(sandbox, &[runtime], &veth, image);
    let source = &first["bpfman"]["source"];
    assert_eq!(first["bpfman"]["name"], "pass");
    assert_eq!(source["url"], image);
    assert_eq!(source["from"], runtime.name());
    assert_eq!(served(source), by(runtime));
    let shown = sandbox.get(id(&first));
    assert_eq!(
        shown.bpfman("Image Digest"),
        source["digest"].as_str().unwrap()
    );
    assert!(shown.bpfman("Image From").starts_with(runtime.name()));
    sandbox.unload(id(&first));

    // Nothing is new, so nothing is taken.
    let again = load(sandbox, &[runtime], &veth, image);
    assert_eq!(again["bpfman"]["source"]["from"], "store");
    assert_eq!(again["bpfman"]["source"]["digest"], source["digest"]);
    assert_eq!(served(&again["bpfman"]["source"]), by(runtime));
    sandbox.unload(id(&again));

    runtime.build(sandbox, &new, image);
    let second = load(sandbox, &[runtime], &veth, image);
    assert_eq!(second["bpfman"]["name"], "xdp_stats");
    assert_eq!(second["bpfman"]["source"]["from"], runtime.name());
    assert_ne!(second["bpfman"]["source"]["digest"], source["digest"]);
    veth.ingress(5);
    assert_eq!(sandbox.count(id(&second), "xdp_stats_map"), 5);
    sandbox.unload(id(&second));

    no_network(sandbox, runtime);
}

/// No socket of the network is opened, and there is none to be had.
fn no_network(sandbox: &Sandbox, runtime: &Runtime) {
    forget(sandbox);
    let trace = sandbox.tmp().join("sockets");
    let words = ["image", "pull", "-i", "x:dev", "-o", "json"];
    let inner = command(sandbox, &[runtime], &words);
    let file = trace.display().to_string();
    let outer = [
        "unshare",
        "--net",
        "strace",
        "-f",
        "-o",
        &file,
        "-e",
        "trace=socket,connect",
    ];
    let said = testkit::Output::of(&mut under(&outer, &inner)).ok();
    assert!(said.contains(&format!("\"from\": \"{}\"", runtime.name())));
    let calls = std::fs::read_to_string(&trace).unwrap();
    assert!(!calls.contains("AF_INET"), "{calls}");

    // Whether there is something newer is found out with one call.
    let inner = command(sandbox, &[runtime], &words);
    let outer = ["strace", "-f", "-o", &file, "-e", "trace=connect,execve"];
    testkit::Output::of(&mut under(&outer, &inner)).ok();
    let calls = std::fs::read_to_string(&trace).unwrap();
    let there = calls.lines().filter(|line| line.ends_with("= 0"));
    let connected = there.filter(|line| line.contains("connect(")).count();
    let expected = usize::from(!matches!(runtime, Runtime::Storage(_)));
    assert_eq!(connected, expected, "{calls}");
    assert_eq!(calls.matches("execve(").count(), 1, "{calls}");
}

#[test]
fn with_docker() {
    let sandbox = Sandbox::new();
    let runtime = Runtime::Docker(Dockerd::start(&sandbox));
    runs_what_was_just_built(&sandbox, &runtime);
}

#[test]
fn with_podman_and_nothing_running() {
    let sandbox = Sandbox::new();
    let runtime = Runtime::Storage(Podman::new(&sandbox));
    runs_what_was_just_built(&sandbox, &runtime);
}

#[test]
fn with_podman_on_its_socket() {
    let sandbox = Sandbox::new();
    let runtime = Runtime::service(&sandbox);
    runs_what_was_just_built(&sandbox, &runtime);
}

#[test]
fn with_containerd() {
    let sandbox = Sandbox::new();
    let runtime = Runtime::Containerd(Containerd::start(&sandbox));
    runs_what_was_just_built(&sandbox, &runtime);
}

/// The store keeps what a runtime has removed, or is not there to be asked for.
#[test]
fn without_the_runtime_the_store_has_it() {
    let sandbox = Sandbox::new();
    let dockerd = Dockerd::start(&sandbox);
    let socket = dockerd.socket();
    let runtime = Runtime::Docker(dockerd);
    runtime.build(&sandbox, &example("xdp_pass"), "x:dev");
    let digest = pulled(&sandbox, &[&runtime], "x:dev")["digest"].clone();
    let Runtime::Docker(dockerd) = &runtime else {
        unreachable!()
    };
    dockerd.docker(&["rmi", "x:dev"]).ok();
    let kept = pulled(&sandbox, &[&runtime], "x:dev");
    assert_eq!((&kept["from"], &kept["digest"]), (&"store".into(), &digest));

    drop(runtime);
    let mut stopped = sandbox.command(["image", "pull", "-i", "x:dev", "-o", "json"]);
    stopped.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    let output = testkit::Output::of(&mut stopped);
    assert!(output.stderr.contains("warning: docker"), "{output}");
    assert!(output.stderr.contains("was not asked"), "{output}");
    assert!(output.ok().contains("\"from\": \"store\""));
}
