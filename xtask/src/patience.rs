//! Time that stands still while the machine lets a process wait for a processor: by it, a guest that
//! is slow because others are busy is told from one that hangs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a process has had the chance to work, and how long it had to wait for that.
#[derive(Debug)]
pub(crate) struct Patience {
    pid: u32,
    looked: Instant,
    /// How long each thread has waited on a run queue, in nanoseconds.
    queued: BTreeMap<String, u64>,
    own: Duration,
    waited: Duration,
}

impl Patience {
    /// Begins to count for a process.
    pub(crate) fn with(pid: u32) -> Self {
        Self {
            pid,
            looked: Instant::now(),
            queued: queued(pid),
            own: Duration::ZERO,
            waited: Duration::ZERO,
        }
    }

    /// Adds what has passed since the last look. The shorter the time between two looks, the more
    /// is right.
    pub(crate) fn look(&mut self) {
        let (now, queued) = (Instant::now(), queued(self.pid));
        let passed = now - self.looked;
        // One thread that cannot go on keeps the others: it is the longest wait that counts.
        let waits = queued.iter().map(|(thread, waited)| {
            let before = self.queued.get(thread).unwrap_or(waited);
            Duration::from_nanos(waited.saturating_sub(*before))
        });
        let waited = waits.max().unwrap_or_default().min(passed);
        self.own += passed.saturating_sub(waited);
        self.waited += waited;
        (self.looked, self.queued) = (now, queued);
    }

    /// The time without the waits.
    pub(crate) fn own(&self) -> Duration {
        self.own
    }

    /// All waits together.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }
}

/// The second number of each thread's `schedstat` (Documentation/scheduler/sched-stats.rst). A kernel
/// without it (`CONFIG_SCHED_INFO`) tells no waits, and all time counts.
fn queued(pid: u32) -> BTreeMap<String, u64> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let of = |thread: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let waited = stat.split_whitespace().nth(1)?.parse().ok()?;
        Some((thread.file_name().to_string_lossy().into_owned(), waited))
    };
    threads.filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Pinned together to one processor, three loops get a third of it each.
    #[test]
    fn time_stands_still_for_who_is_kept_waiting() {
        let mut loops: Vec<_> = (0..3)
            .map(|_| {
                let mut busy = Command::new("taskset");
                busy.args(["-c", "0", "sh", "-c", "while :; do :; done"]);
                busy.spawn().unwrap()
            })
            .collect();
        let begun = Instant::now();
        let mut patience = Patience::with(loops[0].id());
        // As long as it takes: others may be at work on this processor as well.
        while patience.waited() < Duration::from_millis(500) {
            std::thread::sleep(Duration::from_millis(20));
            patience.look();
        }
        let sum = patience.own() + patience.waited();
        let all = begun.elapsed();
        for busy in &mut loops {
            busy.kill().unwrap();
            busy.wait().unwrap();
        }
        assert!(sum <= all, "{sum:?} of {all:?}");
        assert!(patience.own() < all, "{patience:?}");
    }

    #[test]
    fn time_passes_for_who_sleeps() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let mut patience = Patience::with(sleeper.id());
        std::thread::sleep(Duration::from_millis(300));
        patience.look();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        // It never wants the processor, so nothing is taken off.
        assert_eq!(patience.waited(), Duration::ZERO);
        assert!(patience.own() >= Duration::from_millis(300));
    }
}
