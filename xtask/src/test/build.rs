//! One build for all lanes: the same features everywhere, so that nothing compiles twice.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::sh;

/// What the kernel tests need.
#[derive(Debug)]
pub(crate) struct Built {
    /// `bpfman` with fault points.
    pub(crate) bpfman: PathBuf,
    /// `bpfman-rpc`, likewise.
    pub(crate) daemon: PathBuf,
    /// The binary with the kernel tests.
    pub(crate) tests: PathBuf,
    /// The tests of a machine that is started twice.
    pub(crate) reboot: PathBuf,
}

#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Arguments of every cargo command that compiles: the whole workspace, so that features are the
/// same, and all of them, the fault points among them.
pub(crate) const WHOLE: [&str; 2] = ["--workspace", "--all-features"];

/// Compiles programs and tests, with all that cargo says on the way.
pub(crate) fn all() -> Result<Built> {
    let tests = messages(sh::cargo("test").args(WHOLE).arg("--no-run"))?;
    // By name: this runner itself has other features here, and must stay where it was started.
    let bins = ["--bin", "bpfman", "--bin", "bpfman-rpc"];
    let programs = messages(sh::cargo("build").args(WHOLE).args(bins))?;
    let program = |name| find_executable(&programs, "bin", name);
    let test = |name| find_executable(&tests, "test", name);
    Ok(Built {
        bpfman: program("bpfman")?,
        daemon: program("bpfman-rpc")?,
        tests: test("kernel")?,
        reboot: test("reboot")?,
    })
}

/// Compiles the tests of images.
pub(crate) fn images() -> Result<PathBuf> {
    let mut command = sh::cargo("test");
    command.args(WHOLE).args(["--no-run", "--test", "image"]);
    find_executable(&messages(&mut command)?, "test", "image")
}

fn messages(command: &mut Command) -> Result<String> {
    command
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit());
    sh::output(command)
}

/// A library's own tests have its name, and are of another kind than tests of that name.
fn find_executable(messages: &str, kind: &str, name: &str) -> Result<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
        .filter(|artifact| artifact.target.name == name)
        .filter(|artifact| artifact.target.kind.iter().any(|own| own == kind))
        .find_map(|artifact| artifact.executable)
        .with_context(|| format!("cargo built no {kind} {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"kernel","kind":["lib"]},"executable":"/t/deps/kernel-0"}
{"reason":"compiler-artifact","target":{"name":"kernel","kind":["test"]},"executable":"/t/deps/kernel-1"}
{"reason":"build-finished","success":true}"#;
        let found = find_executable(messages, "test", "kernel").unwrap();
        assert_eq!(found, PathBuf::from("/t/deps/kernel-1"));
        assert!(find_executable(messages, "test", "other").is_err());
    }
}
