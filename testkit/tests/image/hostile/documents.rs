//! Manifests, indexes, configurations and labels that cannot be meant.

use serde_json::{Value, json};
use testkit::{oci, servers::hostile::Reply};

use super::{INDEX, MANIFEST, Parts, Trial, descriptor};

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Offers a document in the place of a manifest, which must be refused.
#[track_caller]
fn refused(trial: &Trial, media_type: &str, text: impl AsRef<[u8]>, fragments: &[&str]) {
    let repository = trial.repository();
    trial.offer_document(&repository, media_type, text);
    trial.refuses(&trial.image(&repository), &[], fragments);
}

#[test]
fn manifests_that_are_none() {
    let trial = Trial::new();
    let unreadable = "its manifest cannot be understood";
    for text in [
        "",
        "{",
        "[]",
        "null",
        "<html>sign in</html>",
        "\u{feff}{}",
        "\"x\"",
    ] {
        refused(&trial, MANIFEST, text, &[unreadable]);
        refused(&trial, "text/html", text, &[unreadable]);
    }
    for text in ["[".repeat(1 << 20), r#"{"a":"#.repeat(1 << 19)] {
        refused(&trial, MANIFEST, text, &[unreadable]);
    }
    refused(&trial, MANIFEST, b"\xff\xfe{\0}\0", &[unreadable]);
    refused(&trial, MANIFEST, "{}", &["schema version 2"]);
    let neither = r#"{"schemaVersion":2}"#;
    refused(
        &trial,
        MANIFEST,
        neither,
        &["neither a manifest nor an index"],
    );
    let both = json!({"schemaVersion": 2, "manifests": [], "layers": []});
    refused(
        &trial,
        MANIFEST,
        both.to_string(),
        &["a manifest and an index at once"],
    );
    let twice = r#"{"schemaVersion":2,"layers":[],"layers":[]}"#;
    refused(&trial, MANIFEST, twice, &[unreadable]);
    let good = Parts::good().manifest.to_string();
    refused(&trial, INDEX, good, &["contradicts itself"]);
}

#[test]
fn manifests_of_other_kinds() {
    let trial = Trial::new();
    let old = json!({"schemaVersion": 1, "name": "x", "tag": "t", "fsLayers": [], "history": []});
    for media_type in [
        MANIFEST,
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    ] {
        refused(
            &trial,
            media_type,
            old.to_string(),
            &["manifest.v1+json", "not supported"],
        );
    }
    let helm = json!("application/vnd.cncf.helm.config.v1+json");
    let parts = Parts::good().with("/mediaType", helm);
    trial.refused(&parts, &["cncf.helm", "not supported"]);
    for version in [
        json!(0),
        json!(1),
        json!(3),
        json!("2"),
        json!(2.5),
        json!(null),
    ] {
        let parts = Parts::good().with("/schemaVersion", version);
        trial.refused(&parts, &["manifest"]);
    }
    let evil = json!("\u{1b}[31mred\u{7}\r\nerror: no error");
    let parts = Parts::good().with("/mediaType", evil.clone());
    trial.refused(&parts, &["\\u{1b}[31mred", "not supported"]);
    trial.refused(
        &Parts::good().with("/layers/0/mediaType", evil),
        &["not supported"],
    );
}

#[test]
fn layers_that_are_none() {
    let trial = Trial::new();
    trial.refused(
        &Parts::good().with("/layers", json!([])),
        &["it has 0 layers"],
    );
    let layer = descriptor(oci::TAR, b"x");
    let three = Parts::good().with("/layers", json!([layer, layer, layer]));
    trial.refused(&three, &["it has 3 layers", "has one"]);
    for media_type in [
        "image/png",
        "",
        "application/vnd.oci.image.layer.v1.tar+lz4",
    ] {
        let parts = Parts::good().with("/layers/0/mediaType", json!(media_type));
        trial.refused(&parts, &["its layer is of type", "not supported"]);
    }
    trial.refused(&Parts::good().with("/layers", json!({})), &["its manifest"]);
    trial.refused(&Parts::good().with("/config", json!([])), &["its manifest"]);
}

