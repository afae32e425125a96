//! Lanes that run on this machine, under nextest.

use std::path::Path;

use anyhow::{Context, Result};

use super::build::{Built, WHOLE};
use super::guest::figures;
use super::tally::{Tally, count_skips};
use crate::{grpcio, sh, tools};

/// A lane without a guest.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lane {
    /// Everything but the tests that need root.
    Unit,
    /// The kernel tests.
    Host,
    /// The tests of images.
    Image,
    /// The tests of the daemon.
    Rpc,
}

/// Runs the lane and counts.
pub(crate) fn run(lane: Lane, built: &Built, filter: &[String]) -> Tally {
    let (name, what) = match lane {
        Lane::Unit => ("unit", "unit tests"),
        Lane::Host => ("host", "kernel tests on this machine's kernel"),
        Lane::Image => ("image", "tests of images on this machine"),
        Lane::Rpc => ("rpc", "tests of the daemon on this machine"),
    };
    sh::step(what, || count(lane, name, built, filter))
        .unwrap_or_else(|error| Tally::failure(name, &format!("{error:#}")))
}

fn count(lane: Lane, name: &str, built: &Built, filter: &[String]) -> Result<Tally> {
    let temp = tempfile::tempdir()?;
    let skips = temp.path().join("skips");
    // nextest keeps its reports here, whatever cargo's target directory is.
    let report = sh::repo().join("target/nextest/default/junit.xml");
    // A report that stays behind when nextest fails early would be taken for this run's.
    let _ = std::fs::remove_file(&report);
    let mut command = tools::NEXTEST.command()?;
    command
        .args(["nextest", "run", "--cargo-quiet"])
        .args(WHOLE)
        .args(filter);
    let set = match lane {
        Lane::Unit => {
            "not (binary_id(bpfman-testkit::kernel) | binary_id(bpfman-testkit::image) \
             | binary_id(bpfman-testkit::rpc) | binary_id(bpfman-testkit::reboot))"
        }
        Lane::Host => "binary_id(bpfman-testkit::kernel)",
        Lane::Image => "binary_id(bpfman-testkit::image)",
        Lane::Rpc => "binary_id(bpfman-testkit::rpc)",
    };
    command.args(["-E", set]);
    if !matches!(lane, Lane::Unit) {
        sh::need_root(&format!("the {name} lane"))?;
        command
            .env("BPFMAN_BIN", &built.bpfman)
            .env("BPFMAN_RPC_BIN", &built.daemon)
            .env("BPFMAN_LANE", "host")
            .env("BPFMAN_SKIPS", &skips);
    }
    if matches!(lane, Lane::Rpc) {
        command.env("BPFMAN_PYTHON", grpcio::python()?);
    }
    if !filter.is_empty() {
        command.args(["--no-tests", "pass"]);
    }
    let status = command.status().context("start nextest")?;
    let mut tally = read_report(name, &report).with_context(|| format!("nextest: {status}"))?;
    tally.skipped = count_skips(&std::fs::read_to_string(&skips).unwrap_or_default());
    tally.passed = tally.passed.saturating_sub(tally.skipped.values().sum());
    if !status.success() && tally.failed.is_empty() {
        tally.failed.push(format!("nextest ended with {status}"));
    }
    Ok(tally)
}

fn read_report(lane: &str, path: &Path) -> Result<Tally> {
    let report =
        std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    for figure in figures(&report) {
        eprintln!("{lane}: {figure}");
    }
    parse_report(lane, &report).context("understand nextest's report")
}

/// Reads the JUnit report: one `testcase` element a test, with a `failure` or `error` inside when
/// it did not pass.
fn parse_report(lane: &str, report: &str) -> Option<Tally> {
    let mut tally = Tally::new(lane);
    for case in report.split("<testcase ").skip(1) {
        let case = case.split("</testcase>").next()?;
        if case.contains("<failure") || case.contains("<error") {
            let name = attribute(case, "name")?;
            let class = attribute(case, "classname")?;
            tally.failed.push(format!("{class} {name}"));
        } else {
            tally.passed += 1;
        }
    }
    report.contains("<testsuites").then_some(tally)
}

fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = element.split_once(&format!("{name}=\""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3" failures="1" errors="0">
  <testsuite name="model" tests="3" disabled="0" errors="0" failures="1">
    <testcase name="chain::order" classname="model" time="0.003">
    </testcase>
    <testcase name="chain::ten" classname="model" time="0.1">
      <failure type="test failure">thread panicked</failure>
    </testcase>
    <testcase name="chain::tie" classname="model" time="0.1"></testcase>
  </testsuite>
</testsuites>"#;

    #[test]
    fn the_report_of_nextest_is_counted() {
        let tally = parse_report("unit", REPORT).unwrap();
        assert_eq!(tally.passed, 2);
        assert_eq!(tally.failed, ["model chain::ten"]);
        assert_eq!(parse_report("unit", "no report"), None);
    }
}
