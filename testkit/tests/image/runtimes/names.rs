//! Names as they are typed, and as each runtime completes them.

use testkit::{
    Sandbox, example,
    servers::{Containerd, Dockerd, Options, Podman, Registry},
};

use super::{Runtime, forget, pull, pulled};
use crate::support::layout;

/// All of these names mean one image, and none of those means any.
fn mean(sandbox: &Sandbox, runtime: &Runtime, digest: &str, names: &[&str], others: &[&str]) {
    for name in names {
        let answer = pulled(sandbox, &[runtime], name);
        assert_eq!(answer["digest"], digest, "{name}");
        assert_eq!(answer["image_url"], *name);
    }
    forget(sandbox);
    for name in others {
        let refused = pull(sandbox, &[runtime], name, &["-p", "Never"]);
        refused.fails(1, &[name, "neither the image store"]);
    }
}

#[test]
fn of_docker() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    registry.push(&layout(&sandbox, &example("xdp_counter")), "a/b:1", &[]);
    let dockerd = Dockerd::start(&sandbox);
    let url = registry.image("a/b:1");
    dockerd.docker(&["pull", &url]).ok();
    let of = |name: &str, field: &str| {
        let output = dockerd
            .docker(&["image", "inspect", "--format", field, name])
            .ok();
        output.trim().to_owned()
    };
    let repo_digest = of(&url, "{{index .RepoDigests 0}}");
    let second = of(&url, "{{.Id}}");
    let dockerd = Runtime::Docker(dockerd);
    dockerd.build(&sandbox, &example("xdp_pass"), "x:latest");
    let Runtime::Docker(docker) = &dockerd else {
        unreachable!()
    };
    docker.docker(&["tag", "x:latest", "me/x:dev"]).ok();
    let output = docker.docker(&["image", "inspect", "--format", "{{.Id}}", "x"]);
    let id = output.ok().trim().to_owned();
    let hex = id.strip_prefix("sha256:").unwrap();
    let names = [
        "x",
        "x:latest",
        "library/x",
        "docker.io/x",
        "docker.io/library/x:latest",
        "index.docker.io/library/x",
        "me/x:dev",
        "docker.io/me/x:dev",
        &hex[..12],
        hex,
        &id,
    ];
    mean(
        &sandbox,
        &dockerd,
        &id,
        &names,
        &["y", "x:dev", "localhost/x"],
    );
    let (name, digest) = repo_digest.split_once('@').unwrap();
    let with_tag = format!("{name}:1@{digest}");
    let absent = format!("{name}@sha256:{}", "0".repeat(64));
    mean(
        &sandbox,
        &dockerd,
        &second,
        &[&url, &repo_digest, &with_tag],
        &[&absent],
    );
}

fn of_podman(sandbox: &Sandbox, podman: &Runtime) {
    let (Runtime::Storage(command) | Runtime::Service(command, _)) = podman else {
        unreachable!()
    };
    let registry = Registry::start(sandbox, &Options::default());
    registry.push(&layout(sandbox, &example("xdp_counter")), "a/b:1", &[]);
    let url = registry.image("a/b:1");
    command.podman(&["pull", "--tls-verify=false", &url]).ok();
    podman.build(sandbox, &example("xdp_pass"), "x:latest");
    podman.build(sandbox, &example("tc_counter"), "docker.io/library/hub:1");
    let of = |name: &str, field: &str| {
        let output = command
            .podman(&["image", "inspect", "--format", field, name])
            .ok();
        output.trim().to_owned()
    };
    let hex = of("x:latest", "{{.Id}}");
    let id = format!("sha256:{hex}");
    let names = ["x", "x:latest", "localhost/x", &hex[..12], &hex, &id];
    let others = ["y", "x:dev", "quay.io/x", "docker.io/library/x", "b:1"];
    mean(sandbox, podman, &id, &names, &others);
    let hub = format!("sha256:{}", of("docker.io/library/hub:1", "{{.Id}}"));
    mean(
        sandbox,
        podman,
        &hub,
        &["hub:1", "docker.io/hub:1"],
        &["hub"],
    );
    let pulled = format!("sha256:{}", of(&url, "{{.Id}}"));
    let digest = of(&url, "{{.Digest}}");
    let plain = registry.image(&format!("a/b@{digest}"));
    let tagged = registry.image(&format!("a/b:1@{digest}"));
    let other = registry.image(&format!("a/c@{digest}"));
    mean(
        sandbox,
        podman,
        &pulled,
        &[&url, &plain, &tagged],
        &[&other],
    );
}

#[test]
fn of_podmans_storage() {
    let sandbox = Sandbox::new();
    let podman = Runtime::Storage(Podman::new(&sandbox));
    of_podman(&sandbox, &podman);
}

#[test]
fn of_podmans_service() {
    let sandbox = Sandbox::new();
    let podman = Runtime::service(&sandbox);
    of_podman(&sandbox, &podman);
}

#[test]
fn of_containerd() {
    let sandbox = Sandbox::new();
    let containerd = Containerd::start(&sandbox);
    let images = [
        ("k8s.io", "xdp_pass", "docker.io/library/x:latest"),
        ("default", "xdp_counter", "localhost/y:1"),
        ("moby", "tc_counter", "quay.io/a/b:1"),
    ];
    let layouts = images.map(|(namespace, object, name)| {
        let layout = layout(&sandbox, &example(object));
        containerd.import(namespace, &layout, name);
        let index = std::fs::read(layout.join("index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        index["manifests"][0]["digest"].as_str().unwrap().to_owned()
    });
    let containerd = Runtime::Containerd(containerd);
    let [first, second, third] = &layouts;
    let names = ["x", "docker.io/x", "index.docker.io/library/x:latest"];
    let short = &first["sha256:".len()..][..12];
    let digest = format!("x@{first}");
    let names = [names.as_slice(), &[short, first, &digest]].concat();
    mean(
        &sandbox,
        &containerd,
        first,
        &names,
        &["x:1", "localhost/x"],
    );
    mean(
        &sandbox,
        &containerd,
        second,
        &["y:1", "localhost/y:1"],
        &["y"],
    );
    let digest = format!("quay.io/a/b@{third}");
    let other = format!("quay.io/a/c@{third}");
    mean(
        &sandbox,
        &containerd,
        third,
        &["quay.io/a/b:1", &digest],
        &[&other],
    );
}
