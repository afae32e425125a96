//! The own store of images: what is in it, what goes, what happens to it.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Stdio},
};

use serde_json::{Value, json as value};
use testkit::{
    Sandbox, example,
    oci::{self, Image, write_layout},
    servers::{Gate, Options, Registry},
    wait_until, waits_for_a_lock,
};

use crate::support::{json, layout, origin, pull, pulled, stored};

/// A registry with `one:tag`, `two:tag` and `two:other`; the latter are one image.
fn registry(sandbox: &Sandbox) -> Registry {
    let registry = Registry::start(sandbox, &Options::default());
    registry.push(&layout(sandbox, &example("xdp_pass")), "one:tag", &[]);
    registry.push(&layout(sandbox, &example("xdp_counter")), "two:tag", &[]);
    registry.push(&layout(sandbox, &example("xdp_counter")), "two:other", &[]);
    registry
}

#[test]
fn what_is_there_is_listed_shown_and_removed() {
    let sandbox = Sandbox::new();
    let registry = registry(&sandbox);
    let names = ["one:tag", "two:tag", "two:other"].map(|name| registry.image(name));
    assert_eq!(json(&sandbox, &["image", "list"]), value!([]));
    assert!(!sandbox.images().exists());
    let answers = names.clone().map(|name| pulled(&sandbox, &name, &[]));
    let digests = answers.map(|answer| answer["digest"].as_str().unwrap().to_owned());
    assert_eq!(digests[1], digests[2]);

    let images = json(&sandbox, &["image", "list"]);
    assert_eq!(images.as_array().unwrap().len(), 2);
    assert_eq!(images[0]["references"], value!([names[0]]));
    assert_eq!(images[1]["references"], value!([names[2], names[1]]));
    assert_eq!(images[1]["programs"], value!({"xdp_stats": "xdp"}));
    let table = sandbox.bpfman(["image", "list"]).ok();
    assert_eq!(table.lines().count(), 4, "{table}");
    for name in &names {
        let line = table.lines().find(|line| line.contains(name)).unwrap();
        let expected = if *name == names[0] {
            (" pass ", 0)
        } else {
            (" xdp_stats ", 1)
        };
        let short = digests[expected.1].trim_start_matches("sha256:");
        assert!(
            line.contains(expected.0) && line.contains(&short[..12]),
            "{line}"
        );
    }
    let ids = sandbox.bpfman(["image", "list", "-o", "id"]).ok();
    assert_eq!(ids.lines().collect::<Vec<_>>(), [&digests[0], &digests[1]]);

    // By each name, and by the digest.
    let shown = json(&sandbox, &["image", "inspect", &names[1]]);
    assert_eq!(shown["references"], value!([names[2], names[1]]));
    for name in [&names[2], &digests[1]] {
        assert_eq!(json(&sandbox, &["image", "inspect", name]), shown);
    }
    let text = sandbox.bpfman(["image", "inspect", &names[1]]).ok();
    for part in [
        &names[1],
        &names[2],
        &digests[1],
        "xdp_stats (xdp)",
        "xdp_counter.bpf.o",
    ] {
        assert!(text.contains(part), "no {part}: {text}");
    }
    let size = shown["size_bytes"].as_u64().unwrap();
    assert!(size > shown["object_size_bytes"].as_u64().unwrap());

    // The image goes with its last name.
    sandbox.bpfman(["image", "remove", &names[1]]).ok();
    assert_eq!(
        json(&sandbox, &["image", "inspect", &digests[1]])["references"],
        value!([names[2]])
    );
    sandbox
        .bpfman(["image", "inspect", &names[1]])
        .fails(1, &["no such image"]);
    sandbox.bpfman(["image", "remove", &names[2]]).ok();
    sandbox
        .bpfman(["image", "inspect", &digests[1]])
        .fails(1, &["no such image"]);
    let gone = sandbox.bpfman(["image", "remove", &names[2], &digests[0], &names[1]]);
    gone.fails(
        1,
        &[
            &names[2],
            &names[1],
            "no such image",
            "hint: bpfman image list",
        ],
    );
    assert_eq!(stored(&sandbox), [""; 0]);
}

