//! What is costly to get and outlives a checkout. One gets it, and whoever needs the same meanwhile
//! waits for that one: another thread, another run, a run of another checkout.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{screen, sh};

/// How often a lock that somebody else has is looked at.
const PAUSE: Duration = Duration::from_millis(200);
/// How often who waits says so.
const REMINDER: Duration = Duration::from_mins(1);
/// Locks on what belongs to the machine and not to one cache.
const OF_MACHINE: &str = "/run/lock/bpfman-xtask";

/// What `find` sees at `place` in the cache. Where it sees nothing that can be used, `fill` makes it
/// in a folder of its own and returns its path there; it comes to its place when it is whole.
pub(crate) fn get<T>(
    place: &str,
    what: &str,
    find: impl Fn(&Path) -> Result<T>,
    fill: impl FnOnce(&Path) -> Result<PathBuf>,
) -> Result<T> {
    get_in(&sh::cache_dir()?, place, what, find, fill)
}

fn get_in<T>(
    cache: &Path,
    place: &str,
    what: &str,
    find: impl Fn(&Path) -> Result<T>,
    fill: impl FnOnce(&Path) -> Result<PathBuf>,
) -> Result<T> {
    let path = cache.join(place);
    if let Ok(found) = find(&path) {
        return Ok(found);
    }
    let alone = Alone::begin(&cache.join("locks"), cache, &place.replace('/', "-"), what)?;
    let unusable = match find(&path) {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    let old = path.symlink_metadata().is_ok();
    if old {
        let path = path.display();
        screen::say(&format!(
            "── {path} cannot be used and is made anew: {unusable:#}"
        ));
    }
    sh::step(what, || {
        let new = fill(alone.folder())?;
        if old {
            std::fs::rename(&path, alone.folder().join("replaced"))
                .with_context(|| format!("move {} away", path.display()))?;
        }
        let parent = path.parent().unwrap_or(cache);
        std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        // The name appears only when all is there: half of a thing is never taken for a whole one.
        std::fs::rename(new, &path).with_context(|| format!("fill {}", path.display()))
    })?;
    find(&path)
}

/// The right to be the only one that does a certain thing, and a folder to do it in. Both end with
/// it, and the right also with the process.
#[derive(Debug)]
pub(crate) struct Alone {
    folder: PathBuf,
    // Kept open: closing it gives the right away.
    _lock: File,
}

impl Alone {
    /// Waits for whoever changes the same of the machine, whatever cache they use.
    pub(crate) fn on_machine(name: &str, what: &str) -> Result<Self> {
        Self::begin(Path::new(OF_MACHINE), &sh::cache_dir()?, name, what)
    }

    fn begin(locks: &Path, cache: &Path, name: &str, what: &str) -> Result<Self> {
        std::fs::create_dir_all(locks).with_context(|| format!("make {}", locks.display()))?;
        let lock = lock(&locks.join(name), what)?;
        let folder = cache.join("tmp").join(name);
        // Whoever had it before may have been killed.
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("empty {}", folder.display()));
            }
            _ => {}
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    /// Empty at the beginning, and on the file system of the cache.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("warning: cannot remove {}: {error}", self.folder.display());
        }
    }
}

/// Opens the file anew for each caller, so that threads keep each other out as processes do.
fn lock(path: &Path, what: &str) -> Result<File> {
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    wait(what, || match file.try_lock() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(holder(path))),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("lock {}", path.display()))
        }
    })?;
    // For those who wait; nothing depends on it.
    let _ = file.set_len(0);
    let _ = write!(file, "{}", std::process::id());
    Ok(file)
}

/// Who has the lock, and for how long.
fn holder(path: &Path) -> String {
    let id = std::fs::read_to_string(path).unwrap_or_default();
    let age = path.metadata().ok().and_then(|metadata| {
        let since = metadata.modified().ok()?;
        since.elapsed().ok()
    });
    let who = if id == std::process::id().to_string() {
        "another part of this run".to_owned()
    } else {
        format!("another run (process {id})")
    };
    format!(
        "{who}, which began {} s ago",
        age.unwrap_or_default().as_secs()
    )
}

