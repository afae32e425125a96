//! What the lanes found, and the table that says so.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::plan::Times;
use crate::screen::clock;

/// So many failures are shown with what they said. When more fail, it is for the same reason.
const SHOWN: usize = 20;
/// So many lines of each: the whole is in the lane's log.
const LINES: usize = 25;
/// So many of them are kept for what happened before a panic.
const BEFORE: usize = 8;

/// Something that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Name of the test or check.
    pub(crate) name: String,
    /// What it said, as far as it is known.
    pub(crate) said: String,
    /// The command that runs it again.
    pub(crate) again: String,
}

/// The counts of one lane.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) lane: String,
    pub(crate) passed: usize,
    pub(crate) failed: Vec<Failure>,
    /// How many tests were skipped for each missing feature.
    pub(crate) skipped: BTreeMap<String, usize>,
    /// From its beginning to its end.
    pub(crate) took: Duration,
    /// The time of all its parts, also of those that ran at the same time.
    pub(crate) worked: Duration,
}

impl Tally {
    pub(crate) fn new(lane: &str) -> Self {
        Self {
            lane: lane.to_owned(),
            ..Self::default()
        }
    }

    /// A lane that could not run at all.
    pub(crate) fn failure(lane: &str, reason: &str) -> Self {
        let mut tally = Self::new(lane);
        let again = format!("cargo xtask test --lane {lane}");
        tally.fail("the lane itself", reason, &again);
        tally
    }

    /// Adds a failure that another command than the lane's shows again.
    pub(crate) fn fail(&mut self, name: &str, said: &str, again: &str) {
        self.failed.push(Failure {
            name: name.to_owned(),
            said: said.to_owned(),
            again: again.to_owned(),
        });
    }

    /// Adds a test that failed.
    pub(crate) fn fail_test(&mut self, name: &str, said: &str) {
        let again = format!("cargo xtask test --lane {} {name}", self.lane);
        self.fail(name, said, &again);
    }

    fn skips(&self) -> usize {
        self.skipped.values().sum()
    }

    /// The counts in words.
    pub(crate) fn summary(&self) -> String {
        let mut words = vec![format!("{} passed", self.passed)];
        for (count, what) in [(self.failed.len(), "FAILED"), (self.skips(), "skipped")] {
            if count > 0 {
                words.push(format!("{count} {what}"));
            }
        }
        words.join(", ")
    }
}

/// Counts the lines `test-name<TAB>feature` that skipping tests leave.
pub(crate) fn count_skips(lines: &str) -> BTreeMap<String, usize> {
    let mut features = BTreeMap::new();
    let named: BTreeMap<_, _> = lines
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .collect();
    for feature in named.values() {
        *features.entry((*feature).to_owned()).or_default() += 1;
    }
    features
}

/// All lanes of a run.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lanes: Vec<Tally>,
}

impl Table {
    pub(crate) fn add(&mut self, tally: Tally) {
        self.lanes.push(tally);
    }

    pub(crate) fn extend(&mut self, tallies: Vec<Tally>) {
        self.lanes.extend(tallies);
    }

    /// Remembers how long the lanes took.
    pub(super) fn note(&self, times: &mut Times) {
        for lane in self.lanes.iter().filter(|lane| !lane.took.is_zero()) {
            times.note(&lane.lane, lane.took.max(lane.worked));
        }
    }

    pub(crate) fn is_green(&self) -> bool {
        self.lanes.iter().all(|lane| lane.failed.is_empty())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nlane     passed  failed  skipped   time  skipped for")?;
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        for lane in &self.lanes {
            let features: Vec<_> = lane
                .skipped
                .iter()
                .map(|(feature, count)| format!("{feature} {count}"))
                .collect();
            let line = format!(
                "{:<7}  {:>6}  {:>6}  {:>7}  {}  {}",
                lane.lane,
                lane.passed,
                lane.failed.len(),
                lane.skips(),
                clock(lane.took),
                features.join(", ")
            );
            writeln!(f, "{}", line.trim_end())?;
            passed += lane.passed;
            failed += lane.failed.len();
            skipped += lane.skips();
        }
        self.failures(f)?;
        writeln!(f, "\n{passed} passed, {failed} failed, {skipped} skipped")
    }
}

