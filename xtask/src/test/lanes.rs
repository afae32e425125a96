//! Lanes in guests: the kernel tests under other kernels.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::build::Built;
use super::close;
use super::guest::{Event, Outcome, SKIPS};
use super::tally::{Tally, count_skips};
use crate::initramfs::Content;
use crate::kernels::Version;
use crate::qemu::End;
use crate::screen::{self, Board};
use crate::sh;
use crate::vm::Run;
use crate::wire::Frame;

/// For one test, without the time in which the machine let the guest wait. Longer than `wait_until`
/// of the testkit is patient, whose message says more.
pub(super) const TEST_LIMIT: Duration = Duration::from_mins(7);
/// For all tests of one guest, likewise.
const GUEST_LIMIT: Duration = Duration::from_mins(40);
/// A guest that says nothing for longer than one test may take does not get to its end, likewise.
pub(super) const SILENCE: Duration = Duration::from_mins(9);
/// Guests that share the tests of a kernel.
const PARTS: usize = 2;

/// What who runs the tests may ask of those that kill, crowd and fail.
const ASKED: [&str; 4] = [
    "BPFMAN_SEED",
    "BPFMAN_KILLS",
    "BPFMAN_SECONDS",
    "BPFMAN_FAULTS",
];

/// On two cores, two guests of one processor each do the same work in a quarter less time than
/// guests of two. The newest kernel has two all the same: only there do processes really meet.
fn cpus(kernel: Version) -> u32 {
    if kernel == Version::V6_12 { 2 } else { 1 }
}

/// Runs the tests under each kernel, and counts. One guest works while `beside` does something that
/// leaves a processor idle, two from then on.
pub(super) fn run(
    kernels: &[Version],
    built: &Built,
    filter: &[String],
    board: &Board,
    beside: impl FnOnce(),
) -> Vec<Tally> {
    // In parts, so that no core waits long for the last guest.
    let jobs: Vec<_> = kernels
        .iter()
        .flat_map(|kernel| (0..PARTS).map(move |part| (*kernel, part)))
        .collect();
    let next = Mutex::new(jobs.into_iter());
    let parts = Mutex::new(Vec::new());
    let done = Mutex::new(Vec::new());
    let guests = || {
        loop {
            // Held only while a job is taken.
            let job = next.lock().ok().and_then(|mut jobs| jobs.next());
            let Some((kernel, part)) = job else {
                return;
            };
            let tally = board.work(kernel.name(), || run_part(kernel, part, built, filter));
            let Ok(mut parts) = parts.lock() else {
                return;
            };
            parts.push(tally);
            let own = parts.iter().filter(|part| part.lane == kernel.name());
            if own.clone().count() < PARTS {
                continue;
            }
            let mut whole = merge(kernel.name(), own);
            close(board, &mut whole);
            if let Ok(mut done) = done.lock() {
                done.push(whole);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(guests);
        beside();
        guests();
    });
    done.into_inner().unwrap_or_default()
}

pub(super) fn merge<'a>(lane: &str, parts: impl Iterator<Item = &'a Tally>) -> Tally {
    let mut whole = Tally::new(lane);
    for part in parts {
        whole.passed += part.passed;
        whole.failed.extend(part.failed.iter().cloned());
        for (feature, count) in &part.skipped {
            *whole.skipped.entry(feature.clone()).or_default() += count;
        }
        whole.worked += part.worked;
    }
    whole
}

fn run_part(kernel: Version, part: usize, built: &Built, filter: &[String]) -> Tally {
    let what = format!("part {} of {PARTS} on {}", part + 1, kernel.name());
    let begun = Instant::now();
    let mut tally = sh::step(&what, || boot(kernel, part, built, filter))
        .unwrap_or_else(|error| Tally::failure(kernel.name(), &format!("{error:#}")));
    tally.worked = begun.elapsed();
    tally
}