#[test]
fn digests_that_are_none() {
    let trial = Trial::new();
    for (digest, said) in [
        (format!("sha256:{}", HEX.to_uppercase()), "digest"),
        (format!("sha256:{}", &HEX[1..]), "digest"),
        (format!("sha256:{HEX}0"), "digest"),
        (format!("sha512:{HEX}{HEX}"), "only sha256"),
        (HEX.to_owned(), "digest"),
        (
            "sha256:../../../../../../../../etc/passwd".to_owned(),
            "digest",
        ),
        ("sha256:\u{1b}[31m".to_owned(), "digest"),
        (String::new(), "digest"),
        ("md5:d41d8cd98f00b204e9800998ecf8427e".to_owned(), "digest"),
    ] {
        for place in ["/config/digest", "/layers/0/digest"] {
            trial.refused(&Parts::good().with(place, json!(digest)), &[said]);
        }
        let child = json!({"mediaType": MANIFEST, "digest": digest, "size": 9});
        let index = json!({"schemaVersion": 2, "manifests": [child]});
        refused(&trial, INDEX, index.to_string(), &[said]);
    }
    for size in [json!(-1), json!(1.5), json!("9"), json!(null), json!(1e30)] {
        let parts = Parts::good().with("/layers/0/size", size);
        trial.refused(&parts, &["its manifest cannot be understood"]);
    }
}

#[test]
fn indexes_without_an_image_for_this_machine() {
    let trial = Trial::new();
    let child = |platform: Value| {
        let mut child = descriptor(MANIFEST, b"x");
        child["platform"] = platform;
        child
    };
    let of = |manifests: &[Value]| {
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string()
    };
    let big = json!({"os": "linux", "architecture": "s390x"});
    let windows = json!({"os": "windows", "architecture": "amd64"});
    let strange = json!({"os": "linux", "architecture": "\u{1b}[2Jpdp11"});
    refused(&trial, INDEX, of(&[]), &["no variant for linux/"]);
    refused(
        &trial,
        INDEX,
        of(&[child(big)]),
        &["no variant", "linux/s390x"],
    );
    refused(&trial, INDEX, of(&[child(windows)]), &["no variant"]);
    refused(
        &trial,
        INDEX,
        of(&[child(strange)]),
        &["no variant", "\\u{1b}"],
    );
    let unnamed = descriptor(MANIFEST, b"x");
    refused(
        &trial,
        INDEX,
        of(&[unnamed.clone(), unnamed]),
        &["no variant"],
    );
    let mut attestation = child(json!({"os": "linux", "architecture": "amd64"}));
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    refused(&trial, INDEX, of(&[attestation]), &["no variant"]);
    // An index that leads to itself, as far as a digest can.
    let repository = trial.repository();
    let inner = of(&[]);
    let mut outer = descriptor(INDEX, inner.as_bytes());
    outer["platform"] = json!({"os": "linux", "architecture": "amd64"});
    trial.offer_document(&repository, INDEX, of(&[outer]));
    let path = format!(
        "/v2/{repository}/manifests/{}",
        oci::digest(inner.as_bytes())
    );
    trial.server.on(&path, [Reply::new(200, "", inner)]);
    trial.refuses(&trial.image(&repository), &[], &["leads to another index"]);
}

#[test]
fn digests_that_do_not_fit() {
    let trial = Trial::new();
    let good = Parts::good();
    for (bytes, what) in [(&good.config, "configuration"), (&good.layer, "layer")] {
        let repository = trial.offer(&good);
        let mut other = bytes.clone();
        other[0] ^= 1;
        let digest = oci::digest(bytes);
        trial.blob(&repository, &digest, [Reply::new(200, "", &other)]);
        let image = trial.image(&repository);
        let said = format!("the digest of its {what} is {}", oci::digest(&other));
        trial.refuses(&image, &[], &[&said, &digest]);
    }
    // The manifest: asked for by digest, or announced by a header, or named by an index.
    let manifest = good.manifest.to_string();
    let wanted = format!("sha256:{HEX}");
    let repository = trial.offer(&good);
    let path = format!("/v2/{repository}/manifests/{wanted}");
    trial.server.on(&path, [Reply::new(200, "", &manifest)]);
    let by_digest = format!("{}/{repository}@{wanted}", trial.server.host());
    trial.refuses(&by_digest, &[], &["the digest of its manifest is", &wanted]);
    let headers = format!("Docker-Content-Digest: {wanted}\r\n");
    let announced = Reply::new(200, &headers, &manifest);
    trial
        .server
        .on(&Trial::manifest_path(&repository), [announced]);
    let image = trial.image(&repository);
    trial.refuses(&image, &[], &["the digest of its manifest is", &wanted]);
    let child = json!({"mediaType": MANIFEST, "digest": wanted, "size": manifest.len()});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]});
    trial.offer_document(&repository, INDEX, index.to_string());
    trial.refuses(&image, &[], &["the digest of its manifest is", &wanted]);
}

