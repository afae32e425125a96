//! Medians of whole processes.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::sh;

/// Medians of two rivals that took turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) ours: Duration,
    pub(super) theirs: Duration,
}

impl Pair {
    pub(super) fn ratio(self) -> f64 {
        self.ours.as_secs_f64() / self.theirs.as_secs_f64()
    }
}

/// Runs both in turn and takes the median of each. Each answers the time that counts, so that what
/// it cleans up afterwards does not.
pub(super) fn pair(
    runs: usize,
    ours: impl FnMut() -> Result<Duration>,
    theirs: impl FnMut() -> Result<Duration>,
) -> Result<Pair> {
    turns(runs, ours, theirs, median)
}

/// Runs both in turn and takes the fastest of each: for a short loop, whose time is its own or
/// longer by what the machine did beside it.
pub(super) fn fastest(
    runs: usize,
    ours: impl FnMut() -> Result<Duration>,
    theirs: impl FnMut() -> Result<Duration>,
) -> Result<Pair> {
    let least = |times: &mut [Duration]| times.iter().min().copied().unwrap_or_default();
    turns(runs, ours, theirs, least)
}

fn turns(
    runs: usize,
    mut ours: impl FnMut() -> Result<Duration>,
    mut theirs: impl FnMut() -> Result<Duration>,
    pick: impl Fn(&mut [Duration]) -> Duration,
) -> Result<Pair> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    // The first round warms the caches.
    for round in 0..=runs {
        let times = (ours()?, theirs()?);
        if round > 0 {
            a.push(times.0);
            b.push(times.1);
        }
    }
    Ok(Pair {
        ours: pick(&mut a),
        theirs: pick(&mut b),
    })
}

/// The medians over several pairs.
pub(super) fn medians(times: usize, mut run: impl FnMut() -> Result<Pair>) -> Result<Pair> {
    let pairs = (0..times).map(|_| run()).collect::<Result<Vec<_>>>()?;
    let of = |side: fn(&Pair) -> Duration| median(&mut pairs.iter().map(side).collect::<Vec<_>>());
    Ok(Pair {
        ours: of(|pair| pair.ours),
        theirs: of(|pair| pair.theirs),
    })
}

/// The median of some runs of one command.
pub(super) fn alone(runs: usize, mut run: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    let mut times = (0..=runs).map(|_| run()).collect::<Result<Vec<_>>>()?;
    Ok(median(&mut times[1..]))
}

/// Time from start to end of a command that must succeed, and what it printed.
pub(super) fn time(command: &mut Command) -> Result<(Duration, String)> {
    let start = std::time::Instant::now();
    let output = sh::output(command)?;
    Ok((start.elapsed(), output.trim().to_owned()))
}

/// Peak resident memory of a command in KiB, from wait4 of a small parent: a child begins with its
/// parent's peak.
pub(super) fn peak(command: &mut Command) -> Result<u64> {
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-f", "%M"]).arg(command.get_program());
    timed.args(command.get_args());
    let set = command.get_envs();
    timed.envs(set.filter_map(|(name, value)| Some((name, value?))));
    let output = timed.output().context("start /usr/bin/time")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command:?}: {said}");
    let last = said.trim().lines().last().unwrap_or_default();
    last.parse().with_context(|| format!("read '{said}'"))
}

pub(super) fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
