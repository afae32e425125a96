//! One build for all lanes: the same features everywhere, so that nothing compiles twice.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{sh, tools};

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
}

/// Arguments of every cargo command that compiles: the whole workspace, so that features are the
/// same, and all of them, the fault points among them.
pub(crate) const WHOLE: [&str; 2] = ["--workspace", "--all-features"];

/// Compiles programs and tests.
pub(crate) fn all() -> Result<Built> {
    let mut nextest = tools::NEXTEST.command()?;
    sh::run(nextest.args(["nextest", "run"]).args(WHOLE).arg("--no-run"))?;
    Ok(Built {
        bpfman: executable(
            sh::cargo("build").args(WHOLE).args(["--bin", "bpfman"]),
            "bpfman",
        )?,
        daemon: executable(
            sh::cargo("build").args(WHOLE).args(["--bin", "bpfman-rpc"]),
            "bpfman-rpc",
        )?,
        tests: executable(
            sh::cargo("test")
                .args(WHOLE)
                .args(["--no-run", "--test", "kernel"]),
            "kernel",
        )?,
        reboot: executable(
            sh::cargo("test")
                .args(WHOLE)
                .args(["--no-run", "--test", "reboot"]),
            "reboot",
        )?,
    })
}

/// Compiles the tests of images.
pub(crate) fn images() -> Result<PathBuf> {
    let mut command = sh::cargo("test");
    command.args(WHOLE).args(["--no-run", "--test", "image"]);
    executable(&mut command, "image")
}

fn executable(command: &mut Command, name: &str) -> Result<PathBuf> {
    command
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit());
    let messages = sh::output(command)?;
    find_executable(&messages, name).with_context(|| format!("cargo built no {name}"))
}

fn find_executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
        .filter(|artifact| artifact.target.name == name)
        .find_map(|artifact| artifact.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"kernel","kind":["lib"]},"executable":null}
{"reason":"compiler-artifact","target":{"name":"kernel","kind":["test"]},"executable":"/t/deps/kernel-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(
            find_executable(messages, "kernel"),
            Some("/t/deps/kernel-1".into())
        );
        assert_eq!(find_executable(messages, "other"), None);
    }
}
