//! What can be said about the sources without running them.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::build::WHOLE;
use super::tally::Tally;
use crate::{bpf, screen, sh, tools};

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
    let again = "cargo deny check bans licenses sources";
    check("licenses, bans and sources of crates", again, &|| {
        sh::run(deny()?.args(["bans", "licenses", "sources"]))
    });
    let what = "advisories about crates";
    match sh::step(what, advisories) {
        Ok(None) => tally.passed += 1,
        Ok(Some(reason)) => {
            screen::say(&format!("── {what}: left out, {reason}"));
            let what = "advisories: their database is out of reach";
            tally.skipped.insert(what.to_owned(), 1);
        }
        Err(error) => tally.fail(what, &format!("{error:#}"), "cargo deny check advisories"),
    }
    tally
}

fn deny() -> Result<Command> {
    let mut command = tools::DENY.command()?;
    command.args(["check", "--hide-inclusion-graph"]);
    Ok(command)
}

/// Looks at them where their database can be had; otherwise the reason why it cannot.
///
/// It is a repository on a host of its own, which not every network leads to.
fn advisories() -> Result<Option<String>> {
    let mut command = deny()?;
    command.arg("advisories").stdin(Stdio::null());
    // It must not ask for somebody's name and password.
    command.env("GIT_TERMINAL_PROMPT", "0");
    let done = command.output().context("start cargo-deny")?;
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.success() {
        return Ok(None);
    }
    if let Some(reason) = out_of_reach(&said) {
        return Ok(Some(reason));
    }
    bail!("cargo-deny ended with {}:\n{}", done.status, said.trim())
}

/// What cargo-deny says about a database that it does not get.
fn out_of_reach(said: &str) -> Option<String> {
    let (_, reason) = said.split_once("failed to fetch advisory database")?;
    let last = reason.lines().rfind(|line| !line.trim().is_empty())?;
    Some(last.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_out_of_reach_is_told_from_an_advisory() {
        let said = "2026 [ERROR] failed to fetch advisory database x with cli: failed to clone\n\
                    fatal: Could not resolve host\n\n";
        let reason = out_of_reach(said);
        assert_eq!(reason.as_deref(), Some("fatal: Could not resolve host"));
        assert_eq!(
            out_of_reach("error[vulnerability]: ring …\nadvisories FAILED"),
            None
        );
    }
}
