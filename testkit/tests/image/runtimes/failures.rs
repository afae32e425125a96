//! Runtimes that do not answer, and images that mean ill.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use testkit::{
    Output, Sandbox, example,
    oci::{self, Image, write_layout},
    servers::{Containerd, Dockerd, Options, Podman, Registry},
};

use super::{Runtime, command, pull, pulled};
use crate::support::{layout, stored, under};

/// A configuration that names these sockets.
fn sockets(sandbox: &Sandbox, path: &Path, preferred: &str) {
    let path = path.display();
    sandbox.config(&format!(
        "[container_runtime]\ndocker_socket = \"{path}\"\npodman_socket = \"{path}\"\n\
         containerd_socket = \"{path}\"\n{preferred}"
    ));
}

/// A pull that must end by itself.
fn ends(sandbox: &Sandbox, image: &str, words: &[&str]) -> Output {
    let args = ["image", "pull", "-i", image];
    let args: Vec<&str> = args.iter().chain(words).copied().collect();
    let output = Output::of(&mut under(&["timeout", "600"], &sandbox.command(args)));
    assert_ne!(output.status, 124, "it hangs: {output}");
    output
}

/// Each is skipped with a note, and the registry is asked.
fn all_are_skipped(sandbox: &Sandbox, path: &Path, why: &str) {
    let registry = Registry::start(sandbox, &Options::default());
    registry.push(&layout(sandbox, &example("xdp_pass")), "a:tag", &[]);
    sockets(sandbox, path, "");
    let output = ends(sandbox, &registry.image("a:tag"), &["-o", "json"]);
    for runtime in ["docker", "podman", "containerd"] {
        // containerd's namespace is named as well where it had come to ask for it.
        let note = format!("warning: {runtime} ({}", path.display());
        let mut lines = output.stderr.lines();
        let noted = lines.any(|line| line.starts_with(&note) && line.contains(") was not asked: "));
        assert!(noted, "{output}");
    }
    assert!(output.stderr.contains(why), "{output}");
    assert!(output.ok().contains("\"from\": \"registry\""));

    // The one that is preferred is named where nobody else has the image.
    for runtime in ["docker", "podman", "containerd"] {
        let preferred = format!("preferred_runtime = \"{runtime}\"\n");
        sockets(sandbox, path, &preferred);
        let named = format!("{runtime} ({}", path.display());
        for policy in ["Never", "IfNotPresent"] {
            let absent = registry.image("a:none");
            let output = ends(sandbox, &absent, &["-p", policy, "-q"]);
            output.fails(1, &[&named, ") was not asked: ", why, "nobody else has it"]);
        }
    }
}

#[test]
fn a_socket_behind_which_nobody_answers() {
    let sandbox = Sandbox::new();
    let path = sandbox.tmp().join("silent.sock");
    // The kernel takes the connection, and nobody ever reads from it.
    let _listener = UnixListener::bind(&path).unwrap();
    sockets(&sandbox, &path, "preferred_runtime = \"docker\"\n");
    let said = ends(&sandbox, "x:dev", &["-p", "Never"]).stderr;
    for runtime in ["docker", "podman", "containerd"] {
        assert!(said.contains(&format!("warning: {runtime} (")), "{said}");
    }
    assert!(said.contains("took longer than"), "{said}");
    assert!(
        said.contains("error: cannot pull x:dev: docker ("),
        "{said}"
    );
}

#[test]
fn a_socket_whose_queue_is_full() {
    let sandbox = Sandbox::new();
    let path = sandbox.tmp().join("full.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    // std asks for a queue of 128 or more: as many wait here, and the next one is kept waiting.
    let mut waiting = Vec::new();
    loop {
        let socket = connect_at_once(&path);
        match socket {
            Some(socket) => waiting.push(socket),
            None => break,
        }
        assert!(waiting.len() < 100_000, "the queue has no end");
    }
    sockets(&sandbox, &path, "");
    let said = ends(&sandbox, "x:dev", &["-p", "Never"]).stderr;
    assert!(said.contains("took longer than 2 s to connect"), "{said}");
}

/// A connection that is there at once, or none.
fn connect_at_once(path: &Path) -> Option<std::os::fd::OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    use std::os::fd::AsRawFd as _;
    let socket = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_NONBLOCK,
        None,
    )
    .unwrap();
    let address = UnixAddr::new(path).unwrap();
    connect(socket.as_raw_fd(), &address).ok().map(|()| socket)
}

