//! Registries that mean ill. Each image here is refused, by `image pull` and by `load image`: with
//! status 1, with a reason that names the image, with little memory, and with nothing left behind.

mod access;
mod documents;
mod layers;
mod sizes;
mod wire;

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use testkit::{
    Output, Sandbox, example, oci,
    servers::{Hostile, hostile::Reply},
};

use crate::support::stored;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// What a pull may take, in KiB.
const MEMORY: u64 = 40_000;

/// An image in parts, each of which a test may spoil.
#[derive(Clone)]
struct Parts {
    config: Vec<u8>,
    layer: Vec<u8>,
    manifest: Value,
}

impl Parts {
    fn new(config: impl Into<Vec<u8>>, layer: impl Into<Vec<u8>>) -> Self {
        let (config, layer) = (config.into(), layer.into());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": [descriptor(oci::TAR, &layer)],
        });
        Self {
            config,
            layer,
            manifest,
        }
    }

    /// An image that nothing is wrong with.
    fn good() -> Self {
        Self::of_layer(oci::tar(&example("xdp_counter").path))
    }

    fn of_layer(layer: impl Into<Vec<u8>>) -> Self {
        Self::new("{}", layer)
    }

    fn of_labels(labels: &Value) -> Self {
        let config = json!({"architecture": "amd64", "config": {"Labels": labels}});
        Self::new(config.to_string(), Self::good().layer)
    }

    /// With something else at this place of the manifest.
    fn with(mut self, place: &str, value: Value) -> Self {
        *self.manifest.pointer_mut(place).unwrap() = value;
        self
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": oci::digest(bytes), "size": bytes.len()})
}

/// A sandbox with a hostile registry in it.
struct Trial {
    server: Hostile,
    sandbox: Sandbox,
    repositories: AtomicUsize,
}

impl Trial {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        Self {
            server: Hostile::start(),
            sandbox,
            repositories: AtomicUsize::new(0),
        }
    }

    /// With `[registry]` settings.
    fn with(settings: &str) -> Self {
        let this = Self::new();
        this.sandbox.config(&format!("[registry]\n{settings}\n"));
        this
    }

    /// A repository that no other image has.
    fn repository(&self) -> String {
        format!("r{}", self.repositories.fetch_add(1, Ordering::Relaxed))
    }

    /// The full name of tag `t` in a repository.
    fn image(&self, repository: &str) -> String {
        format!("{}/{repository}:t", self.server.host())
    }

    fn manifest_path(repository: &str) -> String {
        format!("/v2/{repository}/manifests/t")
    }

    /// Offers a blob, or something else under its name.
    fn blob(&self, repository: &str, digest: &str, replies: impl Into<Vec<Reply>>) {
        let path = format!("/v2/{repository}/blobs/{digest}");
        self.server.on(&path, replies);
    }

    /// Offers an image. Answers its repository.
    fn offer(&self, parts: &Parts) -> String {
        let repository = self.repository();
        let manifest = parts.manifest.to_string();
        let media_type = parts.manifest["mediaType"].as_str();
        // Some types do not fit into a header.
        let media_type = media_type.filter(|text| !text.contains(char::is_control));
        self.offer_document(
            &repository,
            media_type.unwrap_or("application/json"),
            &manifest,
        );
        for bytes in [&parts.config, &parts.layer] {
            let reply = Reply::new(200, "", bytes);
            self.blob(&repository, &oci::digest(bytes), [reply]);
        }
        repository
    }

    fn offer_document(&self, repository: &str, media_type: &str, text: impl AsRef<[u8]>) {
        let headers = format!("Content-Type: {media_type}\r\n");
        let reply = Reply::new(200, &headers, text);
        self.server.on(&Self::manifest_path(repository), [reply]);
    }

    /// The image must be refused with a reason that has these fragments.
    #[track_caller]
    fn refused(&self, parts: &Parts, fragments: &[&str]) {
        let image = self.image(&self.offer(parts));
        self.refuses(&image, &[], fragments);
    }

    /// The same for whatever is behind a name. Answers what was said, by both commands.
    #[track_caller]
    fn refuses(&self, image: &str, words: &[&str], fragments: &[&str]) -> String {
        let pull = ["image", "pull", "--image-url", image];
        let load = ["load", "image", "--image-url", image];
        let attach = ["tracepoint", "--tracepoint", "syscalls/sys_enter_kill"];
        let commands: [Vec<&str>; 2] = [
            [&pull, words].concat(),
            [&load[..], words, &attach].concat(),
        ];
        let said = commands.map(|command| {
            let fragments: Vec<&str> = fragments.iter().copied().chain([image]).collect();
            let output = self.sandbox.unchanged(|| self.measured(&command));
            let said = output.fails(1, &fragments);
            assert!(
                !said.chars().any(|c| c.is_control() && c != '\n'),
                "nothing from outside speaks to the terminal: {said:?}"
            );
            assert!(!said.contains("panicked"), "{said}");
            assert_eq!(stored(&self.sandbox), [""; 0], "nothing stays");
            said
        });
        said.concat()
    }

    /// Runs bpfman, which must not take more memory than a pull may.
    #[track_caller]
    fn measured(&self, args: &[&str]) -> Output {
        let inner = self.sandbox.command(args);
        let file = self.sandbox.tmp().join("memory");
        let mut command = Command::new("/usr/bin/time");
        command.args(["-q", "-f", "%M", "-o"]).arg(&file);
        command.arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let output = Output::of(&mut command);
        let memory: u64 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        assert!(memory < MEMORY, "{memory} KiB: {output}");
        output
    }
}

/// What the other tests here are worth: without a fault, the same image is taken.
#[test]
fn a_good_image_is_taken() {
    let trial = Trial::new();
    let image = trial.image(&trial.offer(&Parts::good()));
    trial
        .measured(&["image", "pull", "--image-url", &image])
        .ok();
    assert!(stored(&trial.sandbox).len() >= 5, "it is kept");
}