fn boot(kernel: Version, part: usize, built: &Built, filter: &[String]) -> Result<Tally> {
    let lane = kernel.name();
    let (limit, part) = (TEST_LIMIT.as_secs().to_string(), part.to_string());
    let parts = PARTS.to_string();
    let mut run = Run::new(kernel, &["/init", "guest-tests", "--limit", &limit]);
    let tests = built.tests.to_string_lossy();
    let words = ["--part", &part, "--parts", &parts, &tests];
    run.argv.extend(words.map(ToOwned::to_owned));
    run.argv.extend(filter.iter().cloned());
    let registry = sh::which("docker-registry").context("docker-registry is not installed")?;
    run.content = Content {
        programs: vec![
            built.tests.clone(),
            built.bpfman.clone(),
            built.daemon.clone(),
            registry,
        ],
        ..Content::default()
    };
    let (bpfman, daemon) = (
        built.bpfman.to_string_lossy(),
        built.daemon.to_string_lossy(),
    );
    run.env = [
        ("BPFMAN_BIN", &*bpfman),
        ("BPFMAN_RPC_BIN", &daemon),
        ("BPFMAN_LANE", lane),
        ("BPFMAN_SKIPS", SKIPS),
        ("RUST_BACKTRACE", "1"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    run.env.extend(ASKED.iter().filter_map(|name| {
        let value = std::env::var(name).ok()?;
        Some(((*name).to_owned(), value))
    }));
    run.fetch = vec![SKIPS.to_owned()];
    run.limit = GUEST_LIMIT;
    run.silence = SILENCE;
    run.cpus = cpus(kernel);
    let mut watch = Watch::new(lane);
    let end = run.boot(|frame| watch.frame(frame))?;
    let tally = watch.finish(&end);
    ensure!(
        watch.planned > 0 || !filter.is_empty() || !tally.failed.is_empty(),
        "there is no test in {}",
        built.tests.display()
    );
    Ok(tally)
}

/// Follows a guest through its tests.
#[derive(Debug)]
pub(super) struct Watch {
    tally: Tally,
    lane: String,
    planned: usize,
    ended: usize,
    running: Option<(String, Instant)>,
    line: Vec<u8>,
}

impl Watch {
    pub(super) fn new(lane: &str) -> Self {
        Self {
            tally: Tally::new(lane),
            lane: lane.to_owned(),
            planned: 0,
            ended: 0,
            running: None,
            line: Vec::new(),
        }
    }

    pub(super) fn frame(&mut self, frame: Frame) -> Result<()> {
        match frame {
            Frame::Stdout(bytes) => {
                self.line.extend(bytes);
                while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<_> = self.line.drain(..=end).collect();
                    self.event(serde_json::from_slice(&line)?);
                }
            }
            Frame::Stderr(bytes) => screen::say(String::from_utf8_lossy(&bytes).trim_end()),
            Frame::File { content, .. } => {
                self.tally.skipped = count_skips(&String::from_utf8_lossy(&content));
            }
            Frame::Ready | Frame::Failed(_) | Frame::Exit(_) => {}
        }
        Ok(())
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Planned(tests) => self.planned = tests,
            Event::Started(name) => self.running = Some((name, Instant::now())),
            Event::Ended {
                outcome,
                seconds,
                output,
            } => {
                let Some((name, _)) = self.running.take() else {
                    return;
                };
                self.ended += 1;
                let word = match outcome {
                    Outcome::Passed => "pass",
                    Outcome::Failed => "FAIL",
                    Outcome::TimeUp => "TIME",
                };
                let at = format!("({}/{})", self.ended, self.planned);
                tell(&format!(
                    "{word} [{seconds:7.3} s] {at} {} {name}",
                    self.lane
                ));
                if outcome == Outcome::Passed {
                    self.tally.passed += 1;
                    for figure in output.lines() {
                        screen::say(figure);
                    }
                } else {
                    let how = if outcome == Outcome::TimeUp {
                        "the time was up\n"
                    } else {
                        ""
                    };
                    tell(&output);
                    self.tally.fail_test(&name, &format!("{how}{output}"));
                }
            }
        }
    }

    /// A guest that died took the test with it that was running, and those that did not get their
    /// turn: none of them passed.
    pub(super) fn finish(&mut self, end: &End) -> Tally {
        let mut tally = self.tally.clone();
        let skips: usize = tally.skipped.values().sum();
        tally.passed = tally.passed.saturating_sub(skips);
        let reason = match end {
            End::Exit(0) if self.planned == self.ended => return tally,
            End::Exit(status) => format!("the runner in the guest ended with {status}"),
            End::NeverReady(reason) => format!("the guest was never ready: {reason}"),
            End::TimeUp(reason) | End::Hung(reason) | End::Broken(reason) => reason.clone(),
        };
        let left = self.planned.saturating_sub(self.ended);
        let during = self.running.as_ref().map_or_else(
            || "outside of a test".to_owned(),
            |(name, since)| format!("{name}, after {:.1} s", since.elapsed().as_secs_f64()),
        );
        let said = format!("{reason}\n{left} tests did not end");
        let again = format!("cargo xtask test --lane {}", self.lane);
        tally.fail(&during, &said, &again);
        tally
    }
}

/// A line for the log, where there is one.
fn tell(line: &str) {
    match screen::log() {
        Some(log) => log.write(line),
        None => screen::say(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(watch: &mut Watch, text: &str) {
        for piece in text.as_bytes().chunks(7) {
            watch.frame(Frame::Stdout(piece.to_vec())).unwrap();
        }
    }

    const TWO: &str = r#"{"Planned":2}
{"Started":"a"}
{"Ended":{"outcome":"Passed","seconds":0.5,"output":""}}
{"Started":"b"}
"#;

    #[test]
    fn a_whole_run_is_counted() {
        let mut watch = Watch::new("6.1");
        feed(&mut watch, TWO);
        feed(
            &mut watch,
            "{\"Ended\":{\"outcome\":\"Passed\",\"seconds\":1,\"output\":\"\"}}\n",
        );
        let path = SKIPS.to_owned();
        let content = b"b\tTcx\n".to_vec();
        watch.frame(Frame::File { path, content }).unwrap();
        let tally = watch.finish(&End::Exit(0));
        assert_eq!((tally.passed, tally.failed.len()), (1, 0));
        assert_eq!(tally.skipped, [("Tcx".to_owned(), 1)].into());
    }

    #[test]
    fn a_guest_that_dies_fails_the_test_it_was_at() {
        let mut watch = Watch::new("6.1");
        feed(&mut watch, TWO);
        let tally = watch.finish(&End::Broken("kernel panic".into()));
        assert_eq!(tally.passed, 1);
        let [failure] = &tally.failed[..] else {
            panic!("not one failure: {tally:?}");
        };
        assert!(failure.name.starts_with("b, after"), "{failure:?}");
        assert_eq!(failure.said, "kernel panic\n1 tests did not end");
    }

    #[test]
    fn a_runner_that_stops_early_is_no_success() {
        let mut watch = Watch::new("6.1");
        feed(&mut watch, "{\"Planned\":2}\n");
        assert_eq!(watch.finish(&End::Exit(0)).failed.len(), 1);
    }
}
