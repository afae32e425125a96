//! Where the words of a run go: to the terminal, or, for what works for a lane, into the lane's log,
//! of which the terminal shows the last line.

use std::cell::RefCell;
use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How often the lines on a terminal change.
const BLINK: Duration = Duration::from_millis(500);
/// How often something is said where there is no terminal.
const PULSE: Duration = Duration::from_mins(1);
/// As much of a log's end holds its last line.
const LAST_LINE: u64 = 4096;

thread_local! {
    /// The log that this thread writes to in place of the terminal.
    static LOG: RefCell<Option<Arc<Log>>> = const { RefCell::new(None) };
}

/// What one lane says, in a file.
#[derive(Debug)]
pub(crate) struct Log {
    lane: String,
    path: PathBuf,
    file: File,
}

impl Log {
    fn create(lane: &str, folder: &Path) -> Result<Self> {
        let path = folder.join(format!("{lane}.log"));
        let make = || {
            std::fs::create_dir_all(folder)?;
            // Appending, so that several processes can share it; what an earlier run said is gone.
            let file = File::options().create(true).append(true).open(&path)?;
            file.set_len(0).map(|()| file)
        };
        let file = make().with_context(|| format!("write {}", path.display()))?;
        Ok(Self {
            lane: lane.to_owned(),
            path,
            file,
        })
    }

    /// A descriptor for a child's output.
    pub(crate) fn stdio(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }

    /// Where what is written from now on begins.
    pub(crate) fn mark(&self) -> u64 {
        self.file.metadata().map_or(0, |file| file.len())
    }

    /// What was written since a mark.
    pub(crate) fn since(&self, mark: u64) -> String {
        read_from(&self.path, mark).unwrap_or_default()
    }

    /// Adds a line that only the reader of the log needs.
    pub(crate) fn write(&self, line: &str) {
        // A log that cannot be written (a full disk) is no reason to give up the tests.
        let _ = (&self.file).write_all(format!("{line}\n").as_bytes());
    }

    fn last_line(&self) -> String {
        let end = read_from(&self.path, self.mark().saturating_sub(LAST_LINE)).unwrap_or_default();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let said = |line: &String| line.chars().any(char::is_alphanumeric);
        end.lines().rev().map(words).find(said).unwrap_or_default()
    }
}

fn read_from(path: &Path, mark: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(mark))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The log of the lane that this thread works for; None where words go to the terminal.
pub(crate) fn log() -> Option<Arc<Log>> {
    LOG.with_borrow(Clone::clone)
}

/// Says a line about the way of the run. Where a terminal shows the lanes, it is part of that.
pub(crate) fn say(line: &str) {
    let Some(log) = log() else {
        eprintln!("{line}");
        return;
    };
    log.write(line);
    if !std::io::stderr().is_terminal() {
        eprintln!("{:<7} {line}", log.lane);
    }
}

/// The lanes that run at the same time, a line each.
#[derive(Debug)]
pub(crate) struct Board {
    rows: Arc<Vec<Row>>,
    bars: MultiProgress,
    stop: Option<Sender<()>>,
    ticker: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Row {
    log: Arc<Log>,
    bar: ProgressBar,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running(Instant),
    Ended(Duration),
}

impl Board {
    /// A line for each of these lanes; their logs go to `folder`.
    pub(crate) fn new(lanes: &[&str], folder: &Path) -> Result<Self> {
        let bars = MultiProgress::new();
        let row = |lane: &&str| {
            let bar = bars.add(ProgressBar::no_length());
            bar.set_style(ProgressStyle::with_template("{prefix:<8}{wide_msg}")?);
            bar.set_prefix((*lane).to_owned());
            bar.set_message("waiting");
            Ok(Row {
                log: Arc::new(Log::create(lane, folder)?),
                bar,
                state: Mutex::new(State::Waiting),
            })
        };
        let rows: Result<Vec<_>> = lanes.iter().map(row).collect();
        let rows = Arc::new(rows?);
        let (stop, stopped) = channel();
        let shown = Arc::clone(&rows);
        let ticker = std::thread::spawn(move || {
            let is_terminal = std::io::stderr().is_terminal();
            let pause = if is_terminal { BLINK } else { PULSE };
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                for row in shown.iter() {
                    row.show(is_terminal);
                }
            }
        });
        Ok(Self {
            rows,
            bars,
            stop: Some(stop),
            ticker: Some(ticker),
        })
    }

    /// Does something for a lane: what this thread says goes to the lane's log.
    ///
    /// A lane that is worked for in several threads runs from the first beginning to [`Self::end`].
    pub(crate) fn work<T>(&self, lane: &str, work: impl FnOnce() -> T) -> T {
        let Some(row) = self.rows.iter().find(|row| row.log.lane == lane) else {
            return work();
        };
        if let State::Waiting = row.state() {
            row.set(State::Running(Instant::now()));
        }
        let before = LOG.replace(Some(Arc::clone(&row.log)));
        let done = work();
        LOG.set(before);
        done
    }

    /// A lane has ended, with this to say. Answers how long it took.
    pub(crate) fn end(&self, lane: &str, outcome: &str) -> Duration {
        let Some(row) = self.rows.iter().find(|row| row.log.lane == lane) else {
            return Duration::ZERO;
        };
        let took = match row.state() {
            State::Waiting => Duration::ZERO,
            State::Running(since) => since.elapsed(),
            State::Ended(took) => took,
        };
        row.set(State::Ended(took));
        let said = format!("{}  {outcome}", clock(took));
        row.bar.finish_with_message(said.clone());
        if !std::io::stderr().is_terminal() {
            eprintln!("{lane:<7} ended after {said}");
        }
        took
    }

    /// Says something while the lines stay below it.
    pub(crate) fn tell(&self, text: &str) {
        self.bars.suspend(|| eprintln!("{text}"));
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(ticker) = self.ticker.take() {
            // It only shows; what became of it changes nothing.
            let _ = ticker.join();
        }
    }
}

impl Row {
    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn show(&self, is_terminal: bool) {
        let State::Running(since) = self.state() else {
            return;
        };
        let said = format!("{}  {}", clock(since.elapsed()), self.log.last_line());
        if is_terminal {
            self.bar.set_message(said);
        } else {
            eprintln!("{:<7} {said}", self.log.lane);
        }
    }
}

/// Minutes and seconds.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{:>2}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lane_says_goes_to_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let board = Board::new(&["unit", "host"], folder.path()).unwrap();
        board.work("host", || {
            say("one");
            let log = log().unwrap();
            let mark = log.mark();
            log.write("  PASS   [ 0.1 s]  (1/2)  two\n────────\n");
            assert_eq!(
                log.since(mark),
                "  PASS   [ 0.1 s]  (1/2)  two\n────────\n\n"
            );
            assert_eq!(log.last_line(), "PASS [ 0.1 s] (1/2) two");
        });
        assert!(log().is_none(), "this thread works for no lane any more");
        board.end("host", "2 passed");
        drop(board);
        let read = |lane| std::fs::read_to_string(folder.path().join(lane)).unwrap();
        assert!(read("host.log").starts_with("one\n  PASS"));
        assert_eq!(read("unit.log"), "");
    }

    #[test]
    fn a_log_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        for word in ["old", "new"] {
            let log = Log::create("unit", folder.path()).unwrap();
            log.write(word);
            assert_eq!(log.since(0), format!("{word}\n"));
        }
    }

    #[test]
    fn times_are_minutes_and_seconds() {
        assert_eq!(clock(Duration::from_secs(65)), " 1:05");
        assert_eq!(clock(Duration::from_mins(70)), "70:00");
    }
}
