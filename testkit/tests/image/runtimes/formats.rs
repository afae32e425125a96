//! What newer tools leave in a runtime: several platforms, and notes on how an image was built.

use std::{fs, path::Path};

use serde_json::{Value, json};
use testkit::{
    Sandbox, example, object,
    oci::{self, Image, write_layout},
    servers::{Containerd, Podman},
};

use super::{Runtime, pull, pulled};

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn write(layout: &Path, value: &Value) -> (String, usize) {
    let bytes = value.to_string();
    let digest = oci::digest(bytes.as_bytes());
    let (_, hex) = digest.split_once(':').unwrap();
    fs::write(layout.join("blobs/sha256").join(hex), &bytes).unwrap();
    (digest.clone(), bytes.len())
}

/// Adds to the index of a layout what buildx adds: a manifest that is no image.
fn attest(layout: &Path) {
    let top = read(&layout.join("index.json"));
    let digest = top["manifests"][0]["digest"].as_str().unwrap();
    let (_, hex) = digest.split_once(':').unwrap();
    let mut index = read(&layout.join("blobs/sha256").join(hex));
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let (config, size) = write(layout, &json!({"architecture": "unknown", "os": "unknown"}));
    let (statement, length) = write(layout, &json!({"predicateType": "provenance"}));
    let (attestation, whole) = write(
        layout,
        &json!({
            "schemaVersion": 2, "mediaType": manifest,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config,
                       "size": size},
            "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": statement,
                        "size": length}],
        }),
    );
    let of = index["manifests"][0]["digest"].clone();
    let notes = json!({
        "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": of,
    });
    let entry = json!({
        "mediaType": manifest, "digest": attestation, "size": whole, "annotations": notes,
        "platform": {"architecture": "unknown", "os": "unknown"},
    });
    // First, where whoever takes the first one would take it.
    index["manifests"].as_array_mut().unwrap().insert(0, entry);
    let (digest, size) = write(layout, &index);
    let entry = json!({"mediaType": index["mediaType"], "digest": digest, "size": size});
    let top = json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(layout.join("index.json"), top.to_string()).unwrap();
}

#[test]
fn an_index_with_platforms_and_attestations_in_containerd() {
    let sandbox = Sandbox::new();
    let containerd = Containerd::start(&sandbox);
    let images = [
        Image::of_file(&object("xdp_bpfeb").path).architecture("s390x"),
        Image::of_file(&example("xdp_pass").path),
    ];
    let layout = write_layout(&sandbox.tmp().join("index"), &images);
    attest(&layout);
    containerd.import("default", &layout, "docker.io/me/x:1");
    let digest = read(&layout.join("index.json"))["manifests"][0]["digest"].clone();
    let containerd = Runtime::Containerd(containerd);
    let answer = pulled(&sandbox, &[&containerd], "me/x:1");
    assert_eq!(answer["digest"], digest);
    assert_eq!(answer["image"]["file"], "xdp_pass.bpf.o");
    assert_eq!(answer["image"]["architecture"], "amd64");
    assert_ne!(answer["image"]["manifest"], digest);
}

/// A node has what it needs of an image, and not more: other platforms' content is missing.
#[test]
fn a_platform_that_is_missing() {
    let sandbox = Sandbox::new();
    let containerd = Containerd::start(&sandbox);
    let images = [
        Image::of_file(&example("xdp_pass").path),
        Image::of_file(&object("xdp_bpfeb").path).architecture("s390x"),
    ];
    for (name, missing) in [("x:own", 1), ("x:other", 0)] {
        let layout = write_layout(&sandbox.tmp().join(name.replace(':', "-")), &images);
        containerd.import("k8s.io", &layout, &format!("docker.io/library/{name}"));
        let layer = oci::digest(&images[missing].layer);
        containerd.ctr("k8s.io", &["content", "rm", &layer]).ok();
        let runtime = [("x:own", true), ("x:other", false)];
        let is_there = runtime
            .iter()
            .any(|(other, there)| *other == name && *there);
        let mut command = sandbox.command(["image", "pull", "-i", name, "-p", "Never"]);
        let output = testkit::Output::of(containerd.aim(&mut command));
        if is_there {
            output.ok();
        } else {
            output.fails(1, &["containerd (", "has it, but", "not found"]);
        }
        sandbox.bpfman(["image", "prune", "--all"]).ok();
    }
}

/// Layers that came compressed are kept unpacked, and are what they were all the same.
#[test]
fn compressed_layers_in_podmans_storage() {
    let sandbox = Sandbox::new();
    let podman = Podman::new(&sandbox);
    let layout = crate::support::layout(&sandbox, &example("xdp_counter"));
    let from = format!("oci:{}", layout.display());
    podman.podman(&["pull", &from]).ok();
    let id = podman.podman(&["images", "--quiet", "--no-trunc"]).ok();
    let id = id.trim();
    podman.podman(&["tag", id, "packed:1"]).ok();
    let podman = Runtime::Storage(podman);
    let answer = pulled(&sandbox, &[&podman], "packed:1");
    assert_eq!(answer["digest"], id);
    assert_eq!(answer["image"]["file"], "xdp_counter.bpf.o");
    pull(&sandbox, &[&podman], "unpacked:1", &["-p", "Never"]).fails(1, &["neither"]);
}
