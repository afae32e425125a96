//! `--output DIR`: images as directories.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::Value;
use testkit::{Output, tool};

use super::{PROJECT, Workshop, counter_labels, digest};

const OBJECT: &str = "./examples/go-xdp-counter/bpf_x86_bpfel.o";

fn write(shop: &Workshop, tag: &str, input: [&str; 2], dir: &Path) -> Output {
    let dir = dir.display().to_string();
    shop.build("none", "", tag, &[input[0], input[1], "--output", &dir])
}

fn inspect(layout: &str) -> Value {
    serde_json::from_str(&tool("skopeo", &["inspect", "--config", layout]).ok()).unwrap()
}

/// All files below a directory.
fn files(dir: &Path) -> BTreeSet<String> {
    let listing = tool("find", &[&dir.display().to_string(), "-mindepth", "1"]).ok();
    listing.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn skopeo_reads_and_copies_what_was_written() {
    let shop = Workshop::new();
    let dir = shop.sandbox.tmp().join("out/deep/layout");
    let said = write(&shop, "go-xdp-counter:test", ["-b", OBJECT], &dir);
    assert_eq!(said.ok(), format!("Successfully wrote {}\n", dir.display()));
    let layout = format!("oci:{}:test", dir.display());
    let config = inspect(&layout);
    assert_eq!(config["architecture"], "amd64");
    assert_eq!(config["config"]["Labels"], counter_labels());
    let facts = shop.facts_of(&[], &layout);
    assert_eq!(facts["object"], digest(shop.dir.join(OBJECT)));

    // The same image as the one that is pushed, and fit to be pushed by others.
    let pushed = shop.registry.image("pushed:1");
    shop.build("none", "", &pushed, &["-b", OBJECT]).ok();
    let copied = shop.registry.image("copied:1");
    shop.registry.skopeo_copy(&layout, "copied:1", &[]).ok();
    assert_eq!(
        shop.pulled(&copied)["digest"],
        shop.pulled(&pushed)["digest"]
    );

    // A second image beside the first one, and another one in its place.
    write(&shop, "other:all", ["-c", PROJECT], &dir).ok();
    let all = format!("oci:{}:all", dir.display());
    for machine in ["amd64", "arm64", "ppc64le", "s390x"] {
        let args = ["--override-arch", machine, "inspect", "--config", &all];
        let config: Value = serde_json::from_str(&tool("skopeo", &args).ok()).unwrap();
        assert_eq!(config["architecture"], machine);
        assert_eq!(config["config"]["Labels"], counter_labels());
    }
    assert_eq!(inspect(&layout), config);
    write(
        &shop,
        "other:test",
        [
            "--bc-s390x-eb",
            "./examples/go-xdp-counter/bpf_s390_bpfeb.o",
        ],
        &dir,
    )
    .ok();
    assert_eq!(inspect(&layout)["architecture"], "s390x");
    let index: Value = serde_json::from_slice(&fs::read(dir.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    let names = files(&dir);
    let known = |name: &String| {
        let name = name.strip_prefix(&format!("{}/", dir.display())).unwrap();
        let blob = name.strip_prefix("blobs/sha256/");
        blob.is_some_and(|hex| hex.len() == 64)
            || ["blobs", "blobs/sha256", "index.json", "oci-layout"].contains(&name)
    };
    assert!(names.iter().all(known), "{names:?}");
    shop.tidy();
}

#[test]
fn the_same_objects_make_the_same_layout() {
    let shop = Workshop::new();
    let dirs = ["one", "two"].map(|name| shop.sandbox.tmp().join(name));
    for dir in &dirs {
        write(&shop, "a:b", ["-c", PROJECT], dir).ok();
    }
    let [one, two] = dirs.map(|dir| dir.display().to_string());
    tool("diff", &["-r", &one, &two]).ok();
}

#[test]
fn directories_that_hold_something_else_stay_as_they_are() {
    let shop = Workshop::new();
    let dir = shop.sandbox.tmp().join("mine");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("letter"), "dear").unwrap();
    write(&shop, "a:b", ["-b", OBJECT], &dir).fails(1, &["mine", "OCI image layout", "hint:"]);
    assert_eq!(files(&dir).len(), 1);
    let file = dir.join("letter");
    write(&shop, "a:b", ["-b", OBJECT], &file).fails(1, &["letter"]);
    assert_eq!(fs::read_to_string(file).unwrap(), "dear");
}

#[test]
fn a_full_disk_leaves_nothing() {
    let shop = Workshop::new();
    let disk = shop.sandbox.tmp().join("disk");
    fs::create_dir(&disk).unwrap();
    let at = disk.display().to_string();
    tool("mount", &["-t", "tmpfs", "-o", "size=16k", "tmpfs", &at]).ok();
    let dir = disk.join("a/b");
    write(&shop, "a:b", ["-c", PROJECT], &dir).fails(1, &["cannot write", "no space left"]);
    assert_eq!(files(&disk), BTreeSet::new());

    // What was there before stays, and is whole.
    tool("mount", &["-o", "remount,size=64k", &at]).ok();
    write(&shop, "a:first", ["-b", OBJECT], &dir).ok();
    let before = files(&disk);
    let fill = format!("dd if=/dev/zero of={at}/fill bs=4k; truncate -s -4k {at}/fill");
    Output::of(Command::new("sh").args(["-c", &fill])).ok();
    write(&shop, "a:second", ["-c", PROJECT], &dir).fails(1, &["no space left"]);
    fs::remove_file(disk.join("fill")).unwrap();
    assert_eq!(files(&disk), before);
    inspect(&format!("oci:{}:first", dir.display()));
}
