//! Who may come in, and what the daemon does with a socket that is there already.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _},
        net::UnixListener,
    },
    path::Path,
    process::Command,
};

use testkit::{
    Sandbox,
    servers::{Daemon, run_daemon},
};

use crate::client::Client;

fn socket() -> fs::Metadata {
    let it = fs::symlink_metadata(Daemon::SOCKET).unwrap();
    assert!(it.file_type().is_socket());
    it
}

#[test]
fn root_and_the_group_may_connect() {
    let sandbox = Sandbox::new();
    // A group that is surely no other one's.
    let groups = sandbox.own_etc().join("group");
    let mut text = fs::read_to_string(&groups).unwrap();
    text.retain(|c| c != '\r');
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with("bpfman:"))
        .collect();
    let others = lines.join("\n");
    fs::write(&groups, format!("{others}\nbpfman:x:54321:\n")).unwrap();
    let daemon = Daemon::start(&sandbox);
    assert_eq!(
        (socket().mode() & 0o7777, socket().gid(), socket().uid()),
        (0o660, 54321, 0)
    );
    assert_eq!(
        fs::metadata("/run/bpfman-sock").unwrap().mode() & 0o7777,
        0o755
    );
    // To connect is to write.
    let connects = |group: &str| {
        let mut writable = Command::new("setpriv");
        writable.args(["--reuid", "65534", "--regid", group, "--clear-groups"]);
        writable.args(["test", "-w", Daemon::SOCKET]);
        writable.status().unwrap().success()
    };
    assert!(connects("54321"));
    assert!(!connects("65534"));
    daemon.stop();

    // Without the group it is for root alone.
    fs::write(&groups, others).unwrap();
    let _daemon = Daemon::start(&sandbox);
    assert_eq!((socket().mode() & 0o7777, socket().gid()), (0o660, 0));
}

#[test]
fn a_live_socket_is_left_alone() {
    let sandbox = Sandbox::new();
    let daemon = Daemon::start(&sandbox);
    let before = socket().ino();
    run_daemon(&sandbox, &[]).fails(1, &["is in use", "hint"]);
    // Somebody else's, without our lock.
    let other = sandbox.tmp().join("other");
    let listener = UnixListener::bind(&other).unwrap();
    let path = other.to_str().unwrap();
    run_daemon(&sandbox, &["--socket", path]).fails(1, &[path, "is in use"]);
    drop(listener);
    assert_eq!(socket().ino(), before);
    assert_eq!(Client::new().ids(), [0; 0]);
    daemon.stop();
    assert!(!fs::exists(Daemon::SOCKET).unwrap());
}

#[test]
fn a_stale_socket_is_replaced_and_a_file_is_not() {
    let sandbox = Sandbox::new();
    fs::create_dir_all("/run/bpfman-sock").unwrap();
    drop(UnixListener::bind(Daemon::SOCKET).unwrap());
    assert!(socket().file_type().is_socket(), "left behind");
    let started = Daemon::spawn(&sandbox, &[], &[]);
    let connected =
        testkit::wait_until(|| std::os::unix::net::UnixStream::connect(Daemon::SOCKET).is_ok());
    assert!(connected, "{}", started.log());
    assert_eq!(Client::new().ids(), [0; 0]);

    let file = sandbox.tmp().join("file");
    fs::write(&file, "precious").unwrap();
    let path = file.to_str().unwrap();
    run_daemon(&sandbox, &["--socket", path]).fails(1, &[path, "no socket"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    let deep = sandbox.tmp().join("a/b/c.sock");
    let second = Daemon::spawn(&sandbox, &[], &["--socket", deep.to_str().unwrap()]);
    assert!(testkit::wait_until(|| deep.exists()), "{}", second.log());
    assert_eq!(Client::at(Path::new(&deep)).ids(), [0; 0]);
}