#[test]
fn configurations_that_are_none() {
    let trial = Trial::new();
    let layer = Parts::good().layer;
    for config in [
        "",
        "[]",
        "null",
        "ELF",
        r#"{"config":{"Labels":[]}}"#,
        r#"{"config":7}"#,
    ] {
        let parts = Parts::new(config, layer.clone());
        trial.refused(&parts, &["its configuration cannot be understood"]);
    }
    let number = Parts::of_labels(&json!({"io.ebpf.programs": 7}));
    trial.refused(&number, &["its configuration cannot be understood"]);
    for label in ["io.ebpf.programs", "io.ebpf.maps"] {
        for text in ["xdp", "[]", "{", r#"{"a":1}"#, r#"{"a":{}}"#, "\u{1b}[31m"] {
            let parts = Parts::of_labels(&json!({label: text}));
            trial.refused(
                &parts,
                &[&format!("its label {label} cannot be understood")],
            );
        }
    }
}

#[test]
fn labels_that_the_object_contradicts() {
    let trial = Trial::new();
    for (programs, fragments) in [
        (json!({"no_such": "xdp"}), &["'no_such'", "xdp_stats"][..]),
        (
            json!({"xdp_stats": "kprobe"}),
            &["'xdp_stats'", "kprobe", "xdp"],
        ),
        (json!({"\u{1b}[2J": "xdp"}), &["does not have"]),
    ] {
        let parts = Parts::of_labels(&json!({"io.ebpf.programs": programs.to_string()}));
        trial.refused(&parts, fragments);
    }
    for (name, kind, fragment) in [
        ("no_such", "xdp", "'no_such'"),
        ("xdp_stats", "fentry", "fentry"),
    ] {
        let labels = json!({
            "io.ebpf.program_name": name, "io.ebpf.bpf_function_name": name,
            "io.ebpf.program_type": kind, "io.ebpf.filename": "xdp_counter.bpf.o",
        });
        trial.refused(&Parts::of_labels(&labels), &[fragment]);
    }
    let maps = json!({"no_such_map": "hash"}).to_string();
    trial.refused(
        &Parts::of_labels(&json!({"io.ebpf.maps": maps})),
        &["no_such_map"],
    );
}

/// Documents as large as they may be, made to cost as much memory as they can.
#[test]
fn documents_that_would_fill_the_memory() {
    let trial = Trial::new();
    let most = (4 << 20) - 500;
    let many = |item: &str| {
        let mut text = item.repeat(most / item.len());
        text.pop();
        text
    };
    let layers = many(r#"{"mediaType":"","digest":"a:b","size":0},"#);
    let text = format!(r#"{{"schemaVersion":2,"layers":[{layers}]}}"#);
    refused(&trial, MANIFEST, &text, &["missing field `config`"]);
    let whole = many(&format!(
        r#"{{"mediaType":"a","digest":"sha256:{HEX}","size":0}},"#
    ));
    let config = descriptor("application/vnd.oci.image.config.v1+json", b"{}");
    let text = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{whole}]}}"#);
    refused(&trial, MANIFEST, &text, &["layers"]);
    let text = format!(r#"{{"schemaVersion":2,"manifests":[{whole}]}}"#);
    refused(&trial, INDEX, &text, &["no variant"]);
    let numbered = |quote: &str| {
        let mut text = String::new();
        for number in 0.. {
            let item = format!("{quote}{number:x}{quote}:{quote}{quote},");
            if text.len() + item.len() > most {
                break;
            }
            text += &item;
        }
        text.pop();
        text
    };
    let plain = numbered("\"");
    let text =
        format!(r#"{{"schemaVersion":2,"annotations":{{{plain}}},"config":{config},"layers":[]}}"#);
    refused(&trial, MANIFEST, &text, &["0 layers"]);
    let layer = Parts::good().layer;
    let labels = format!(r#"{{"config":{{"Labels":{{"io.ebpf.filename":"x",{plain}}}}}}}"#);
    trial.refused(&Parts::new(labels, layer.clone()), &["io.ebpf.filename"]);
    let escaped = numbered("\\\"");
    for label in ["io.ebpf.programs", "io.ebpf.maps"] {
        let config = format!(r#"{{"config":{{"Labels":{{"{label}":"{{{escaped}}}"}}}}}}"#);
        trial.refused(&Parts::new(config, layer.clone()), &[label]);
    }
}
