//! Archives as Docker writes them: 20.10 (`manifest.json` and layers by image), 25 and later (an OCI
//! layout as well), 29 with containerd's store (several platforms, attestations). The newer ones are
//! put together here by their documents, because no newer Docker can be had for tests.

use std::io::Write as _;

use serde_json::{Value, json};

use super::{super::super::store::Store, *};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An archive in the making.
#[derive(Default)]
struct Making(Vec<(String, Vec<u8>)>);

impl Making {
    fn file(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.0.push((name.to_owned(), bytes.into()));
    }

    /// Adds a blob and describes it.
    fn blob(&mut self, media_type: &str, bytes: impl Into<Vec<u8>>) -> Value {
        let bytes = bytes.into();
        let (digest, size) = (digest_of(&bytes), bytes.len());
        self.file(&format!("blobs/sha256/{}", digest.hex()), bytes);
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    /// Adds an image of one layer and describes its manifest.
    fn image(&mut self, layer: &[u8], architecture: &str) -> Value {
        let config = self.blob("c", config(layer, architecture));
        let layer = self.blob("application/vnd.oci.image.layer.v1.tar", layer);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
        });
        let mut entry = self.blob(MANIFEST, manifest.to_string());
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    }

    fn tar(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in &self.0 {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, &bytes[..]).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn take(&self, id: Digest) -> Result<Vec<u8>, ImageError> {
        take(&self.tar(), Limits::default(), id)
    }
}

fn digest_of(bytes: &[u8]) -> Digest {
    Blob::new(bytes.to_vec()).digest
}

fn config(layer: &[u8], architecture: &str) -> String {
    let layers = [digest_of(layer)];
    json!({"architecture": architecture, "os": "linux", "rootfs": {"diff_ids": layers}}).to_string()
}

fn host() -> String {
    manifest::host_arch().to_string()
}

/// The bytes of the layer of an image in an archive.
fn take(archive: &[u8], limits: Limits, id: Digest) -> Result<Vec<u8>, ImageError> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("images"));
    let writer = store.writer().unwrap();
    let mut temp = writer.temp().unwrap();
    temp.file().write_all(archive).unwrap();
    let (_, mut layer) = Archive::open(temp, limits)?.take(id)?;
    let mut bytes = vec![0; usize::try_from(layer.size).unwrap()];
    let file = layer.file.file();
    file.seek(SeekFrom::Start(layer.start)).unwrap();
    file.read_exact(&mut bytes).unwrap();
    Ok(bytes)
}

/// As Docker 20.10 writes it.
fn old(layer: &[u8]) -> (Making, Digest) {
    let mut archive = Making::default();
    let config = config(layer, &host());
    let id = digest_of(config.as_bytes());
    archive.file("0123/VERSION", "1.0");
    archive.file("0123/layer.tar", layer);
    archive.file(&format!("{}.json", id.hex()), config);
    let image = json!({
        "Config": format!("{}.json", id.hex()), "RepoTags": null, "Layers": ["0123/layer.tar"],
    });
    archive.file("manifest.json", json!([image]).to_string());
    (archive, id)
}

/// As Docker 25 writes it without containerd's store: the layout has digests of its own.
fn both(layer: &[u8]) -> (Making, Digest) {
    let mut archive = Making::default();
    let entry = archive.image(layer, &host());
    let id = digest_of(config(layer, &host()).as_bytes());
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    archive.file("index.json", index.to_string());
    archive.file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    let path = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
    let image = json!({"Config": path(id), "Layers": [path(digest_of(layer))]});
    archive.file("manifest.json", json!([image]).to_string());
    (archive, id)
}

/// As Docker 29 writes it: the id is that of an index, of which this machine has one platform.
fn new(layer: &[u8]) -> (Making, Digest) {
    let mut archive = Making::default();
    let own = archive.image(layer, &host());
    let foreign = Making::default().image(b"elsewhere", "s390x");
    let statement = archive.blob("application/vnd.in-toto+json", "{}");
    let config = archive.blob("c", "{}");
    let attestation = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [statement],
    });
    let mut attestation = archive.blob(MANIFEST, attestation.to_string());
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let manifests = [attestation, foreign, own];
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    let top = archive.blob(INDEX, index.to_string());
    let id = top["digest"].as_str().unwrap().parse().unwrap();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]});
    archive.file("index.json", index.to_string());
    let image = json!({"Config": "blobs/sha256/x", "Layers": []});
    archive.file("manifest.json", json!([image]).to_string());
    (archive, id)
}

#[test]
fn archives_of_all_dockers() {
    for make in [old, both, new] {
        let (archive, id) = make(b"a layer");
        assert_eq!(archive.take(id).unwrap(), b"a layer");
        let other = archive.take(digest_of(b"another")).unwrap_err();
        assert!(matches!(other, ImageError::Archive { .. }), "{other}");
    }
}

#[test]
fn content_must_be_what_its_name_says() {
    for make in [old, both, new] {
        let (mut archive, id) = make(b"a layer");
        for (_, bytes) in &mut archive.0 {
            if bytes == b"a layer" {
                *bytes = b"a liar!".to_vec();
            }
        }
        let error = archive.take(id).unwrap_err();
        assert!(
            matches!(error, ImageError::DigestMismatch { what: "layer", .. }),
            "{error}"
        );
        let (mut archive, id) = make(b"a layer");
        archive.0.retain(|(_, bytes)| bytes != b"a layer");
        let error = archive.take(id).unwrap_err();
        assert!(matches!(error, ImageError::Archive { .. }), "{error}");
    }
}

#[test]
fn archives_that_are_none() {
    let id = digest_of(b"");
    let take = |archive: &[u8]| take(archive, Limits::default(), id);
    assert!(take(b"").is_err());
    assert!(take(&[7; 2000]).is_err());
    let (archive, id) = old(b"a layer");
    let tar = archive.tar();
    for end in (0..tar.len()).step_by(100) {
        // What is cut off after the last file that matters is not missed.
        if let Ok(layer) = super::tests::take(&tar[..end], Limits::default(), id) {
            assert_eq!(layer, b"a layer");
        }
    }
    let mut empty = Making::default();
    empty.file("manifest.json", "[]");
    assert!(matches!(empty.take(id), Err(ImageError::Archive { .. })));
    let mut wrong = Making::default();
    wrong.file("manifest.json", "{}");
    assert!(matches!(wrong.take(id), Err(ImageError::Document { .. })));
}

#[test]
fn documents_are_bounded() {
    let (archive, id) = old(b"a layer");
    let limits = Limits {
        manifest: 10,
        ..Limits::default()
    };
    let error = take(&archive.tar(), limits, id).unwrap_err();
    assert!(
        matches!(error, ImageError::DocumentTooLarge { limit: 10, .. }),
        "{error}"
    );
}