#[test]
fn a_daemon_that_has_stopped() {
    let sandbox = Sandbox::new();
    let path = sandbox.tmp().join("stopped.sock");
    drop(UnixListener::bind(&path).unwrap());
    all_are_skipped(&sandbox, &path, "refused");
}

#[test]
fn a_socket_that_is_not_there() {
    let sandbox = Sandbox::new();
    let path = sandbox.tmp().join("absent.sock");
    all_are_skipped(&sandbox, &path, "No such file");
}

#[test]
fn what_answers_is_no_runtime() {
    let sandbox = Sandbox::new();
    let path = sandbox.tmp().join("strange.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::Write as _;
            let _ = stream.unwrap().write_all(b"* BYE go away\r\n\r\n");
        }
    });
    all_are_skipped(&sandbox, &path, "was not asked");
}

/// Who may not speak with a daemon is told so, and is not kept from the rest.
#[test]
fn a_daemon_that_denies_access() {
    let sandbox = Sandbox::new();
    let path = sandbox.tmp().join("denied.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    sockets(&sandbox, &path, "preferred_runtime = \"docker\"\n");
    let store = sandbox.tmp().join("store").display().to_string();
    let args = [
        "--image-dir",
        &store,
        "image",
        "pull",
        "-i",
        "x",
        "-p",
        "Never",
    ];
    let outer = ["setpriv", "--reuid", "4321", "--clear-groups"];
    let output = Output::of(&mut under(&outer, &sandbox.command(args)));
    output.fails(1, &["docker (", "it denies access: Permission denied"]);
}

#[test]
fn addresses_that_are_no_sockets() {
    let sandbox = Sandbox::new();
    for (name, runtime) in [
        ("DOCKER_HOST", "docker"),
        ("CONTAINER_HOST", "podman"),
        ("CONTAINERD_ADDRESS", "containerd"),
    ] {
        let mut command = sandbox.command(["image", "pull", "-i", "x", "-p", "Never"]);
        let output = Output::of(command.env(name, "tcp://10.0.0.1:2375"));
        let note = "'tcp://10.0.0.1:2375' is no unix socket";
        output.fails(1, &[runtime, note, "neither the image store"]);
    }
}

/// Whatever an image holds, it is refused, and nothing of it stays.
#[track_caller]
fn refused(sandbox: &Sandbox, runtime: &Runtime, image: &str, fragments: &[&str]) {
    let held = format!("{} (", runtime.name());
    let args = ["image", "pull", "-i", image, "-p", "Never"];
    // Far less memory than the image has.
    let inner = command(sandbox, &[runtime], &args);
    let output = Output::of(&mut under(&["prlimit", "--data=50000000"], &inner));
    let said = output.fails(1, fragments);
    assert!(
        said.contains(&held) && said.contains("has it, but"),
        "{said}"
    );
    assert_eq!(stored(sandbox), [""; 0]);
}

fn hostile_images(sandbox: &Sandbox, runtime: &Runtime, build: impl Fn(&str, &Path)) {
    let dir = sandbox.tmp().join("hostile");
    let fresh = || {
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir.join("x.o")
    };
    // 60 MB that do not get smaller, and are no object.
    let mut noise = vec![0; 60_000_000];
    let mut state = 1_u32;
    for byte in &mut noise {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = state.to_be_bytes()[0];
    }
    fs::write(fresh(), &noise).unwrap();
    build("hostile:noise", &dir);
    refused(sandbox, runtime, "hostile:noise", &["not an ELF file"]);
    sandbox.config("[registry]\nmax_layer_size = 1000000\nmax_object_size = 1000000\n");
    refused(
        sandbox,
        runtime,
        "hostile:noise",
        &["bpfman.toml sets the limit"],
    );
    sandbox.config("");
    fs::write(fresh(), "x").unwrap();
    fs::write(dir.join("y.o"), "y").unwrap();
    build("hostile:two", &dir);
    refused(sandbox, runtime, "hostile:two", &["several files"]);
    fresh();
    std::os::unix::fs::symlink("/etc/shadow", dir.join("x.o")).unwrap();
    build("hostile:link", &dir);
    refused(sandbox, runtime, "hostile:link", &["a symbolic link"]);
    // What is in the way of others is no more in the way than that.
    runtime.build(sandbox, &example("xdp_pass"), "good:1");
    pulled(sandbox, &[runtime], "good:1");
}

