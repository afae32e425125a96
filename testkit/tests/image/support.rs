//! Words that many tests use.

use std::path::PathBuf;

use serde_json::Value;
use testkit::{Load, Output, Sandbox};

/// An OCI layout with the image that `bpfman image build` makes of an object for this machine.
#[track_caller]
pub(crate) fn layout(sandbox: &Sandbox, object: &Load) -> PathBuf {
    let stem = object.path.file_stem().unwrap().to_string_lossy();
    let dir = sandbox.tmp().join(format!("layout-{stem}"));
    let (path, output) = (object.path.display().to_string(), dir.display().to_string());
    let words = ["image", "build", "--runtime", "none", "--tag", "a:b"];
    let args = words.into_iter().chain(["-b", &path, "--output", &output]);
    sandbox.bpfman(args).ok();
    dir
}

/// `image pull` of a name, with further words.
pub(crate) fn pull(sandbox: &Sandbox, image: &str, words: &[&str]) -> Output {
    let args = ["image", "pull", "--image-url", image];
    sandbox.bpfman(args.iter().chain(words))
}

/// What `image pull` answers in JSON; it must succeed.
#[track_caller]
pub(crate) fn pulled(sandbox: &Sandbox, image: &str, words: &[&str]) -> Value {
    let words: Vec<&str> = words.iter().copied().chain(["-o", "json"]).collect();
    serde_json::from_str(&pull(sandbox, image, &words).ok()).unwrap()
}
