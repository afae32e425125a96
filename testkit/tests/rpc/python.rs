//! A client that shares no code with the daemon: Python's grpcio, generated from our .proto.

use std::{env, path::Path, process::Command};

use testkit::{Output, Sandbox, object, servers::Daemon};

#[test]
fn grpcio_speaks_with_it() {
    let sandbox = Sandbox::new();
    let _daemon = Daemon::start(&sandbox);
    let veth = sandbox.veth();
    let python = env::var("BPFMAN_PYTHON").unwrap_or_else(|_| {
        "/var/cache/bpfman/python/bin/python3".into() // where `cargo xtask setup` puts it
    });
    assert!(
        Path::new(&python).exists(),
        "no {python}: run cargo xtask setup"
    );
    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let generated = sandbox.tmp().join("generated");
    std::fs::create_dir(&generated).unwrap();
    let out = generated.display();
    let proto = repo.join("daemon/proto");
    Output::of(Command::new(&python).args([
        "-m",
        "grpc_tools.protoc",
        &format!("--proto_path={}", proto.display()),
        &format!("--python_out={out}"),
        &format!("--grpc_python_out={out}"),
        "bpfman.proto",
    ]))
    .ok();
    let mut client = Command::new(&python);
    client
        .arg(repo.join("testkit/tests/rpc/client.py"))
        .arg(Daemon::SOCKET)
        .arg(object("xdp_verdict").path)
        .arg(&veth.name)
        .env("PYTHONPATH", &generated)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    assert_eq!(Output::of(&mut client).ok().trim(), "all is well");
    assert_eq!(sandbox.ids(), [0; 0]);
}
