//! Words that many tests use.

use std::{fs, path::PathBuf, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use testkit::{Load, Output, Sandbox};

/// An OCI layout with the image that `bpfman image build` makes of an object for this machine.
#[track_caller]
pub(crate) fn layout(sandbox: &Sandbox, object: &Load) -> PathBuf {
    let path = object.path.display().to_string();
    let name = object.path.file_name().unwrap().to_string_lossy();
    built(sandbox, &name, &["-b", &path])
}

/// The same with further words for the bytecode.
#[track_caller]
pub(crate) fn built(sandbox: &Sandbox, name: &str, bytecode: &[&str]) -> PathBuf {
    let dir = sandbox.tmp().join(format!("layout-{name}"));
    let output = dir.display().to_string();
    let words = ["image", "build", "--runtime", "none", "--tag", "a:b"];
    let args = words.iter().chain(bytecode).copied();
    sandbox.bpfman(args.chain(["--output", &output])).ok();
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

/// Where `image pull` says that the image came from; it must succeed.
#[track_caller]
pub(crate) fn origin(sandbox: &Sandbox, image: &str, words: &[&str]) -> String {
    let answer = pulled(sandbox, image, words);
    answer["from"].as_str().unwrap().to_owned()
}

/// What a command answers in JSON; it must succeed.
#[track_caller]
pub(crate) fn json(sandbox: &Sandbox, args: &[&str]) -> Value {
    let args = args.iter().chain(&["-o", "json"]);
    serde_json::from_str(&sandbox.bpfman(args).ok()).unwrap()
}

/// `user:password` as `--registry-auth` and the files of Docker and Podman have it.
pub(crate) fn basic(user: &str, password: &str) -> String {
    STANDARD.encode(format!("{user}:{password}"))
}

/// Everything in the store but the empty files of locks, below its folder.
pub(crate) fn stored(sandbox: &Sandbox) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![sandbox.images().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(sandbox.images()).unwrap();
            if !name.starts_with("locks") {
                found.push(name.display().to_string());
            }
        }
    }
    found.sort_unstable();
    found
}

/// The words of a command with others before them, as `strace -f`, and its environment.
pub(crate) fn under(outer: &[&str], inner: &Command) -> Command {
    let mut command = Command::new(outer[0]);
    command.args(&outer[1..]);
    command.arg(inner.get_program()).args(inner.get_args());
    with_environment(&mut command, inner);
    command
}

/// Gives a command the environment of another.
pub(crate) fn with_environment(command: &mut Command, of: &Command) {
    for (name, value) in of.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}
