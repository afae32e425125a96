//! From a registry into the store: names and formats.

use std::{fs, path::Path};

use serde_json::{Value, json};
use testkit::{
    Load, Output, Sandbox, example, object,
    oci::{self, Image, write_layout},
    servers::{Options, Registry},
};

use crate::support::{built, layout, origin, pull, pulled};

#[test]
fn every_way_to_name_an_image() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    let [first, second] = [example("xdp_pass"), example("xdp_counter")];
    registry.push(&layout(&sandbox, &first), "a/b:1", &[]);
    registry.push(&layout(&sandbox, &first), "a/b", &[]);
    let one = pulled(&sandbox, &registry.image("a/b:1"), &[]);
    let digest = one["digest"].as_str().unwrap();
    assert_eq!(one["from"], "registry");
    assert_eq!(one["image_url"], registry.image("a/b:1"));
    assert_eq!(one["image"]["file"], "xdp_pass.bpf.o");
    let again = pulled(&sandbox, &registry.image("a/b"), &[]);
    assert_eq!(again["digest"], digest);
    assert_eq!(
        again["image"]["references"],
        json!([registry.image("a/b:latest")])
    );

    // The tag moves on, and a digest stays what it is, whatever tag it comes with.
    registry.push(&layout(&sandbox, &second), "a/b:1", &[]);
    let moved = pulled(&sandbox, &registry.image("a/b:1"), &["-p", "Always"]);
    assert_ne!(moved["digest"], digest);
    assert_eq!(moved["image"]["file"], "xdp_counter.bpf.o");
    for tag in ["", ":1", ":never-pushed"] {
        let name = registry.image(&format!("a/b{tag}@{digest}"));
        let answer = pulled(&sandbox, &name, &["-p", "Always"]);
        assert_eq!(answer["image"]["file"], "xdp_pass.bpf.o", "{name}");
        assert_eq!(answer["digest"], digest);
    }

    pull(&sandbox, &registry.image("a/b:2"), &[]).fails(
        1,
        &[
            "cannot pull",
            &registry.image("a/b:2"),
            "has no '2' in 'a/b'",
        ],
    );
    pull(&sandbox, &registry.image("nobody/nothing"), &[])
        .fails(1, &["nobody/nothing", "has no 'latest'"]);
    let absent = format!("a/b@{}", oci::digest(b"nothing"));
    pull(&sandbox, &registry.image(&absent), &[]).fails(1, &["has no 'sha256:"]);
}

#[test]
fn a_host_without_a_port() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default().port(80));
    registry.push(&layout(&sandbox, &example("xdp_pass")), "a/b", &[]);
    for name in [
        "localhost/a/b",
        "127.0.0.1/a/b",
        "localhost:80/a/b",
        "[::1]/a/b",
        "[::1]:80/a/b",
    ] {
        let answer = pulled(&sandbox, name, &["-p", "Always"]);
        assert_eq!(answer["image_url"], name);
    }
}

#[test]
fn a_bare_name_is_one_of_docker_hub() {
    let sandbox = Sandbox::new();
    let etc = sandbox.own_etc();
    let hub = Registry::start(&sandbox, &Options::default().tls().port(443));
    fs::write(
        etc.join("hosts"),
        "127.0.0.1 localhost registry-1.docker.io\n",
    )
    .unwrap();
    let folder = etc.join("docker/certs.d/registry-1.docker.io");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(hub.ca().certificate(), folder.join("ca.crt")).unwrap();
    hub.push(
        &layout(&sandbox, &example("xdp_pass")),
        "library/xdp_pass",
        &[],
    );
    hub.push(&layout(&sandbox, &example("xdp_pass")), "a/b:1", &[]);
    let bare = pulled(&sandbox, "xdp_pass", &[]);
    assert_eq!(bare["from"], "registry");
    assert_eq!(
        bare["image"]["references"],
        json!(["docker.io/library/xdp_pass:latest"])
    );
    pulled(&sandbox, "a/b:1", &["-p", "Always"]);
    // Other ways to write the same.
    for name in [
        "docker.io/xdp_pass",
        "index.docker.io/library/xdp_pass:latest",
    ] {
        assert_eq!(origin(&sandbox, name, &[]), "store", "{name}");
    }
}

