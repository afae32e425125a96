//! Lanes that run on this machine, under nextest.

use std::path::Path;

use anyhow::{Context, Result};

use super::build::{Built, WHOLE};
use super::guest::figures;
use super::plan::Lane;
use super::tally::{Tally, count_skips};
use crate::{grpcio, screen, sh, tools};

/// Runs the lane and counts.
pub(super) fn run(lane: Lane, built: &Built, filter: &[String]) -> Tally {
    count(lane, built, filter)
        .unwrap_or_else(|error| Tally::failure(lane.name(), &format!("{error:#}")))
}

fn count(lane: Lane, built: &Built, filter: &[String]) -> Result<Tally> {
    let name = lane.name();
    let temp = tempfile::tempdir()?;
    let skips = temp.path().join("skips");
    // nextest keeps its reports here, whatever cargo's target directory is.
    let report = sh::repo().join("target/nextest/default/junit.xml");
    // A report that stays behind when nextest fails early would be taken for this run's.
    let _ = std::fs::remove_file(&report);
    let mut command = tools::NEXTEST.command()?;
    command
        .args(["nextest", "run", "--status-level", "pass"])
        .args(WHOLE)
        .args(filter);
    let tests = lane.filter().context("not a lane of nextest")?;
    command.args(["-E", tests]);
    if lane != Lane::Unit {
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
    // nextest ends in failure when a test did; the report says which.
    let ended = sh::run(&mut command);
    let mut tally = match read_report(name, &report) {
        Ok(tally) => tally,
        // It came to no test: what it said itself is the reason.
        Err(error) => return Err(ended.err().unwrap_or(error)),
    };
    tally.skipped = count_skips(&std::fs::read_to_string(&skips).unwrap_or_default());
    tally.passed = tally.passed.saturating_sub(tally.skipped.values().sum());
    match ended {
        Err(error) if tally.failed.is_empty() => Err(error),
        _ => Ok(tally),
    }
}

fn read_report(lane: &str, path: &Path) -> Result<Tally> {
    let report =
        std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse_report(lane, &report).context("understand nextest's report")
}

/// Reads the JUnit report: one `testcase` element a test, with a `failure` or `error` inside when
/// it did not pass, and what it printed.
fn parse_report(lane: &str, report: &str) -> Result<Tally> {
    let report = roxmltree::Document::parse(report)?;
    let mut tally = Tally::new(lane);
    let cases = report
        .descendants()
        .filter(|node| node.has_tag_name("testcase"));
    for case in cases {
        let printed = |tag: &str| -> String {
            let parts = case.children().filter(|node| node.has_tag_name(tag));
            parts.filter_map(|node| node.text()).collect()
        };
        let failure = case
            .children()
            .find(|node| node.has_tag_name("failure") || node.has_tag_name("error"));
        if let Some(failure) = failure {
            let name = case.attribute("name").context("a test without a name")?;
            let how = failure.attribute("type").unwrap_or("failed");
            let said = [printed("system-out"), printed("system-err")].concat();
            tally.fail_test(name, &format!("{how}\n{said}"));
        } else {
            tally.passed += 1;
            let printed = printed("system-out") + &printed("system-err");
            for figure in figures(&printed) {
                screen::say(figure);
            }
        }
    }
    Ok(tally)
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
      <system-out>running 1 test
</system-out>
      <system-err>thread panicked: 1 &lt; 2</system-err>
    </testcase>
    <testcase name="chain::tie" classname="model" time="0.1"></testcase>
  </testsuite>
</testsuites>"#;

    #[test]
    fn the_report_of_nextest_is_counted() {
        let tally = parse_report("unit", REPORT).unwrap();
        assert_eq!(tally.passed, 2);
        let [failure] = &tally.failed[..] else {
            panic!("not one failure: {tally:?}");
        };
        assert_eq!(failure.name, "chain::ten");
        assert_eq!(
            failure.said,
            "test failure\nrunning 1 test\nthread panicked: 1 < 2"
        );
        assert_eq!(failure.again, "cargo xtask test --lane unit chain::ten");
        assert!(parse_report("unit", "no report").is_err());
    }
}