#[test]
fn what_nobody_needs_is_pruned() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let registry = registry(&sandbox);
    let [one, two] = ["one:tag", "two:tag"].map(|name| registry.image(name));
    let old = pulled(&sandbox, &one, &[])["digest"].clone();
    let load = example("xdp_counter").of_image(&two);
    let id = sandbox.load(&load.xdp(&veth.name));
    let prune = |words: &[&str]| {
        let words = ["image", "prune"].iter().chain(words).copied();
        json(&sandbox, &words.collect::<Vec<_>>())
    };
    assert_eq!(prune(&[]), value!({"images": [], "freed_bytes": 0}));

    // A tag that moved on leaves an image without a name.
    registry.push(&layout(&sandbox, &example("tcx_counter")), "one:tag", &[]);
    pulled(&sandbox, &one, &["-p", "Always"]);
    let images = json(&sandbox, &["image", "list"]);
    let nameless = images.as_array().unwrap().last().unwrap();
    assert_eq!(
        (&nameless["digest"], &nameless["references"]),
        (&old, &value!([]))
    );
    let size = &nameless["size_bytes"];
    assert_eq!(prune(&[]), value!({"images": [old], "freed_bytes": size}));
    assert_eq!(
        json(&sandbox, &["image", "list"]).as_array().unwrap().len(),
        2
    );

    // With --all only those stay that loaded programs came from.
    prune(&["--all"]);
    let left = json(&sandbox, &["image", "list"]);
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(left[0]["references"], value!([two]));
    sandbox.unload(id);
    let text = sandbox.bpfman(["image", "prune", "--all"]).ok();
    assert!(
        text.contains("Removed sha256:") && text.contains("Freed "),
        "{text}"
    );
    assert_eq!(stored(&sandbox), [""; 0]);
}

/// Blobs and documents of the only image.
fn files(sandbox: &Sandbox) -> Vec<PathBuf> {
    let files = stored(sandbox).into_iter();
    files.map(|name| sandbox.images().join(name)).collect()
}

#[test]
fn damage_is_noticed_and_repaired() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let registry = registry(&sandbox);
    let url = registry.image("one:tag");
    pulled(&sandbox, &url, &[]);
    let whole = files(&sandbox);
    // Manifest, configuration, object; what the digest means; the name.
    assert_eq!(whole.len(), 5, "{whole:?}");
    let load = |policy| {
        let load = example("xdp_pass").of_image(&url).with(&["-p", policy]);
        sandbox.try_load(&load.xdp(&veth.name))
    };
    for file in &whole {
        for damage in ["flipped", "cut", "empty", "gone"] {
            let good = fs::read(file).unwrap();
            let mut bad = good.clone();
            match damage {
                "flipped" => bad[good.len() / 2] ^= 1,
                "cut" => bad.truncate(good.len() - 1),
                _ => bad.clear(),
            }
            if damage == "gone" {
                fs::remove_file(file).unwrap();
            } else {
                fs::write(file, &bad).unwrap();
            }
            let what = format!("{} {damage}", file.display());
            // Never says what is wrong with it, or that there is no such image.
            let never = pull(&sandbox, &url, &["-p", "Never"]);
            let is_name = file.parent().unwrap().ends_with("refs");
            if damage == "gone" && is_name {
                never.fails(
                    1,
                    &["neither the image store nor a container runtime has it"],
                );
            } else {
                never.fails(
                    1,
                    &[
                        "image store is damaged",
                        "/run/images/",
                        "hint: bpfman image pull",
                    ],
                );
            }
            let from = if is_name { "store" } else { "registry" };
            assert_eq!(origin(&sandbox, &url, &[]), from, "{what}");
            assert_eq!(files(&sandbox), whole, "{what}");
            assert_eq!(origin(&sandbox, &url, &["-p", "Never"]), "store", "{what}");
        }
    }
    // The same for a load, and once more with Always.
    let object = pulled(&sandbox, &url, &[])["image"]["object"]
        .as_str()
        .unwrap()
        .to_owned();
    let blob = sandbox
        .images()
        .join(object.replace("sha256:", "blobs/sha256/"));
    let damage = || {
        let mut bytes = fs::read(&blob).unwrap();
        bytes[70] ^= 1;
        fs::write(&blob, bytes).unwrap();
    };
    damage();
    load("Never").fails(1, &["image store is damaged", &object[7..]]);
    let id = load("IfNotPresent").ok();
    sandbox.bpfman(["unload", id.trim()]).ok();
    damage();
    let id = load("Always").ok();
    sandbox.bpfman(["unload", id.trim()]).ok();
    assert_eq!(oci::digest(&fs::read(&blob).unwrap()), object);
}