/// Waits until `blocked` names nobody any more, and says for whom it waits.
pub(crate) fn wait(what: &str, mut blocked: impl FnMut() -> Result<Option<String>>) -> Result<()> {
    let mut said: Option<Instant> = None;
    while let Some(by) = blocked()? {
        if said.is_none_or(|said| said.elapsed() >= REMINDER) {
            screen::say(&format!("── {what}: waiting for {by}"));
            said = Some(Instant::now());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use anyhow::bail;

    use super::*;

    const PLACE: &str = "things/one";
    /// Tells a test that it is the child of another, and what to do in which cache.
    const CHILD: &str = "XTASK_TEST_CHILD";

    fn read(path: &Path) -> Result<String> {
        Ok(std::fs::read_to_string(path)?)
    }

    fn write(folder: &Path, text: &str) -> Result<PathBuf> {
        let file = folder.join("file");
        std::fs::write(&file, text)?;
        Ok(file)
    }

    #[test]
    fn of_many_threads_one_makes_it() {
        let cache = tempfile::tempdir().unwrap();
        let made = AtomicUsize::new(0);
        let get = || {
            get_in(cache.path(), PLACE, "make one", read, |folder| {
                made.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(100));
                write(folder, "whole")
            })
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(get)).collect();
            for thread in threads {
                assert_eq!(thread.join().unwrap().unwrap(), "whole");
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
        let left = std::fs::read_dir(cache.path().join("tmp")).unwrap();
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn after_a_failure_the_next_one_tries() {
        let cache = tempfile::tempdir().unwrap();
        let tries = AtomicUsize::new(0);
        let get = || {
            get_in(cache.path(), PLACE, "make one", read, |folder| {
                let made = write(folder, "whole")?;
                std::thread::sleep(Duration::from_millis(100));
                if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                    bail!("the mirror is down");
                }
                Ok(made)
            })
        };
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(get)).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().unwrap();
            threads.into_iter().map(join).collect()
        });
        assert_eq!(tries.load(Ordering::Relaxed), 2);
        let failed: Vec<_> = outcomes
            .iter()
            .filter_map(|one| one.as_ref().err())
            .collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].to_string(), "the mirror is down");
    }

    #[test]
    fn what_cannot_be_used_is_made_anew() {
        let cache = tempfile::tempdir().unwrap();
        // An earlier version had a folder there, with something in it.
        let old = cache.path().join(PLACE);
        std::fs::create_dir_all(old.join("half")).unwrap();
        let got = get_in(cache.path(), PLACE, "make one", read, |folder| {
            write(folder, "whole")
        });
        assert_eq!(got.unwrap(), "whole");
        assert!(old.is_file());
    }

    /// Starts this test binary again, for `child` below.
    fn start(job: &str, cache: &Path) -> Child {
        let test = std::env::current_exe().unwrap();
        Command::new(test)
            .args(["--exact", "cache::tests::child", "--nocapture"])
            .env(CHILD, format!("{job} {}", cache.display()))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Does nothing unless another test has started it.
    #[test]
    fn child() {
        let Ok(job) = std::env::var(CHILD) else {
            return;
        };
        let (job, cache) = job.split_once(' ').unwrap();
        let cache = Path::new(cache);
        let got = get_in(cache, PLACE, "make one", read, |folder| {
            assert_eq!(std::fs::read_dir(folder)?.count(), 0);
            let log = File::options()
                .append(true)
                .create(true)
                .open(cache.join("log"));
            log?.write_all(b"made\n")?;
            let half = write(folder, "half")?;
            eprintln!("at work");
            let seconds = if job == "hang" { 600 } else { 1 };
            std::thread::sleep(Duration::from_secs(seconds));
            std::fs::write(&half, "whole")?;
            Ok(half)
        });
        assert_eq!(got.unwrap(), "whole");
    }

    #[test]
    fn of_many_processes_one_makes_it() {
        let cache = tempfile::tempdir().unwrap();
        let children: Vec<_> = (0..4).map(|_| start("work", cache.path())).collect();
        for child in children {
            let done = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "{said}");
        }
        assert_eq!(read(&cache.path().join("log")).unwrap(), "made\n");
    }

    #[test]
    fn who_waits_says_for_whom_and_goes_on_when_that_one_is_killed() {
        let cache = tempfile::tempdir().unwrap();
        let mut killed = start("hang", cache.path());
        let mut said = BufReader::new(killed.stderr.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().contains("at work")));
        let mut next = start("work", cache.path());
        let mut said = BufReader::new(next.stderr.take().unwrap()).lines();
        let waits = format!("waiting for another run (process {})", killed.id());
        assert!(said.any(|line| line.unwrap().contains(&waits)));
        killed.kill().unwrap();
        killed.wait().unwrap();
        assert!(said.any(|line| line.unwrap().contains("at work")));
        drop(said.collect::<Vec<_>>());
        assert!(next.wait().unwrap().success());
        assert_eq!(read(&cache.path().join("log")).unwrap(), "made\nmade\n");
    }
}
