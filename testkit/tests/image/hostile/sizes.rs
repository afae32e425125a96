//! More bytes than are allowed or announced, and fewer.

use std::time::Duration;

use serde_json::json;
use testkit::{
    oci,
    servers::hostile::{Reply, Step, chunk},
};

use super::{Parts, Trial};

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const AT_ONCE: Duration = Duration::ZERO;

/// Answers that never end, in the ways that HTTP has for a body.
fn endless(bytes: &[u8]) -> Vec<Reply> {
    let length = "Content-Length: 18446744073709551615\r\n";
    vec![
        Reply::start(200, CHUNKED).then(Step::Endless(chunk(bytes), AT_ONCE)),
        Reply::start(200, "").then(Step::Endless(bytes.to_vec(), AT_ONCE)),
        Reply::start(200, length).then(Step::Endless(bytes.to_vec(), AT_ONCE)),
    ]
}

#[test]
fn manifests_beyond_the_limit() {
    let trial = Trial::new();
    let said = [
        "its manifest is larger than 4194304 bytes",
        "max_manifest_size",
    ];
    let mut replies = endless(&b" ".repeat(60_000));
    replies.push(Reply::new(200, "", " ".repeat((4 << 20) + 1)));
    // Announced and never sent: nothing is waited for.
    replies.push(Reply::start(200, "Content-Length: 4194305\r\n").then(Step::Hang));
    for reply in replies {
        let repository = trial.repository();
        trial.server.on(&Trial::manifest_path(&repository), [reply]);
        trial.refuses(&trial.image(&repository), &[], &said);
    }
}

#[test]
fn limits_of_the_configuration() {
    let good = Parts::good();
    let manifest = good.manifest.to_string().len();
    let trial = Trial::with(&format!("max_manifest_size = {}", manifest - 1));
    let limit = format!("its manifest is larger than {} bytes", manifest - 1);
    trial.refused(&good, &[&limit, "max_manifest_size"]);
    let exact = format!("[registry]\nmax_manifest_size = {manifest}\nmax_layer_size = 1000\n");
    trial.sandbox.config(&exact);
    let layer = format!(
        "its layer has {} bytes, and 1000 are allowed",
        good.layer.len()
    );
    trial.refused(&good, &[&layer, "max_layer_size"]);
    let large = Parts::new([&b"{}"[..], &[b' '; 999]].concat(), good.layer);
    trial
        .sandbox
        .config("[registry]\nmax_manifest_size = 1000\n");
    trial.refused(&large, &["its configuration is larger than 1000 bytes"]);
}

#[test]
fn layers_beyond_the_limit() {
    let trial = Trial::new();
    for size in [(64 << 20) + 1, u64::MAX] {
        let parts = Parts::good().with("/layers/0/size", json!(size));
        let said = format!("its layer has {size} bytes, and 67108864 are allowed");
        trial.refused(&parts, &[&said, "max_layer_size"]);
    }
    let parts = Parts::good().with("/config/size", json!(u64::MAX));
    trial.refused(&parts, &["its configuration is larger than 4194304 bytes"]);
}

#[test]
fn more_than_was_announced() {
    let trial = Trial::new();
    let good = Parts::good();
    for (bytes, what) in [(&good.config, "configuration"), (&good.layer, "layer")] {
        let mut replies = endless(&bytes.repeat(40_000_usize.div_ceil(bytes.len())));
        replies.push(Reply::new(200, "", [&bytes[..], b"\0"].concat()));
        replies.push(Reply::start(200, CHUNKED).then(Step::Send(chunk(&bytes.repeat(2)))));
        for reply in replies {
            let repository = trial.offer(&good);
            trial.blob(&repository, &oci::digest(bytes), [reply]);
            let said = format!("its {what} has ");
            let announced = format!("and {} were announced", bytes.len());
            trial.refuses(&trial.image(&repository), &[], &[&said, &announced]);
        }
    }
}

#[test]
fn less_than_was_announced() {
    let trial = Trial::with("attempts = 1");
    let good = Parts::good();
    let (bytes, size) = (&good.layer, good.layer.len());
    let half = &bytes[..size / 2];
    let length = format!("Content-Length: {size}\r\n");
    let start = |headers| Reply::start(200, headers).then(Step::Send(half.to_vec()));
    let chunks = || Reply::start(200, CHUNKED).then(Step::Send(chunk(half)));
    let cut = format!("its layer is cut short: {} of {size} bytes came", size / 2);
    for (reply, said) in [
        (start(&length), cut.as_str()),
        (start(&length).then(Step::Reset), "its layer is cut short"),
        (chunks(), &cut),
        (chunks().then(Step::Reset), "its layer is cut short"),
        (chunks().then(Step::Send(b"0\r\n\r\n".to_vec())), &cut),
        (start(""), &cut),
        (Reply::new(200, "", half), "bytes, and"),
        (Reply::new(200, "", ""), "its layer is cut short: 0 of"),
    ] {
        let repository = trial.offer(&good);
        trial.blob(&repository, &oci::digest(bytes), [reply]);
        trial.refuses(&trial.image(&repository), &[], &[said]);
    }
}
