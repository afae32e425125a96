//! OCI image layouts that are put together by hand: what `bpfman image build` would never write.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::Output;

/// Media type of a layer that is a plain tar.
pub const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// `sha256:` and the hash of the bytes.
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One image: a layer and what describes it.
#[derive(Debug, Clone)]
pub struct Image {
    /// The layer as it is sent.
    pub layer: Vec<u8>,
    /// Its media type.
    pub layer_type: String,
    /// Labels of the configuration, in JSON; null for none.
    pub labels: Value,
    /// Architecture as Go calls it.
    pub architecture: String,
}

impl Image {
    /// Of a plain tar with this file at its root, without labels.
    pub fn of_file(path: &Path) -> Self {
        Self {
            layer: tar(path),
            layer_type: TAR.to_owned(),
            labels: Value::Null,
            architecture: "amd64".to_owned(),
        }
    }

    /// With these labels.
    #[must_use]
    pub fn labels(mut self, labels: Value) -> Self {
        self.labels = labels;
        self
    }

    /// For another machine.
    #[must_use]
    pub fn architecture(mut self, name: &str) -> Self {
        name.clone_into(&mut self.architecture);
        self
    }
}

/// A plain tar with one file at its root.
pub fn tar(path: &Path) -> Vec<u8> {
    let name = path.file_name().unwrap();
    let output = Command::new("tar")
        .args([
            "--owner=0",
            "--group=0",
            "--mtime=@0",
            "--format=ustar",
            "-c",
            "-C",
        ])
        .arg(path.parent().unwrap())
        .arg(name)
        .output()
        .unwrap();
    assert!(output.status.success(), "tar: {output:?}");
    output.stdout
}

/// Pipes bytes through a command such as `gzip -c`.
pub fn filter(bytes: &[u8], command: &str) -> Vec<u8> {
    let dir = PathBuf::from("/run/test");
    fs::create_dir_all(&dir).unwrap();
    let [from, to] = ["filter.in", "filter.out"].map(|name| dir.join(name));
    fs::write(&from, bytes).unwrap();
    let line = format!("{command} <{} >{}", from.display(), to.display());
    Output::of(Command::new("sh").args(["-c", &line])).ok();
    fs::read(&to).unwrap()
}

/// Writes a layout with one image, or with an index of several. Answers its path.
pub fn write_layout(dir: &Path, images: &[Image]) -> PathBuf {
    let layout = Layout(dir);
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let manifests: Vec<Value> = images.iter().map(|image| layout.image(image)).collect();
    let top = match manifests.as_slice() {
        [one] => one.clone(),
        many => layout.json(
            INDEX,
            &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": many}),
        ),
    };
    let index = json!({"schemaVersion": 2, "manifests": [top]});
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    dir.to_owned()
}

struct Layout<'a>(&'a Path);

impl Layout<'_> {
    fn image(&self, image: &Image) -> Value {
        let config = json!({
            "architecture": image.architecture,
            "os": "linux",
            "config": {"Labels": image.labels},
            "rootfs": {"type": "layers", "diff_ids": [digest(&image.layer)]},
        });
        let config = self.json(CONFIG, &config);
        let layer = self.blob(&image.layer_type, &image.layer);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
        });
        let mut descriptor = self.json(MANIFEST, &manifest);
        descriptor["platform"] = json!({"architecture": image.architecture, "os": "linux"});
        descriptor
    }

    fn json(&self, media_type: &str, value: &Value) -> Value {
        self.blob(media_type, value.to_string().as_bytes())
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        let (_, hex) = digest.split_once(':').unwrap();
        fs::write(self.0.join("blobs/sha256").join(hex), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }
}
