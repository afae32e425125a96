//! Inside a guest: runs the tests of one binary, each in a process of its own, and tells the host
//! one JSON line for each event on standard output.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::guest::waited;
use crate::sh;

/// Where skipping tests leave their line in the guest.
pub(crate) const SKIPS: &str = "/tmp/xtask-skips";

/// Options of the hidden command `guest-tests`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The test binary
    binary: PathBuf,
    /// Seconds for one test, without those in which the host let the guest wait
    #[arg(long)]
    limit: u64,
    /// Which of the parts
    #[arg(long, default_value_t = 0)]
    part: usize,
    /// Number of parts
    #[arg(long, default_value_t = 1)]
    parts: usize,
    /// Only tests whose names begin so
    #[arg(long, default_value = "")]
    module: String,
    /// Parts of names
    filter: Vec<String>,
}

/// One line for the host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    /// How many tests will run here.
    Planned(usize),
    /// A test begins.
    Started(String),
    /// The test that began last has ended.
    Ended {
        outcome: Outcome,
        seconds: f64,
        /// What it printed, when it failed; its figures, when it passed.
        output: String,
    },
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    TimeUp,
}

/// Runs the tests; their failures are events, not errors.
pub(crate) fn run(args: &Args) -> Result<()> {
    let listed = sh::output(Command::new(&args.binary).args(["--list", "--format", "terse"]))?;
    let chosen = choose(&listed, args);
    tell(&Event::Planned(chosen.len()))?;
    for name in chosen {
        tell(&Event::Started(name.to_owned()))?;
        tell(&run_one(
            &args.binary,
            name,
            Duration::from_secs(args.limit),
        )?)?;
    }
    Ok(())
}

fn choose<'a>(listed: &'a str, args: &Args) -> Vec<&'a str> {
    listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(|name| name.starts_with(&args.module))
        .filter(|name| {
            args.filter.is_empty() || args.filter.iter().any(|part| name.contains(part.as_str()))
        })
        .enumerate()
        .filter(|(index, _)| index % args.parts == args.part)
        .map(|(_, name)| name)
        .collect()
}

fn run_one(binary: &Path, name: &str, limit: Duration) -> Result<Event> {
    let start = Instant::now();
    // A file, not a pipe: what a test leaves running in the background cannot keep it open.
    let said = Path::new("/tmp/xtask-output");
    let output = File::create(said).context("make a file for the output")?;
    let mut child = Command::new(binary)
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .arg("--include-ignored")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {}", binary.display()))?;
    let group = Pid::from_child(&child);
    let before = waited();
    let mut end = start + limit;
    let outcome = loop {
        if let Some(status) = child.try_wait()? {
            break if status.success() {
                Outcome::Passed
            } else {
                Outcome::Failed
            };
        }
        if Instant::now() > end {
            // The time in which the host let this guest wait was not the test's.
            end = start + limit + waited().saturating_sub(before);
            if Instant::now() > end {
                break Outcome::TimeUp;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
    let said = String::from_utf8_lossy(&std::fs::read(said)?).into_owned();
    let output = match outcome {
        Outcome::Passed => figures(&said).collect::<Vec<_>>().join("\n"),
        Outcome::Failed | Outcome::TimeUp => said,
    };
    Ok(Event::Ended {
        outcome,
        seconds: start.elapsed().as_secs_f64(),
        output,
    })
}

/// The lines by which a test tells what it measured.
pub(crate) fn figures(said: &str) -> impl Iterator<Item = &str> {
    said.lines().filter(|line| line.starts_with("figure: "))
}

fn tell(event: &Event) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, event)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_every_test_once() {
        let listed = "a::one: test\na::two: test\nb::one: test\nspeed: benchmark\n";
        let args = |part, filter: &[&str]| Args {
            binary: "tests".into(),
            limit: 1,
            part,
            parts: 2,
            module: String::new(),
            filter: filter.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(choose(listed, &args(0, &[])), ["a::one", "b::one"]);
        assert_eq!(choose(listed, &args(1, &[])), ["a::two"]);
        assert_eq!(choose(listed, &args(0, &["one"])), ["a::one"]);
        assert_eq!(choose(listed, &args(1, &["one"])), ["b::one"]);
    }

    #[test]
    fn a_test_that_hangs_is_ended_and_told() {
        let sleeper = tempfile::tempdir().unwrap();
        let script = sleeper.path().join("tests");
        std::fs::write(&script, "#!/bin/sh\necho begin\nsleep 60\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).unwrap();
        let event = run_one(&script, "hang", Duration::from_millis(300)).unwrap();
        let Event::Ended {
            outcome, output, ..
        } = event
        else {
            panic!("not an end: {event:?}");
        };
        assert_eq!(outcome, Outcome::TimeUp);
        assert_eq!(output, "begin\n");
    }
}
