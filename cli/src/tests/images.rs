use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use chrono::FixedOffset;
use manager::{LoadRequest, Pruned, PullRequest};
use model::{
    Digest, HeldImage, Holder, ImageOrigin, ImageView, Provenance, PullPolicy, Pulled, Runtime,
    Source,
};

use super::read;
use crate::{
    args::Command,
    commands::{
        image::{Image, Verb},
        load::From,
    },
    output::{
        Format,
        image::{held_text, list_text, pruned_text, pulled_text, text},
    },
};

fn load(line: &str) -> LoadRequest {
    match read(line).unwrap().command {
        Command::Load(load) => match load.from {
            From::Image(image) => image.request().unwrap(),
            From::File(file) => panic!("{file:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn pull(line: &str) -> PullRequest {
    match read(line).unwrap().command {
        Command::Image(Image {
            verb: Verb::Pull(pull),
        }) => pull.request().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn images_are_requested_as_typed() {
    for (flags, policy) in [
        ("", PullPolicy::IfNotPresent),
        ("-p Always", PullPolicy::Always),
        ("--pull-policy Never", PullPolicy::Never),
        ("-p IfNotPresent", PullPolicy::IfNotPresent),
    ] {
        let request = load(&format!(
            "load image -i quay.io/a/b {flags} xdp -i eth0 -p 7"
        ));
        let source = Source::Image {
            url: "quay.io/a/b".parse().unwrap(),
            pull_policy: policy,
        };
        assert_eq!(request.source, source);
        assert_eq!((request.name, request.registry_auth), (None, None));
        let request = pull(&format!("image pull --image-url quay.io/a/b {flags}"));
        assert_eq!(request.policy, policy);
        assert_eq!(request.url.to_string(), "quay.io/a/b");
    }
}

#[test]
fn credentials_are_read_and_never_shown() {
    // user:s3cr3t
    let given = "dXNlcjpzM2NyM3Q=";
    for flag in ["-r", "--registry-auth", "--registry_auth"] {
        let line = format!("load image -i x {flag} {given} xdp -i eth0");
        let request = load(&line);
        let shown = format!("{:?} {request:?}", read(&line).unwrap());
        assert!(
            !shown.contains("s3cr3t") && !shown.contains(given),
            "{shown}"
        );
        let auth = request.registry_auth.unwrap();
        assert_eq!((auth.user(), auth.password()), ("user", "s3cr3t"));
        let pulled = pull(&format!("image pull -i x {flag} {given}"));
        assert_eq!(pulled.registry_auth, Some(auth));
    }
}

fn zone() -> FixedOffset {
    FixedOffset::west_opt(4 * 3600).unwrap()
}

fn pairs(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn image(references: &[&str], digest: u8, programs: &[(&str, &str)]) -> ImageView {
    ImageView {
        references: references.iter().map(|name| (*name).to_owned()).collect(),
        digest: Digest::new([digest; 32]),
        manifest: Some(Digest::new([0xab; 32])),
        architecture: "amd64".into(),
        file: "bpf_x86_bpfel.o".into(),
        object: Digest::new([0xcd; 32]),
        object_size: 5312,
        programs: pairs(programs),
        maps: pairs(&[("xdp_stats_map", "per_cpu_array")]),
        size: 6300,
        pulled_at: UNIX_EPOCH + Duration::from_secs(1_689_628_814),
    }
}

fn images() -> [ImageView; 3] {
    [
        image(
            &["docker.io/library/x:v1", "docker.io/library/x:v2"],
            1,
            &[("xdp_stats", "xdp")],
        ),
        image(
            &["quay.io/a/b:latest"],
            2,
            &[("a", "tc"), ("b\u{1b}", "tc")],
        ),
        image(&[], 3, &[]),
    ]
}

#[test]
fn lists() {
    insta::assert_snapshot!(list_text(&images(), Format::Table, &zone()).unwrap());
    insta::assert_snapshot!(list_text(&images(), Format::Id, &zone()).unwrap());
    let empty = list_text(&[], Format::Json, &zone()).unwrap();
    assert_eq!(empty, "[]\n");
    let empty = list_text(&[], Format::Table, &zone()).unwrap();
    assert_eq!(empty, " Image  Digest  Programs  Size  Pulled At\n");
}

#[test]
fn one_image() {
    let [image, ..] = images();
    for format in [Format::Table, Format::Json, Format::Yaml] {
        insta::assert_snapshot!(text(&image, format, &zone()).unwrap());
    }
}

fn pulled(image: ImageView) -> Pulled {
    let provenance = Provenance {
        from: ImageOrigin::Registry,
        digest: image.digest,
        holder: None,
    };
    Pulled { image, provenance }
}

fn holder(runtime: Runtime) -> Holder {
    Holder {
        runtime,
        at: "/h/me/storage".into(),
        user: Some("me".into()),
        namespace: None,
    }
}

#[test]
fn images_of_runtimes() {
    let held = |runtime, references: &[&str]| HeldImage {
        holder: holder(runtime),
        references: references.iter().map(|name| (*name).to_owned()).collect(),
        digest: Digest::new([7; 32]),
        programs: pairs(&[("a", "xdp"), ("b", "tc")]),
        maps: pairs(&[]),
    };
    let mut images = [
        held(Runtime::Docker, &["x:v1", "x:v2"]),
        held(Runtime::Containerd, &["docker.io/library/x:v1"]),
    ];
    images[1].holder.user = None;
    images[1].holder.namespace = Some("k8s.io".into());
    for format in [Format::Table, Format::Id, Format::Json] {
        insta::assert_snapshot!(held_text(&images, format).unwrap());
    }
}

#[test]
fn pulls_and_prunes() {
    let url = "quay.io/a/b".parse().unwrap();
    let [_, image, _] = images();
    let digest = image.digest;
    let mut pulled = pulled(image);
    let said = |format| pulled_text(&url, &pulled, format).unwrap();
    assert_eq!(said(Format::Table), "Successfully downloaded bytecode\n");
    assert_eq!(said(Format::Id), format!("{digest}\n"));
    insta::assert_snapshot!(said(Format::Json));
    let holder = holder(Runtime::Podman);
    pulled.provenance.holder = Some(holder);
    for (from, said) in [
        (
            ImageOrigin::Podman,
            "From podman of user me (/h/me/storage)",
        ),
        (
            ImageOrigin::Store,
            "From store, the same as in podman of user me (/h/me/storage)",
        ),
    ] {
        pulled.provenance.from = from;
        assert_eq!(
            pulled_text(&url, &pulled, Format::Table).unwrap(),
            format!("Successfully downloaded bytecode\n{said}\n")
        );
    }
    insta::assert_snapshot!(pulled_text(&url, &pulled, Format::Json).unwrap());
    let pruned = Pruned {
        images: vec![digest],
        freed: 6300,
    };
    let said = |format| pruned_text(&pruned, format).unwrap();
    assert_eq!(
        said(Format::Table),
        format!("Removed {digest}\nFreed 6.15 KiB\n")
    );
    insta::assert_snapshot!(said(Format::Json));
}

/// The examples of docs/json.md are results of this program, word for word.
#[test]
fn documented_examples_are_true() {
    let docs = include_str!("../../../docs/json.md");
    let [image, ..] = images();
    let pulled = pulled(image);
    let url = "x:v1".parse().unwrap();
    let text = pulled_text(&url, &pulled, Format::Json).unwrap();
    assert!(docs.contains(&text), "docs/json.md lacks:\n{text}");
}
