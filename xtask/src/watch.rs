//! Commands that take long and say much. Who looks at a terminal sees their newest line; who reads
//! an error sees their last ones.

use std::collections::VecDeque;
use std::io::{BufReader, IsTerminal as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::screen;

/// Lines that an error shows.
const LAST: usize = 12;
/// Where there is no terminal, a line so often shows that it goes on.
const SOMETIMES: Duration = Duration::from_secs(30);
/// Columns of the line that changes; a longer one would not go away.
const WIDTH: usize = 78;

/// Runs a command, of which only the newest line is shown. In errors it goes by `name`.
///
/// It is taken, not borrowed: while it is there, the end of its output does not come.
pub(crate) fn run(name: &str, mut command: Command) -> Result<()> {
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("make a pipe")?)
        .stderr(writer);
    let mut child = command.spawn().with_context(|| format!("start {name}"))?;
    drop(command);
    let last = follow(BufReader::new(reader));
    let status = child.wait().with_context(|| format!("wait for {name}"))?;
    if status.success() {
        return Ok(());
    }
    bail!("{name} ended with {status}, and said at last:{last}")
}

/// Shows what is said until its end; returns the last lines, indented.
fn follow(mut reader: impl std::io::BufRead) -> String {
    let terminal = std::io::stderr().is_terminal();
    let log = screen::log();
    let mut last = VecDeque::new();
    let mut shown = Instant::now();
    let mut bytes = Vec::new();
    // An error ends it as the end does: how the command ended counts.
    while reader
        .read_until(b'\n', &mut bytes)
        .is_ok_and(|read| read > 0)
    {
        let text = String::from_utf8_lossy(&bytes);
        // A line that was written again and again: what it said at last.
        let line = text.trim_end().rsplit('\r').next().unwrap_or_default();
        if !line.is_empty() {
            if let Some(log) = &log {
                log.write(line);
            } else if terminal {
                // The cursor stays at the beginning, for whatever else is printed.
                let line: String = line.chars().take(WIDTH).collect();
                eprint!("\x1b[K{line}\r");
            } else if shown.elapsed() > SOMETIMES {
                eprintln!("   … {line}");
                shown = Instant::now();
            }
            last.push_back(format!("\n  {line}"));
            if last.len() > LAST {
                last.pop_front();
            }
        }
        bytes.clear();
    }
    if terminal && log.is_none() {
        eprint!("\x1b[K");
    }
    last.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn an_error_has_the_last_lines_of_both_outputs() {
        assert!(run("it", sh("echo fine")).is_ok());
        let error = run("it", sh("seq 20; echo gone >&2; exit 100")).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("exit status: 100"), "{said}");
        assert!(said.ends_with("\n  20\n  gone"), "{said}");
        assert!(!said.contains("\n  9\n"), "{said}");
    }
}