#[test]
fn what_other_tools_push() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    let [first, second] = [object("xdp_verdict"), object("tc_verdict")];
    let plain = |load: &Load, name: &str| {
        write_layout(&sandbox.tmp().join(name), &[Image::of_file(&load.path)])
    };
    // skopeo sends a layer that it has sent in one form in no other.
    for (name, from, layout, words) in [
        (
            "oci",
            &first,
            layout(&sandbox, &first),
            &["--format", "oci"][..],
        ),
        (
            "docker",
            &first,
            plain(&first, "first"),
            &["--format", "v2s2"],
        ),
        (
            "zstd",
            &second,
            plain(&second, "second"),
            &["--dest-compress-format", "zstd"],
        ),
    ] {
        registry.push(&layout, &format!("a:{name}"), words);
        let answer = pulled(&sandbox, &registry.image(&format!("a:{name}")), &[]);
        assert_eq!(answer["from"], "registry", "{name}");
        assert_eq!(answer["image"]["object"], digest_of(from));
    }
    // They were what they were to be.
    assert!(manifest(&registry, "docker").contains("vnd.docker.distribution.manifest.v2+json"));
    assert!(manifest(&registry, "zstd").contains("tar+zstd"));
    assert!(manifest(&registry, "oci").contains("tar+gzip"));
}

#[test]
fn any_compression_of_the_layer() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    let from = example("xdp_pass");
    let plain = Image::of_file(&from.path);
    for (name, suffix, command) in [
        ("tar", "", "cat"),
        ("gzip", "+gzip", "gzip -c"),
        ("zstd", "+zstd", "zstd -c"),
    ] {
        let image = Image {
            layer: oci::filter(&plain.layer, command),
            layer_type: format!("{}{suffix}", oci::TAR),
            ..plain.clone()
        };
        let dir = write_layout(&sandbox.tmp().join(name), &[image]);
        registry.push(&dir, &format!("a:{name}"), &["--preserve-digests"]);
        let answer = pulled(&sandbox, &registry.image(&format!("a:{name}")), &[]);
        assert_eq!(answer["image"]["object"], digest_of(&from), "{name}");
    }
}

#[test]
fn the_variant_for_this_machine() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    let push = |name: &str, dir: &Path| registry.push(dir, name, &["--all"]);
    let image = |load: Load, architecture| Image::of_file(&load.path).architecture(architecture);
    let big = image(object("xdp_bpfeb"), "s390x");
    let arm = image(example("xdp_counter"), "arm64");
    let own = image(example("xdp_pass"), "amd64");
    let index = |name: &str, images: &[Image]| {
        push(name, &write_layout(&sandbox.tmp().join(name), images));
        pull(&sandbox, &registry.image(name), &["-o", "json"])
    };
    let answer = |output: Output| serde_json::from_str::<Value>(&output.ok()).unwrap();
    let found = answer(index("own", &[big.clone(), arm.clone(), own]));
    assert_eq!(found["image"]["architecture"], "amd64");
    assert_eq!(found["image"]["programs"], json!({"pass": "xdp"}));
    assert_ne!(found["image"]["manifest"], found["digest"]);
    // None for this machine: one of the same byte order runs here just as well.
    let found = answer(index("order", &[big.clone(), arm]));
    assert_eq!(found["image"]["architecture"], "arm64");
    assert_eq!(found["image"]["programs"], json!({"xdp_stats": "xdp"}));
    let wrong = ["no variant for", "amd64", "hint: it has", "s390x", "ppc64"];
    index("big", &[big.clone(), big.architecture("ppc64")]).fails(1, &wrong);

    // The same of our own making.
    let paths = [
        example("xdp_counter").path,
        object("xdp_counter_bpfeb").path,
    ];
    let [own, foreign] = paths.map(|path| path.display().to_string());
    let words = [
        "--bc-s390x-eb",
        &foreign,
        "--bc-amd64-el",
        &own,
        "--bc-arm64-el",
        &own,
    ];
    push("built", &built(&sandbox, "built", &words));
    let built = pulled(&sandbox, &registry.image("built"), &[]);
    assert_eq!(built["image"]["architecture"], "amd64");
    assert_eq!(built["image"]["object"], digest_of(&example("xdp_counter")));
}

