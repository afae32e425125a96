//! Tables of figures over a growing number of something, in Markdown.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::measure::{alone, peak, time};
use crate::sh;

/// Few runs: a curve has many points, and its shape is what counts.
const RUNS: usize = 5;

/// One table: what grows, and a line for each size.
pub(super) struct Curve {
    columns: Vec<&'static str>,
    lines: Vec<Vec<String>>,
}

impl Curve {
    pub(super) fn new(columns: &[&'static str]) -> Self {
        Self {
            columns: columns.to_vec(),
            lines: Vec::new(),
        }
    }

    pub(super) fn line(&mut self, size: usize, cells: Vec<String>) {
        let mut line = vec![size.to_string()];
        line.extend(cells);
        self.lines.push(line);
    }

    pub(super) fn show(&self, title: &str) {
        println!("\n{title}\n\n| {} |", self.columns.join(" | "));
        println!("|{}", "---:|".repeat(self.columns.len()));
        for line in &self.lines {
            println!("| {} |", line.join(" | "));
        }
    }
}

/// bpfman, or a rival of it.
#[derive(Clone, Copy)]
pub(super) struct Tool<'a>(pub(super) &'a Path);

impl Tool<'_> {
    pub(super) fn command(self, words: &str) -> Command {
        let mut command = Command::new(self.0);
        command.args(words.split_whitespace());
        command
    }

    /// What it prints.
    pub(super) fn does(self, words: &str) -> Result<String> {
        Ok(sh::output(&mut self.command(words))?.trim().to_owned())
    }

    /// The median time of a command that changes nothing.
    pub(super) fn looks(self, words: &str) -> Result<String> {
        Ok(cell(alone(RUNS, || Ok(time(&mut self.command(words))?.0))?))
    }

    /// The median times of a command, and of the one that takes its effect back: `undo` makes it
    /// from what the first one printed.
    pub(super) fn does_and_undoes(
        self,
        words: &str,
        undo: impl Fn(&str) -> Result<Command>,
    ) -> Result<[String; 2]> {
        let mut undone = Vec::new();
        let done = alone(RUNS, || {
            let (took, said) = time(&mut self.command(words))?;
            undone.push(time(&mut undo(&said)?)?.0);
            Ok(took)
        })?;
        // The first round warms the caches here, too.
        let mut undone = undone.into_iter();
        let undone = alone(RUNS, || Ok(undone.next().unwrap_or_default()))?;
        Ok([cell(done), cell(undone)])
    }

    /// Peak memory of a command.
    pub(super) fn takes(self, words: &str) -> Result<String> {
        let kib = peak(&mut self.command(words))?;
        Ok(format!("{:.1} MB", f64::from(u32::try_from(kib)?) / 1e3))
    }
}

fn cell(time: Duration) -> String {
    super::measure::milliseconds(time)
}