impl Table {
    fn failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = self.lanes.iter().flat_map(|lane| {
            let of = move |failure| (lane.lane.as_str(), failure);
            lane.failed.iter().map(of)
        });
        for (index, (lane, failure)) in failures.enumerate() {
            let failure: &Failure = failure;
            writeln!(f, "\nFAILED in {lane}: {}", failure.name)?;
            if index < SHOWN {
                for line in reason(&failure.said) {
                    writeln!(f, "  | {line}")?;
                }
            }
            writeln!(f, "  again: {}", failure.again)?;
        }
        Ok(())
    }
}

/// Of what a failure said, the lines around its panic, or the last ones; without the frames of
/// backtraces.
fn reason(said: &str) -> Vec<&str> {
    let lines: Vec<_> = said.lines().filter(|line| !is_frame(line)).collect();
    let panic = lines.iter().position(|line| line.contains("panicked at "));
    let last = lines.len().saturating_sub(LINES);
    let from = panic.map_or(last, |panic| panic.saturating_sub(BEFORE).min(last));
    lines.into_iter().skip(from).take(LINES).collect()
}

/// `  12: function`, `     at file:line:column`, and what stands around them.
fn is_frame(line: &str) -> bool {
    let line = line.trim_start();
    let number = line.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let is_numbered = number.len() < line.len() && number.starts_with(": ");
    let words = [
        "at /",
        "at ./",
        "stack backtrace:",
        "note: Some details are",
        "note: run with",
    ];
    line.is_empty() || is_numbered || words.iter().any(|word| line.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_are_counted_by_feature_and_once_a_test() {
        let lines = "chain::order\tExt\nchain::ten\tExt\nchain::ten\tExt\nprobe::ret\tKprobe\n";
        let counted = count_skips(lines);
        assert_eq!(counted, [("Ext".into(), 2), ("Kprobe".into(), 1)].into());
    }

    #[test]
    fn the_table_is_followed_by_each_failures_last_lines_and_the_sums() {
        let mut table = Table::default();
        let mut host = Tally::new("host");
        host.passed = 40;
        host.skipped = count_skips("a\tExt\nb\tKprobe\nc\tExt\n");
        host.took = Duration::from_secs(65);
        table.add(host);
        assert!(table.is_green());
        let mut old = Tally::new("6.1");
        old.passed = 42;
        let said: Vec<_> = (0..40).map(|line| format!("line {line}\n")).collect();
        old.fail_test("chain::order", &said.concat());
        table.extend(vec![old, Tally::failure("5.10", "no kernel\n")]);
        assert!(!table.is_green());
        let last: Vec<_> = (15..40).map(|line| format!("  | line {line}\n")).collect();
        let last = last.concat();
        assert_eq!(
            table.to_string(),
            format!(
                "
lane     passed  failed  skipped   time  skipped for
host         40       0        3   1:05  Ext 2, Kprobe 1
6.1          42       1        0   0:00
5.10          0       1        0   0:00

FAILED in 6.1: chain::order
{last}  again: cargo xtask test --lane 6.1 chain::order

FAILED in 5.10: the lane itself
  | no kernel
  again: cargo xtask test --lane 5.10

82 passed, 2 failed, 3 skipped
"
            )
        );
    }

    #[test]
    fn the_reason_is_the_panic_without_its_frames() {
        let before: Vec<_> = (0..20).map(|line| format!("$ command {line}\n")).collect();
        let before = before.concat();
        let after: Vec<_> = (0..20).map(|line| format!("+ pin {line}\n")).collect();
        let after = after.concat();
        let said = format!(
            "{before}thread 'main' panicked at tests/smoke.rs:13:5:\n  left: 1\n right: 2\n\
             stack backtrace:\n   0: core::panicking\n             at /rustc/x.rs:1:2\n\
             note: Some details are omitted\n\n{after}"
        );
        let shown = reason(&said);
        assert_eq!(shown[0], "$ command 12");
        let panic = "thread 'main' panicked at tests/smoke.rs:13:5:";
        assert_eq!(shown[8..12], [panic, "  left: 1", " right: 2", "+ pin 0"]);
        assert_eq!(shown.len(), LINES);
        // Where less follows, more of what was before is shown.
        let shown = reason(said.split("+ pin").next().unwrap_or_default());
        assert_eq!(shown[0], "$ command 0");
        assert_eq!(shown.len(), 23);
    }

    #[test]
    fn a_summary_names_what_is_not_zero() {
        let mut tally = Tally::new("host");
        tally.passed = 3;
        assert_eq!(tally.summary(), "3 passed");
        tally.fail_test("one", "");
        tally.skipped.insert("Ext".into(), 2);
        assert_eq!(tally.summary(), "3 passed, 1 FAILED, 2 skipped");
    }
}
