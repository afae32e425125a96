//! What can be said about the sources without running them.

use anyhow::Result;

use super::build::WHOLE;
use super::tally::Tally;
use crate::{bpf, sh};

/// Runs all of them, also after one has failed.
pub(crate) fn run() -> Tally {
    let mut tally = Tally::new("checks");
    let mut check = |what: &str, work: &dyn Fn() -> Result<()>| match sh::step(what, work) {
        Ok(()) => tally.passed += 1,
        Err(error) => tally.failed.push(format!("{what}: {error:#}")),
    };
    check("formatting", &|| {
        sh::run(sh::cargo("fmt").args(["--all", "--check"]))
    });
    let clippy = |features: &[&str]| {
        let mut command = sh::cargo("clippy");
        command.args(features).args(["--all-targets", "--quiet"]);
        sh::run(command.args(["--", "-D", "warnings"]))
    };
    check("clippy", &|| clippy(&WHOLE));
    // What is shipped has no fault points.
    check("clippy without features", &|| clippy(&["--workspace"]));
    check("eBPF objects", &|| bpf::run(true));
    if sh::which("cargo-deny").is_some() {
        check("cargo-deny", &|| sh::run(sh::cargo("deny").arg("check")));
    } else {
        eprintln!("── cargo-deny is not installed: licenses and advisories were left out");
    }
    tally
}
