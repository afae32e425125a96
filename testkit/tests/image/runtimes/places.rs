//! Where runtimes are found without being told.

use std::{fs, os::unix::fs::symlink};

use testkit::{
    Output, Sandbox, example,
    servers::{Containerd, Dockerd, Podman},
};

use super::{Runtime, command, forget, pull, pulled};
use crate::support::layout;

/// `docker context use` decides, as for `docker` itself.
#[test]
fn the_current_docker_context() {
    let sandbox = Sandbox::new();
    let dockerd = Dockerd::start(&sandbox);
    let host = format!("host=unix://{}", dockerd.socket().display());
    let runtime = Runtime::Docker(dockerd);
    runtime.build(&sandbox, &example("xdp_pass"), "x:dev");
    let docker = |args: &[&str]| {
        let mut command = std::process::Command::new("/usr/bin/docker");
        command.args(["context"]).args(args);
        command
            .env("HOME", sandbox.home())
            .env_remove("DOCKER_HOST");
        Output::of(&mut command).ok();
    };
    docker(&["create", "mine", "--docker", &host]);
    pull(&sandbox, &[], "x:dev", &["-p", "Never"]).fails(1, &["neither the image store"]);
    docker(&["use", "mine"]);
    assert_eq!(pulled(&sandbox, &[], "x:dev")["from"], "docker");
    docker(&["create", "far", "--docker", "host=tcp://10.0.0.1:2375"]);
    docker(&["use", "far"]);
    forget(&sandbox);
    let refused = pull(&sandbox, &[], "x:dev", &["-p", "Never"]);
    refused.fails(
        1,
        &["warning: docker", "'tcp://10.0.0.1:2375' is no unix socket"],
    );
    // A variable is nearer than the file.
    let mut nearer = sandbox.command(["image", "pull", "-i", "x:dev", "-p", "Never"]);
    Output::of(nearer.env("DOCKER_CONTEXT", "mine")).ok();
    forget(&sandbox);
    let config = sandbox.home().join(".docker/config.json");
    fs::write(config, "{").unwrap();
    let refused = pull(&sandbox, &[], "x:dev", &["-p", "Never"]);
    refused.fails(1, &["docker/config.json cannot be understood"]);
}

/// Sockets at the usual places, as packages put them there.
#[test]
fn the_usual_sockets() {
    let sandbox = Sandbox::new();
    let docker = Dockerd::start(&sandbox);
    let containerd = Containerd::start(&sandbox);
    let podman = Podman::new(&sandbox);
    let service = podman.serve();
    for (socket, usual) in [
        (docker.socket(), "/run/docker.sock"),
        (service.socket().to_owned(), "/run/podman/podman.sock"),
        (containerd.socket(), "/run/containerd/containerd.sock"),
    ] {
        fs::create_dir_all(std::path::Path::new(usual).parent().unwrap()).unwrap();
        symlink(socket, usual).unwrap();
    }
    let layout = layout(&sandbox, &example("xdp_pass"));
    containerd.import("moby", &layout, "docker.io/library/of:containerd");
    let docker = Runtime::Docker(docker);
    docker.build(&sandbox, &example("xdp_pass"), "of:docker");
    let podman = Runtime::Service(podman, service);
    podman.build(&sandbox, &example("xdp_counter"), "of:podman");
    for name in ["docker", "podman", "containerd"] {
        let answer = pulled(&sandbox, &[], &format!("of:{name}"));
        assert_eq!(answer["from"], name);
    }
}

/// What only Podman can read, its command reads.
#[test]
fn podmans_command_for_storage_of_another_form() {
    let sandbox = Sandbox::new();
    let podman = Runtime::Storage(Podman::new(&sandbox));
    podman.build(&sandbox, &example("xdp_pass"), "x:dev");
    let graph = sandbox.tmp().join("podman/graph");
    fs::create_dir(graph.join("btrfs-images")).unwrap();
    let first = pulled(&sandbox, &[&podman], "x:dev");
    assert_eq!(
        (&first["from"], &first["runtime"]["at"]),
        (&"podman".into(), &"podman".into())
    );
    assert_eq!(pulled(&sandbox, &[&podman], "x:dev")["from"], "store");
    podman.build(&sandbox, &example("xdp_counter"), "x:dev");
    assert_eq!(
        pulled(&sandbox, &[&podman], "x:dev")["image"]["file"],
        "xdp_counter.bpf.o"
    );
    pull(&sandbox, &[&podman], "y:dev", &["-p", "Never"]).fails(1, &["neither the image store"]);

    // The same bytes by both ways, for what is not whole on disk either.
    fs::remove_dir(graph.join("btrfs-images")).unwrap();
    let by_storage = pulled(&sandbox, &[&podman], "x:dev");
    assert_eq!(by_storage["from"], "store");
    assert_eq!(by_storage["runtime"]["at"], graph.display().to_string());

    // Without the command there is nothing to be done.
    fs::create_dir(graph.join("btrfs-images")).unwrap();
    forget(&sandbox);
    let args = ["image", "pull", "-i", "x:dev", "-p", "Never"];
    let mut without = command(&sandbox, &[&podman], &args);
    let output = Output::of(without.env("PATH", "/nonexistent"));
    let note = "warning: podman (podman) was not asked: its storage cannot be read";
    output.fails(1, &[note, "driver 'btrfs'", "neither the image store"]);
}

/// Podman shows images of other folders as its own.
#[test]
fn additional_image_stores() {
    let sandbox = Sandbox::new();
    let podman = Podman::new(&sandbox);
    let runtime = Runtime::Storage(podman);
    runtime.build(&sandbox, &example("xdp_pass"), "x:dev");
    let graph = sandbox.tmp().join("podman/graph");
    let conf = sandbox.tmp().join("other.conf");
    let text = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"{}\"\n[storage.options]\n\
         additionalimagestores = [\"{}\"]\n",
        sandbox.tmp().join("empty").display(),
        graph.display()
    );
    fs::write(&conf, text).unwrap();
    let mut command = sandbox.command(["image", "pull", "-i", "x:dev", "-p", "Never"]);
    Output::of(command.env("CONTAINERS_STORAGE_CONF", &conf)).ok();
    forget(&sandbox);
    fs::write(&conf, "[storage").unwrap();
    let mut command = sandbox.command(["image", "pull", "-i", "x:dev", "-p", "Never"]);
    let output = Output::of(command.env("CONTAINERS_STORAGE_CONF", &conf));
    output.fails(
        1,
        &[
            "warning: podman (podman) was not asked",
            "neither the image store",
        ],
    );
}
