//! `bpfman image build` with real runtimes, and what comes of it.

mod args;
mod failures;
mod layout;
mod platforms;
mod same;
mod signals;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use testkit::{
    Load, Output, Sandbox, example, object, oci,
    servers::{Dockerd, Options, Podman, Registry},
    tool,
};

/// The objects of the guide's examples.
const PROJECT: &str = "./examples/go-xdp-counter/";

/// A directory such as the one that the guide builds in, with a registry to push to.
struct Workshop {
    sandbox: Sandbox,
    registry: Registry,
    podman: Podman,
    docker: Option<Dockerd>,
    dir: PathBuf,
}

impl Workshop {
    /// With Podman, and no daemon of Docker.
    fn new() -> Self {
        Self::with(&Options::default())
    }

    fn with(options: &Options) -> Self {
        let sandbox = Sandbox::new();
        let dir = sandbox.tmp().join("workshop");
        let project = dir.join(PROJECT);
        fs::create_dir_all(&project).unwrap();
        for name in [
            "Containerfile.bytecode",
            "Containerfile.bytecode.multi.arch",
        ] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
            fs::copy(from, dir.join(name)).unwrap();
        }
        let (little, big) = (example("xdp_counter"), object("xdp_counter_bpfeb"));
        for (name, from) in [("x86_bpfel", &little), ("s390_bpfeb", &big)] {
            fs::copy(&from.path, project.join(format!("bpf_{name}.o"))).unwrap();
        }
        // For other machines it is another object: bytes behind its end mean nothing.
        for machine in ["arm64", "powerpc"] {
            let mut bytes = fs::read(&little.path).unwrap();
            bytes.extend(machine.bytes());
            fs::write(project.join(format!("bpf_{machine}_bpfel.o")), bytes).unwrap();
        }
        Self {
            registry: Registry::start(&sandbox, options),
            podman: Podman::new(&sandbox),
            docker: None,
            sandbox,
            dir,
        }
    }

    /// With Docker as well.
    fn with_docker(options: &Options) -> Self {
        let mut this = Self::with(options);
        this.docker = Some(Dockerd::start(&this.sandbox));
        this
    }

    /// Where no daemon of Docker listens unless there is one.
    fn socket(&self) -> PathBuf {
        let none = || self.sandbox.tmp().join("no-docker.sock");
        self.docker.as_ref().map_or_else(none, Dockerd::socket)
    }

    /// bpfman in the workshop, not started yet.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.command(args);
        Dockerd::aim_at(&self.socket(), &mut command);
        self.podman.aim(&mut command).current_dir(&self.dir);
        command
    }

    fn bpfman(&self, args: &[&str]) -> Output {
        Output::of(&mut self.command(args))
    }

    /// `image build` with a Containerfile, which `none` does not need.
    fn build(&self, runtime: &str, file: &str, image: &str, words: &[&str]) -> Output {
        let mut args = vec!["image", "build", "--runtime", runtime, "--tag", image];
        if runtime != "none" {
            args.extend(["--container-file", file]);
        }
        args.extend(words);
        self.bpfman(&args)
    }

    /// A copy of an object, as a file of the workshop.
    fn put(&self, load: &Load, name: &str) {
        fs::copy(&load.path, self.dir.join(name)).unwrap();
    }

    /// What skopeo sees: machine, labels, and the one file of the one layer.
    fn facts(&self, image: &str) -> Value {
        let from = format!("docker://{image}");
        self.facts_of(&["--src-tls-verify=false"], &from)
    }

    fn facts_of(&self, words: &[&str], from: &str) -> Value {
        let dir = self.sandbox.tmp().join("skopeo");
        let to = format!("dir:{}", dir.display());
        let _ = fs::remove_dir_all(&dir);
        let mut args = vec!["--insecure-policy", "copy", "--quiet"];
        args.extend(words);
        args.extend([from, &to]);
        let mut command = Command::new("skopeo");
        Output::of(self.podman.aim(command.args(args))).ok();
        let read = |name: &str| -> Value {
            serde_json::from_slice(&fs::read(dir.join(name)).unwrap()).unwrap()
        };
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            digest.trim_start_matches("sha256:").to_owned()
        };
        let manifest = read("manifest.json");
        let config = read(&blob(&manifest["config"]));
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 1, "{manifest}");
        let layer = dir.join(blob(&layers[0])).display().to_string();
        let files = tool("tar", &["-tzf", &layer]).ok();
        let file = files.trim_end();
        let out = self.sandbox.tmp().join("unpacked");
        fs::create_dir_all(&out).unwrap();
        tool(
            "tar",
            &["-xzf", &layer, "-C", &out.display().to_string(), file],
        )
        .ok();
        json!({
            "machine": config["architecture"],
            "system": config["os"],
            "labels": config["config"]["Labels"],
            "file": file,
            "object": oci::digest(&fs::read(out.join(file)).unwrap()),
        })
    }

    /// What bpfman pulls of an image, asking the registry.
    fn pulled(&self, image: &str) -> Value {
        let args = [
            "image",
            "pull",
            "--image-url",
            image,
            "-p",
            "Always",
            "-o",
            "json",
        ];
        let answer: Value = serde_json::from_str(&self.bpfman(&args).ok()).unwrap();
        answer["image"].clone()
    }

    /// A manifest or an index as the registry has it.
    fn raw(&self, image: &str) -> Value {
        let from = format!("docker://{image}");
        let args = ["inspect", "--raw", "--tls-verify=false", &from];
        serde_json::from_str(&tool("skopeo", &args).ok()).unwrap()
    }

    /// Nothing of a build is left outside of the stores of the runtimes.
    #[track_caller]
    fn tidy(&self) {
        let names = |dir: PathBuf| -> Vec<_> {
            let entries = fs::read_dir(dir).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name()).collect()
        };
        assert_eq!(names(self.podman.tmp()), Vec::<std::ffi::OsString>::new());
        let lists = self
            .podman
            .podman(&["images", "--format", "{{.Repository}}"])
            .ok();
        assert!(!lists.contains("bpfman-build"), "{lists}");
        let mut here = names(self.dir.clone());
        here.retain(|name| !name.to_string_lossy().ends_with(".o"));
        here.sort_unstable();
        assert_eq!(
            here,
            [
                "Containerfile.bytecode",
                "Containerfile.bytecode.multi.arch",
                "examples"
            ]
        );
    }
}

/// The hash of a file, as images name their objects.
fn digest(path: impl AsRef<Path>) -> String {
    oci::digest(&fs::read(path).unwrap())
}

/// What the labels say of the tracepoint example.
fn tracepoint_labels() -> Value {
    json!({
        "io.ebpf.programs": r#"{"enter_openat":"tracepoint","sched_switch":"tracepoint"}"#,
        "io.ebpf.maps": r#"{"openat_count":"array","switch_count":"array"}"#,
    })
}

/// What the labels say of the guide's example.
fn counter_labels() -> Value {
    json!({
        "io.ebpf.programs": r#"{"xdp_stats":"xdp"}"#,
        "io.ebpf.maps": r#"{"xdp_stats_map":"per_cpu_array"}"#,
    })
}
