//! What the lanes found, and the table that says so.

use std::collections::BTreeMap;
use std::fmt;

/// So many failures are shown with all their output. When more fail, it is for the same reason.
const WHOLE_FAILURES: usize = 20;

/// The counts of one lane.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) lane: String,
    pub(crate) passed: usize,
    /// What failed, each with what there is to say about it beyond its own output.
    pub(crate) failed: Vec<String>,
    /// How many tests were skipped for each missing feature.
    pub(crate) skipped: BTreeMap<String, usize>,
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
        tally.failed.push(reason.to_owned());
        tally
    }

    fn skips(&self) -> usize {
        self.skipped.values().sum()
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

    pub(crate) fn is_green(&self) -> bool {
        self.lanes.iter().all(|lane| lane.failed.is_empty())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = self.lanes.iter().flat_map(|lane| {
            let of = move |failure| (lane.lane.as_str(), failure);
            lane.failed.iter().map(of)
        });
        for (index, (lane, failure)) in failures.enumerate() {
            let failure: &String = failure;
            let shown = if index < WHOLE_FAILURES {
                failure.trim_end()
            } else {
                failure.lines().next().unwrap_or_default()
            };
            writeln!(f, "FAILED in {lane}: {shown}")?;
        }
        writeln!(f, "\nlane     passed  failed  skipped  skipped for")?;
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        for lane in &self.lanes {
            let features: Vec<_> = lane
                .skipped
                .iter()
                .map(|(feature, count)| format!("{feature} {count}"))
                .collect();
            let line = format!(
                "{:<7}  {:>6}  {:>6}  {:>7}  {}",
                lane.lane,
                lane.passed,
                lane.failed.len(),
                lane.skips(),
                features.join(", ")
            );
            writeln!(f, "{}", line.trim_end())?;
            passed += lane.passed;
            failed += lane.failed.len();
            skipped += lane.skips();
        }
        writeln!(f, "\n{passed} passed, {failed} failed, {skipped} skipped")
    }
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
    fn the_table_names_failures_and_closes_with_the_sums() {
        let mut table = Table::default();
        let mut host = Tally::new("host");
        host.passed = 40;
        host.skipped = count_skips("a\tExt\nb\tKprobe\nc\tExt\n");
        table.add(host);
        assert!(table.is_green());
        let mut old = Tally::new("6.1");
        old.passed = 42;
        old.failed.push("chain::order: timed out\n".into());
        table.extend(vec![old]);
        assert!(!table.is_green());
        assert_eq!(
            table.to_string(),
            "FAILED in 6.1: chain::order: timed out\n\
             \nlane     passed  failed  skipped  skipped for\n\
             host         40       0        3  Ext 2, Kprobe 1\n\
             6.1          42       1        0\n\
             \n82 passed, 1 failed, 3 skipped\n"
        );
    }
}