/// A Containerfile that copies a folder.
fn containerfile(dir: &Path) -> PathBuf {
    let file = dir.with_extension("Dockerfile");
    fs::write(&file, "FROM scratch\nCOPY . /\n").unwrap();
    file
}

#[test]
fn hostile_images_of_docker() {
    let sandbox = Sandbox::new();
    let runtime = Runtime::Docker(Dockerd::start(&sandbox));
    hostile_images(&sandbox, &runtime, |tag, dir| {
        let Runtime::Docker(dockerd) = &runtime else {
            unreachable!()
        };
        let (file, dir) = (containerfile(dir), dir.display().to_string());
        let file = file.display().to_string();
        dockerd
            .docker(&["build", "-f", &file, "-t", tag, &dir])
            .ok();
    });
}

fn with_podman(runtime: &Runtime, tag: &str, dir: &Path) {
    let (Runtime::Storage(podman) | Runtime::Service(podman, _)) = runtime else {
        unreachable!()
    };
    let (file, dir) = (containerfile(dir), dir.display().to_string());
    let file = file.display().to_string();
    podman.podman(&["build", "-f", &file, "-t", tag, &dir]).ok();
}

#[test]
fn hostile_images_of_podmans_storage() {
    let sandbox = Sandbox::new();
    let runtime = Runtime::Storage(Podman::new(&sandbox));
    hostile_images(&sandbox, &runtime, |tag, dir| {
        with_podman(&runtime, tag, dir);
    });
}

#[test]
fn hostile_images_of_podmans_service() {
    let sandbox = Sandbox::new();
    let runtime = Runtime::service(&sandbox);
    hostile_images(&sandbox, &runtime, |tag, dir| {
        with_podman(&runtime, tag, dir);
    });
}

#[test]
fn hostile_images_of_containerd() {
    let sandbox = Sandbox::new();
    let runtime = Runtime::Containerd(Containerd::start(&sandbox));
    hostile_images(&sandbox, &runtime, |tag, dir| {
        let Runtime::Containerd(containerd) = &runtime else {
            unreachable!()
        };
        let file = sandbox.tmp().join("layer.tar");
        let (path, folder) = (file.display().to_string(), dir.display().to_string());
        let line = format!("cd {folder} && tar -cf {path} --owner=0 --group=0 *");
        Output::of(Command::new("sh").args(["-c", &line])).ok();
        let image = Image {
            layer: fs::read(&file).unwrap(),
            layer_type: oci::TAR.to_owned(),
            labels: json!(null),
            architecture: "amd64".to_owned(),
        };
        let layout = write_layout(&sandbox.tmp().join(tag.replace(':', "-")), &[image]);
        containerd.import("k8s.io", &layout, &format!("docker.io/library/{tag}"));
    });
}

/// Files of Podman's that somebody has changed do not pass for what they were.
#[test]
fn storage_that_has_been_tampered_with() {
    let sandbox = Sandbox::new();
    let podman = Podman::new(&sandbox);
    let runtime = Runtime::Storage(podman);
    runtime.build(&sandbox, &example("xdp_pass"), "x:dev");
    let graph = sandbox.tmp().join("podman/graph/overlay");
    let find = Output::of(
        Command::new("find")
            .arg(&graph)
            .args(["-name", "xdp_pass.bpf.o"]),
    );
    let found = find.ok();
    let path = Path::new(found.trim());
    let good = fs::read(path).unwrap();
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(path, &changed).unwrap();
    refused(&sandbox, &runtime, "x:dev", &["the digest of its layer is"]);
    // Podman itself says no more of it than that it will not hand it over.
    fs::write(path, "short").unwrap();
    let output = pull(&sandbox, &[&runtime], "x:dev", &["-p", "Never"]);
    output.fails(1, &["podman", "has it, but"]);
    fs::remove_file(path).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", path).unwrap();
    let output = pull(&sandbox, &[&runtime], "x:dev", &["-p", "Never"]);
    output.fails(1, &["podman", "has it, but"]);
    fs::remove_file(path).unwrap();
    fs::write(path, &good).unwrap();
    assert_eq!(pulled(&sandbox, &[&runtime], "x:dev")["from"], "podman");
}
