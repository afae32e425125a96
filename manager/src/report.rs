//! What people read of an error: the same words on every front end.

use std::{error, fmt};

use crate::Error;

/// How many lines of a verifier's log are shown unless all are wanted. The last ones say where and
/// why it gave up.
const LOG_LINES: usize = 12;

/// A verb that failed, in words: what failed and why, what caused it, and what can be done.
#[derive(Debug)]
pub struct Report<'a> {
    /// What was tried on what: `cannot unload 17`.
    pub doing: &'a str,
    /// Why not.
    pub error: &'a Error,
    /// Show the verifier's log from its first line.
    pub whole_log: bool,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = self.error.hint();
        let log = self.error.verifier_log();
        match log.filter(|log| !log.trim().is_empty()) {
            Some(log) => {
                headline(f, self.doing, self.error)?;
                say_hint(f, hint.as_deref())?;
                write_log(f, log, self.whole_log)
            }
            None => explain(f, self.doing, self.error, hint.as_deref()),
        }
    }
}

/// What failed, why, and what can be done about it.
pub fn explain(
    f: &mut impl fmt::Write,
    doing: &str,
    error: &dyn error::Error,
    hint: Option<&str>,
) -> fmt::Result {
    headline(f, doing, error)?;
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = error.to_string();
        // Some messages end with their cause, because they would say too little without it.
        if !said.ends_with(&why) {
            writeln!(f, "caused by: {}", one_paragraph(&why))?;
            said = why;
        }
        cause = error.source();
    }
    say_hint(f, hint)
}

/// An error with all its causes, for a remark.
pub(crate) fn in_one_line(error: &dyn error::Error) -> String {
    let (mut said, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        let why = error.to_string();
        if !said.ends_with(&why) {
            said = format!("{said}: {why}");
        }
        cause = error.source();
    }
    said
}

/// What failed. Alone where a log of the verifier follows: the error number that comes with one
/// (permission denied, invalid argument) only misleads.
fn headline(f: &mut impl fmt::Write, doing: &str, error: &dyn error::Error) -> fmt::Result {
    writeln!(f, "error: {doing}: {}", one_paragraph(&error.to_string()))
}

fn say_hint(f: &mut impl fmt::Write, hint: Option<&str>) -> fmt::Result {
    hint.map_or(Ok(()), |hint| writeln!(f, "hint: {}", one_paragraph(hint)))
}

/// Further lines are set in, so that each line at the margin is a statement of its own. Names may
/// come from strangers: nothing in them may speak to the terminal.
pub fn one_paragraph(text: &str) -> String {
    let mut plain = String::new();
    for c in text.trim_end().chars() {
        match c {
            '\n' => plain.push_str("\n  "),
            '\t' => plain.push(c),
            c if c.is_control() => plain.extend(c.escape_debug()),
            c => plain.push(c),
        }
    }
    plain
}

/// The end of a verifier's log, or all of it.
pub fn write_log(f: &mut impl fmt::Write, log: &str, whole: bool) -> fmt::Result {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let left_out = if whole {
        0
    } else {
        lines.len().saturating_sub(LOG_LINES)
    };
    match left_out {
        0 => writeln!(f, "verifier log:")?,
        1 => writeln!(
            f,
            "verifier log (1 line left out, --verifier-log shows it):"
        )?,
        n => writeln!(
            f,
            "verifier log ({n} lines left out, --verifier-log shows them):"
        )?,
    }
    lines
        .iter()
        .skip(left_out)
        .try_for_each(|line| writeln!(f, "  {line}"))
}
