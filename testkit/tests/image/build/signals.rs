//! Builds that somebody interrupts.

use std::{
    io::{ErrorKind, Read as _},
    net::{TcpListener, TcpStream},
    process::{Child, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::{servers::Options, wait_until};

use super::{PROJECT, Workshop};

/// A registry that takes calls and never answers.
struct Silence {
    listener: TcpListener,
}

impl Silence {
    fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        Self { listener }
    }

    fn image(&self) -> String {
        format!(
            "127.0.0.1:{}/a:b",
            self.listener.local_addr().unwrap().port()
        )
    }

    /// The call of whoever pushes.
    fn call(&self, child: &mut Child) -> TcpStream {
        self.listener.set_nonblocking(true).unwrap();
        let mut call = None;
        let called = wait_until(|| {
            call = self.listener.accept().ok();
            call.is_some() || child.try_wait().unwrap().is_some()
        });
        assert!(called && call.is_some(), "nobody pushed");
        call.unwrap().0
    }
}

/// The other side has gone.
fn ended(mut call: TcpStream) -> bool {
    call.set_nonblocking(false).unwrap();
    call.set_read_timeout(Some(Duration::from_mins(5))).unwrap();
    match call.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn start(shop: &Workshop, args: &[&str]) -> Child {
    let mut command = shop.command(args);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, signal).unwrap();
}

#[test]
fn podman_in_the_middle_of_a_push() {
    let shop = Workshop::new();
    let silence = Silence::new();
    let (file, image) = ("Containerfile.bytecode.multi.arch", silence.image());
    let args = [
        "image", "build", "-r", "podman", "-f", file, "-t", &image, "-c", PROJECT,
    ];
    for (signal, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut child = start(&shop, &args);
        let call = silence.call(&mut child);
        let list = format!("localhost/bpfman-build:{}", child.id());
        let exists = || shop.podman.podman(&["manifest", "exists", &list]).status == 0;
        assert!(exists(), "what is to be taken back is there");
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{said}");
        let why = format!("error: cannot build {image}: interrupted by {signal}\n");
        assert!(said.ends_with(&why), "{said}");
        assert!(output.stdout.is_empty());
        assert!(ended(call), "podman has ended");
        assert!(!exists(), "the list is gone");
        shop.tidy();
    }
}

#[test]
fn docker_in_the_middle_of_a_push() {
    let shop = Workshop::with_docker(&Options::default());
    let silence = Silence::new();
    let (image, object) = (silence.image(), format!("{PROJECT}bpf_x86_bpfel.o"));
    let args = [
        "-q",
        "image",
        "build",
        "-f",
        "Containerfile.bytecode",
        "-t",
        &image,
    ];
    let args: Vec<&str> = args.into_iter().chain(["-b", &object]).collect();
    let mut child = start(&shop, &args);
    let _call = silence.call(&mut child);
    send(&child, Signal::SIGINT);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert_eq!(
        said,
        format!("error: cannot build {image}: interrupted by SIGINT\n")
    );
    shop.tidy();
}

#[test]
fn our_own_push() {
    let shop = Workshop::new();
    let silence = Silence::new();
    let (image, object) = (silence.image(), format!("{PROJECT}bpf_x86_bpfel.o"));
    let mut child = start(
        &shop,
        &["image", "build", "-r", "none", "-t", &image, "-b", &object],
    );
    let call = silence.call(&mut child);
    send(&child, Signal::SIGINT);
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert!(ended(call));
    assert_eq!(crate::support::stored(&shop.sandbox), [""; 0]);
    shop.tidy();
}
