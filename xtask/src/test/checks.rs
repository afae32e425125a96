//! What can be said about the sources without running them.

use anyhow::Result;

use super::build::WHOLE;
use super::tally::Tally;
use crate::{bpf, sh};

/// Runs all of them, also after one has failed.
pub(super) fn run() -> Tally {
    let mut tally = Tally::new("checks");
    let mut check =
        |what: &str, again: &str, work: &dyn Fn() -> Result<()>| match sh::step(what, work) {
            Ok(()) => tally.passed += 1,
            Err(error) => tally.fail(what, &format!("{error:#}"), again),
        };
    check("formatting", "cargo fmt --all", &|| {
        sh::run(sh::cargo("fmt").args(["--all", "--check"]))
    });
    let clippy = |features: &[&str]| {
        let mut command = sh::cargo("clippy");
        command.args(features).arg("--all-targets");
        sh::run(command.args(["--", "-D", "warnings"]))
    };
    let again = "cargo clippy --workspace --all-features --all-targets";
    check("clippy", again, &|| clippy(&WHOLE));
    // What is shipped has no fault points.
    let again = "cargo clippy --workspace --all-targets";
    check("clippy without features", again, &|| {
        clippy(&["--workspace"])
    });
    check("eBPF objects", "cargo xtask bpf --check", &|| {
        bpf::run(true)
    });
    if sh::which("cargo-deny").is_some() {
        check("cargo-deny", "cargo deny check", &|| {
            sh::run(sh::cargo("deny").arg("check"))
        });
    } else {
        eprintln!("── cargo-deny is not installed: licenses and advisories were left out");
    }
    tally
}
