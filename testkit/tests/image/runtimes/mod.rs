//! Images straight from Docker, Podman and containerd, with the real ones.

mod bench;
mod failures;
mod formats;
mod lookup;
mod names;
mod places;
mod rebuild;
mod users;

use std::{fs, path::PathBuf, process::Command};

use serde_json::{Value, json};
use testkit::{
    Load, Output, Sandbox, Veth,
    servers::{Containerd, Dockerd, Podman, PodmanService},
};

use crate::support::layout;

/// What makes images on this machine, and where bpfman finds them.
enum Runtime {
    Docker(Dockerd),
    /// Nothing runs.
    Storage(Podman),
    /// With its socket.
    Service(Podman, PodmanService),
    Containerd(Containerd),
}

impl Runtime {
    /// What bpfman calls it.
    fn name(&self) -> &'static str {
        match self {
            Self::Docker(_) => "docker",
            Self::Storage(_) | Self::Service(..) => "podman",
            Self::Containerd(_) => "containerd",
        }
    }

    fn service(sandbox: &Sandbox) -> Self {
        let podman = Podman::new(sandbox);
        let service = podman.serve();
        Self::Service(podman, service)
    }

    /// Tells bpfman where it is.
    fn aim(&self, command: &mut Command) {
        match self {
            Self::Docker(dockerd) => {
                let host = format!("unix://{}", dockerd.socket().display());
                command.env("DOCKER_HOST", host);
            }
            Self::Storage(podman) => {
                podman.aim(command);
            }
            Self::Service(podman, service) => {
                let host = format!("unix://{}", service.socket().display());
                podman.aim(command).env("CONTAINER_HOST", host);
            }
            Self::Containerd(containerd) => {
                containerd.aim(command);
            }
        }
    }

    /// Builds an image with one object.
    #[track_caller]
    fn build(&self, sandbox: &Sandbox, object: &Load, tag: &str) {
        let context = context(sandbox, object);
        let context = context.display().to_string();
        match self {
            Self::Docker(dockerd) => dockerd.docker(&["build", "-t", tag, &context]).ok(),
            Self::Storage(podman) | Self::Service(podman, _) => {
                podman.podman(&["build", "-t", tag, &context]).ok()
            }
            Self::Containerd(containerd) => {
                let name = format!("docker.io/library/{tag}");
                containerd.import("k8s.io", &layout(sandbox, object), &name);
                String::new()
            }
        };
    }
}

/// A folder with a Containerfile and an object, as a developer has it.
fn context(sandbox: &Sandbox, object: &Load) -> PathBuf {
    let name = object.path.file_name().unwrap().to_str().unwrap();
    let dir = sandbox.tmp().join(format!("context-{name}"));
    fs::create_dir_all(&dir).unwrap();
    fs::copy(&object.path, dir.join(name)).unwrap();
    let path = object.path.display().to_string();
    let args = ["image", "generate-build-args", "-b", &path];
    let args = sandbox.bpfman(args).ok();
    let value = |name: &str| {
        let mut lines = args.lines();
        lines
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap()
            .replace('"', "\\\"")
    };
    let file = format!(
        "FROM scratch\nCOPY {name} /\nLABEL io.ebpf.programs=\"{}\"\nLABEL io.ebpf.maps=\"{}\"\n",
        value("PROGRAMS"),
        value("MAPS")
    );
    fs::write(dir.join("Dockerfile"), file).unwrap();
    dir
}

/// A bpfman that finds the images of some runtimes.
fn command(sandbox: &Sandbox, runtimes: &[&Runtime], args: &[&str]) -> Command {
    let mut command = sandbox.command(args);
    for runtime in runtimes {
        runtime.aim(&mut command);
    }
    // Podman's own helper of the test moves it.
    command.env("HOME", sandbox.home());
    command
}

fn pull(sandbox: &Sandbox, runtimes: &[&Runtime], image: &str, words: &[&str]) -> Output {
    let args = ["image", "pull", "--image-url", image];
    let args: Vec<&str> = args.iter().chain(words).copied().collect();
    Output::of(&mut command(sandbox, runtimes, &args))
}

/// What `image pull` answers in JSON without a registry; it must succeed.
#[track_caller]
fn pulled(sandbox: &Sandbox, runtimes: &[&Runtime], image: &str) -> Value {
    let words = ["-p", "Never", "-o", "json"];
    serde_json::from_str(&pull(sandbox, runtimes, image, &words).ok()).unwrap()
}

/// Empties the store.
fn forget(sandbox: &Sandbox) {
    sandbox.bpfman(["image", "prune", "--all"]).ok();
    assert_eq!(crate::support::stored(sandbox), [""; 0]);
}

/// Loads what a name means on an interface and answers what `load` said in JSON.
#[track_caller]
fn load(sandbox: &Sandbox, runtimes: &[&Runtime], veth: &Veth, image: &str) -> Value {
    let args = ["load", "image", "-o", "json", "--image-url", image, "xdp"];
    let args: Vec<&str> = args.into_iter().chain(["--iface", &veth.name]).collect();
    let output = Output::of(&mut command(sandbox, runtimes, &args));
    serde_json::from_str(&output.ok()).unwrap()
}

/// The id in the answer of a load.
fn id(loaded: &Value) -> u32 {
    loaded["kernel"]["id"].as_u64().unwrap().try_into().unwrap()
}

/// `"runtime"` of an answer, without where it is.
fn served(answer: &Value) -> Value {
    let mut runtime = answer["runtime"].clone();
    if let Some(fields) = runtime.as_object_mut() {
        fields.remove("at");
    }
    runtime
}

/// The same as it should be.
fn by(runtime: &Runtime) -> Value {
    let namespace = match runtime {
        Runtime::Containerd(_) => Some("k8s.io"),
        _ => None,
    };
    json!({"name": runtime.name(), "user": null, "namespace": namespace})
}