/// Many ask for one image at once: the registry sends it once.
#[test]
fn one_download_for_all_who_want_it() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    let layer = Image::of_file(&example("xdp_pass").path);
    let digest = oci::digest(&layer.layer);
    let dir = write_layout(&sandbox.tmp().join("plain"), &[layer]);
    registry.push(&dir, "a:1", &["--preserve-digests"]);
    registry.push(&dir, "a:2", &["--preserve-digests"]);
    let before = registry.requests("GET").len();
    // They wait for the first, which gets only the beginning of the layer.
    let gate = Gate::new(registry.port(), 3000);
    let urls = [1, 2, 1, 2, 1, 2, 1, 2].map(|tag| format!("{}/a:{tag}", gate.host()));
    let pulls = urls.map(|url| {
        let mut command = sandbox.command(["image", "pull", "-i", &url, "-o", "json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    });
    gate.wait_held();
    gate.open();
    let origins = pulls.map(|pull| {
        let output = pull.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["from"].as_str().unwrap().to_owned()
    });
    let downloads = origins.iter().filter(|from| *from == "registry").count();
    assert_eq!(downloads, 1, "{origins:?}");
    let new = &registry.requests("GET")[before..];
    let sent = new.iter().filter(|path| path.ends_with(&digest)).count();
    assert_eq!(sent, 1, "{new:?}");
    let names = json(&sandbox, &["image", "list"])[0]["references"].clone();
    assert_eq!(
        names,
        value!([1, 2].map(|tag| format!("{}/a:{tag}", gate.host())))
    );
}

/// A registry that stops in the middle of the image `a`.
fn held(sandbox: &Sandbox) -> (Registry, Gate, String) {
    let registry = Registry::start(sandbox, &Options::default());
    let image = Image::of_file(&example("xdp_pass").path);
    let dir = write_layout(&sandbox.tmp().join("plain"), &[image]);
    registry.push(&dir, "a", &["--preserve-digests"]);
    let gate = Gate::new(registry.port(), 3000);
    let url = format!("{}/a", gate.host());
    (registry, gate, url)
}

fn start(sandbox: &Sandbox, args: &[&str]) -> Child {
    let mut command = sandbox.command(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits until a process waits for a lock.
#[track_caller]
fn wait_locked(child: &Child) {
    let waits = || waits_for_a_lock(child.id());
    assert!(wait_until(waits), "{} waits for no lock", child.id());
}

/// Who waits for a download that is killed does it itself.
#[test]
fn a_killed_pull_holds_up_nobody() {
    let sandbox = Sandbox::new();
    let (_registry, gate, url) = held(&sandbox);
    let mut first = start(&sandbox, &["image", "pull", "-i", &url]);
    gate.wait_held();
    let second = start(&sandbox, &["image", "pull", "-i", &url, "-o", "json"]);
    wait_locked(&second);
    first.kill().unwrap();
    first.wait().unwrap();
    gate.open();
    let output = second.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["from"], "registry");
    assert_eq!(stored(&sandbox).len(), 5);
}

/// Cleaning waits for a running pull, and takes nothing away from under it.
#[test]
fn a_cleaning_in_the_middle_of_a_pull() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    for _ in 0..3 {
        let (_registry, gate, url) = held(&sandbox);
        let load = [
            "load", "image", "-o", "id", "-i", &url, "xdp", "-i", &veth.name,
        ];
        let load = start(&sandbox, &load);
        gate.wait_held();
        let prune = start(&sandbox, &["image", "prune", "--all", "-o", "json"]);
        wait_locked(&prune);
        gate.open();
        let output = load.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let cleaned = prune.wait_with_output().unwrap();
        assert!(cleaned.status.success(), "{cleaned:?}");
        let said = String::from_utf8(cleaned.stderr).unwrap();
        assert!(said.contains("waiting"), "{said}");
        let id = String::from_utf8(output.stdout).unwrap();
        sandbox.bpfman(["unload", id.trim()]).ok();
        sandbox.bpfman(["image", "prune", "--all"]).ok();
        assert_eq!(stored(&sandbox), [""; 0]);
    }
}

/// What others may write to is no store.
#[test]
fn a_folder_that_is_not_safe() {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
    let sandbox = Sandbox::new();
    let registry = registry(&sandbox);
    let url = registry.image("one:tag");
    let images = sandbox.images();
    fs::create_dir(images).unwrap();
    fs::set_permissions(images, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = |why| {
        for policy in ["Always", "IfNotPresent", "Never"] {
            pull(&sandbox, &url, &["-p", policy]).fails(1, &["store is not safe", why]);
        }
    };
    refused("may be written to by others");
    fs::set_permissions(images, fs::Permissions::from_mode(0o700)).unwrap();
    chown(images, Some(4321), None).unwrap();
    refused("belongs to somebody else");
    fs::remove_dir(images).unwrap();
    fs::create_dir("/run/test/elsewhere").unwrap();
    symlink("/run/test/elsewhere", images).unwrap();
    refused("is a symbolic link");
    fs::remove_file(images).unwrap();
    assert_eq!(origin(&sandbox, &url, &[]), "registry");
    let mode = fs::metadata(images).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
