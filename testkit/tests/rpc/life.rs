//! The daemon starts, ends and dies, and no program notices.

use std::{fs, process::Command};

use nix::sys::signal::Signal;
use testkit::{
    Sandbox, World, object,
    servers::{Daemon, Gate, Options, Registry},
    wait_until,
};

use crate::client::{Client, from_image, image, xdp};

#[test]
fn killing_it_changes_nothing() {
    let sandbox = Sandbox::new();
    let mut daemon = Daemon::start(&sandbox);
    let veth = sandbox.veth();
    let id = Client::new().loaded(xdp(&veth.name, 50, 1));
    let before = World::now();
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    before.assert_same("after the daemon was killed");
    assert_eq!(veth.ingress(10), 0);
    assert_eq!(sandbox.count(id, "counter"), 10);
    assert_eq!(sandbox.get(id).bpfman("Iface"), veth.name);

    // The next one replaces the socket that was left behind, and finds the program.
    let _next = Daemon::start(&sandbox);
    let client = Client::new();
    assert_eq!(client.ids(), [id]);
    client.unload(id).unwrap();
    assert_eq!(veth.ingress(10), 10);
}

/// A registry with one image, and a gate before it that holds every answer.
fn held(sandbox: &Sandbox) -> (Registry, Gate, String) {
    let registry = Registry::start(sandbox, &Options::default());
    let path = object("xdp_verdict").path.display().to_string();
    let layout = sandbox.tmp().join("layout").display().to_string();
    let words = [
        "image", "build", "-r", "none", "-t", "a:b", "-b", &path, "--output", &layout,
    ];
    sandbox.bpfman(words).ok();
    registry.push(layout.as_ref(), "a", &[]);
    let gate = Gate::new(registry.port(), 0);
    let url = format!("{}/a", gate.host());
    (registry, gate, url)
}

#[test]
fn sigterm_lets_a_load_finish() {
    let sandbox = Sandbox::new();
    let (_registry, gate, url) = held(&sandbox);
    let mut daemon = Daemon::start(&sandbox);
    let veth = sandbox.veth();
    let load = from_image(xdp(&veth.name, 50, 1), image(&url));
    let loading = std::thread::spawn(|| Client::new().load(load));
    gate.wait_held();
    daemon.signal(Signal::SIGTERM);
    let ending = || daemon.log().contains("ending: SIGTERM");
    assert!(wait_until(ending), "{}", daemon.log());
    // Who comes now is told so at once.
    let refused = || std::os::unix::net::UnixStream::connect(Daemon::SOCKET).is_err();
    assert!(wait_until(refused));
    assert!(!daemon.has_ended());
    gate.open();
    let id = loading.join().unwrap().unwrap().kernel_info.unwrap().id;
    let status = daemon.wait();
    assert!(status.success(), "{status}: {}", daemon.log());
    assert!(!fs::exists(Daemon::SOCKET).unwrap());
    assert_eq!(veth.ingress(10), 0);
    assert_eq!(sandbox.ids(), [id]);
}

/// Nobody waits for the answer any more, but what was begun is finished before the end.
#[test]
fn a_load_outlives_its_client_and_sigterm() {
    let sandbox = Sandbox::new();
    let (_registry, gate, url) = held(&sandbox);
    let mut daemon = Daemon::start(&sandbox);
    let veth = sandbox.veth();
    let client = Client::new();
    let load = from_image(xdp(&veth.name, 50, 1), image(&url));
    // It goes when its request is under way, however long that takes.
    client.wait(async {
        let (mut raw, look) = (client.raw(), std::time::Duration::from_millis(20));
        let mut answer = std::pin::pin!(raw.load(load));
        while !gate.holds() {
            let early = tokio::time::timeout(look, &mut answer).await;
            assert!(early.is_err(), "{early:?}");
        }
    });
    drop(client);
    daemon.signal(Signal::SIGTERM);
    let ending = || daemon.log().contains("ending: SIGTERM");
    assert!(wait_until(ending), "{}", daemon.log());
    gate.open();
    assert!(daemon.wait().success());
    assert_eq!(sandbox.ids().len(), 1, "{}", daemon.log());
    assert_eq!(veth.ingress(10), 0);
}

/// As systemd does it: the socket is there before the daemon, and stays when it ends.
#[test]
fn it_takes_a_socket_from_systemd_and_ends_when_idle() {
    let sandbox = Sandbox::new();
    fs::create_dir_all("/run/bpfman-sock").unwrap();
    let outer = ["systemd-socket-activate", "-l", Daemon::SOCKET];
    let mut daemon = Daemon::spawn(&sandbox, &outer, &["--idle-timeout", "5"]);
    let listens = wait_until(|| fs::exists(Daemon::SOCKET).unwrap());
    assert!(listens, "{}", daemon.log());
    let client = Client::new();
    assert_eq!(client.ids(), [0; 0]);
    // The connection stays open; only requests count.
    let status = daemon.wait();
    assert!(status.success(), "{status}: {}", daemon.log());
    assert!(daemon.log().contains("nothing was asked for 5 seconds"));
    assert!(
        daemon.log().contains("systemd handed over"),
        "{}",
        daemon.log()
    );
    assert!(fs::exists(Daemon::SOCKET).unwrap(), "it is systemd's");
}

#[test]
fn systemd_hears_of_start_and_end() {
    let sandbox = Sandbox::new();
    let at = sandbox.tmp().join("notify");
    let heard = std::os::unix::net::UnixDatagram::bind(&at).unwrap();
    let timeout = std::time::Duration::from_mins(5);
    heard.set_read_timeout(Some(timeout)).unwrap();
    let variable = format!("NOTIFY_SOCKET={}", at.display());
    let mut daemon = Daemon::spawn(&sandbox, &["env", &variable], &[]);
    let hear = || {
        let mut buffer = [0; 100];
        let read = heard.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..read]).trim().to_owned()
    };
    assert_eq!(hear(), "READY=1");
    // Whoever heard that can connect.
    assert_eq!(Client::new().ids(), [0; 0]);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(hear(), "STOPPING=1");
    assert!(daemon.wait().success());
}

#[test]
fn help_and_version() {
    let sandbox = Sandbox::new();
    let run = |word| testkit::servers::run_daemon(&sandbox, &[word]);
    assert!(run("--version").ok().starts_with("bpfman-rpc "));
    let help = run("--help").ok();
    for flag in [
        "--socket",
        "--idle-timeout",
        "--runtime-dir",
        "--config",
        "--image-dir",
    ] {
        assert!(help.contains(flag), "{help}");
    }
    let wrong = Command::new(Daemon::binary()).arg("--nonsense").output();
    assert_eq!(wrong.unwrap().status.code(), Some(2));
}