/// Older images name one program, and some name nothing at all.
#[test]
fn labels_old_new_and_none() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    let image = Image::of_file(&object("several").path);
    let push = |name: &str, labels| {
        let dir = sandbox.tmp().join(name);
        let dir = write_layout(&dir, &[image.clone().labels(labels)]);
        registry.push(&dir, name, &[]);
        pulled(&sandbox, &registry.image(name), &[])["image"]["programs"].clone()
    };
    let old = json!({
        "io.ebpf.program_name": "anything", "io.ebpf.bpf_function_name": "second",
        "io.ebpf.program_type": "xdp", "io.ebpf.filename": "several.bpf.o",
    });
    assert_eq!(push("old", old), json!({"second": "xdp"}));
    let new = json!({"io.ebpf.programs": r#"{"first":"xdp"}"#, "io.ebpf.maps": "{}"});
    assert_eq!(push("new", new), json!({"first": "xdp"}));
    let all = json!({"first": "xdp", "second": "xdp", "only_tc": "tc"});
    assert_eq!(push("none", json!(null)), all);
    assert_eq!(push("others", json!({"maintainer": "me"})), all);
}

#[test]
fn labels_that_contradict_the_object() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    let image = Image::of_file(&object("several").path);
    for (name, labels, fragments) in [
        (
            "function",
            json!({"io.ebpf.programs": r#"{"first":"xdp","third":"xdp"}"#}),
            &["'third'", "does not have", "first, second, only_tc"][..],
        ),
        (
            "type",
            json!({"io.ebpf.programs": r#"{"first":"tracepoint"}"#}),
            &["'first'", "'tracepoint'", "section 'xdp' says 'xdp'"],
        ),
        (
            "old-function",
            json!({"io.ebpf.bpf_function_name": "third", "io.ebpf.program_type": "xdp"}),
            &["'third'", "does not have"],
        ),
        (
            "old-type",
            json!({"io.ebpf.bpf_function_name": "first", "io.ebpf.program_type": "kprobe"}),
            &["'first'", "'kprobe'"],
        ),
        (
            "file",
            json!({"io.ebpf.filename": "other.o"}),
            &["io.ebpf.filename", "'other.o'", "'several.bpf.o'"],
        ),
        (
            "form",
            json!({"io.ebpf.programs": "xdp"}),
            &["label io.ebpf.programs cannot be understood"],
        ),
    ] {
        let dir = sandbox.tmp().join(name);
        let dir = write_layout(&dir, &[image.clone().labels(labels)]);
        registry.push(&dir, name, &[]);
        let url = registry.image(name);
        pull(&sandbox, &url, &[]).fails(1, fragments);
        let load = object("several").of_image(&url).name("first");
        let veth = sandbox.veth();
        let refused = sandbox.unchanged(|| sandbox.try_load(&load.xdp(&veth.name)));
        refused.fails(1, fragments);
    }
    assert_eq!(crate::support::stored(&sandbox), [""; 0]);
}

fn digest_of(load: &Load) -> String {
    oci::digest(&fs::read(&load.path).unwrap())
}

/// The manifest of a tag of the repository `a`, as the registry keeps it.
fn manifest(registry: &Registry, tag: &str) -> String {
    let root = registry.storage().join("docker/registry/v2");
    let link = root.join(format!("repositories/a/_manifests/tags/{tag}/current/link"));
    let digest = fs::read_to_string(link).unwrap();
    let hex = digest.trim().trim_start_matches("sha256:");
    let blob = format!("blobs/sha256/{}/{hex}/data", &hex[..2]);
    fs::read_to_string(root.join(blob)).unwrap()
}
