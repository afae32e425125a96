//! Debian's packages, by the machine's own apt settings: its mirror, its keys and its proxy, but
//! lists of our own, read anew each time and kept nowhere, so that nothing about the machine changes
//! but what is installed.

mod services;
mod sources;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::{cache, screen, sh, watch};
use services::{NoServices, SIGN};
pub(crate) use sources::Host;

/// How often something is tried that may go well the next time.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_secs(5);

/// Whoever installs has the first, and dpkg itself the second.
const DPKG_LOCKS: [&str; 2] = ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"];

/// What apt says when it failed for a reason that may go away: the network, a mirror that is just
/// being updated, or somebody who was faster at a lock.
const MAY_PASS: [&str; 6] = [
    "Could not get lock",
    "Unable to acquire the dpkg frontend lock",
    "Failed to fetch",
    "Unable to fetch",
    "Unable to connect",
    "Temporary failure",
];

impl Host {
    /// Lists with one suite of Debian and nothing else, in this folder.
    pub(crate) fn lists(&self, suite: &str, folder: &Path) -> Result<Lists> {
        let what = format!("read the package lists of {suite}");
        Lists::read(folder, &self.suite(suite)?, what)
    }

    /// Lists with the machine's own release, and `more`, another suite of it.
    pub(crate) fn own_lists(&self, more: Option<&str>, folder: &Path) -> Result<Lists> {
        let what = "read the package lists".to_owned();
        Lists::read(folder, &self.family(more)?, what)
    }

    /// Name of the release's backports suite.
    pub(crate) fn backports(&self) -> String {
        format!("{}-backports", self.codename)
    }
}

/// Package lists of our own.
#[derive(Debug)]
pub(crate) struct Lists {
    folder: PathBuf,
    what: String,
}

impl Lists {
    fn read(folder: &Path, sources: &str, what: String) -> Result<Self> {
        for sub in ["lists/partial", "cache/archives/partial"] {
            let sub = folder.join(sub);
            std::fs::create_dir_all(&sub).with_context(|| format!("make {}", sub.display()))?;
        }
        let file = folder.join("own.sources");
        std::fs::write(&file, sources).with_context(|| format!("write {}", file.display()))?;
        let lists = Self {
            folder: folder.into(),
            what,
        };
        insistently(&lists.what, || lists.update())?;
        Ok(lists)
    }

    fn update(&self) -> Result<()> {
        let mut command = self.apt(sh::mortal("apt-get"));
        // Otherwise a list that did not come is a warning.
        command.args(["-o", "APT::Update::Error-Mode=any", "-q", "update"]);
        watch::run("apt-get update", command).context(self.what.clone())
    }

    /// Makes a command of apt work with these lists.
    fn apt(&self, mut command: Command) -> Command {
        let set = |key: &str, path: &str| format!("{key}={}", self.folder.join(path).display());
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Only lists what should be restarted.
            .env("NEEDRESTART_MODE", "l")
            // What it says is looked at.
            .env("LC_ALL", "C.UTF-8")
            .args(["-o", &set("Dir::Etc::SourceList", "own.sources")])
            .args(["-o", "Dir::Etc::SourceParts=/dev/null"])
            .args(["-o", "Dir::Etc::Preferences=/dev/null"])
            .args(["-o", "Dir::Etc::PreferencesParts=/dev/null"])
            .args(["-o", &set("Dir::State::Lists", "lists")])
            .args(["-o", &set("Dir::Cache", "cache")])
            .args(["-o", "APT::Sandbox::User=root"])
            .args(["-o", "Acquire::Languages=none"])
            .args(["-o", "Acquire::Retries=3"]);
        command
    }

    /// Installs packages, taking those of `release` (a suite) where that is given. It waits for
    /// whoever installs something just now, removes nothing, keeps the machine's settings, and starts
    /// no services. Only one may do it at a time ([`cache::Alone::on_machine`]).
    pub(crate) fn install(&self, packages: &[&str], release: Option<&str>) -> Result<()> {
        let what = "install packages";
        let _no_services = NoServices::begin()?;
        let install = || {
            wait_for_dpkg(what)?;
            let mut command = self.apt(Command::new("apt-get"));
            command
                .env(SIGN, "1")
                .args(["-q", "-y", "--no-install-recommends", "--no-remove"])
                .args(["-o", "Dpkg::Options::=--force-confdef"])
                .args(["-o", "Dpkg::Options::=--force-confold"])
                .args(["-o", "DPkg::Lock::Timeout=60"]);
            if let Some(release) = release {
                command.args(["-t", release]);
            }
            command.arg("install").args(packages);
            watch::run("apt-get install", command)
        };
        self.with_fresh_lists(what, install)
    }

    /// Tries again, with lists as they are by then: a mirror drops a package for a newer one.
    fn with_fresh_lists(&self, what: &str, work: impl Fn() -> Result<()>) -> Result<()> {
        let mut again = false;
        insistently(what, || {
            if std::mem::replace(&mut again, true) {
                self.update()?;
            }
            work()
        })
    }

    /// The first package that `package` depends on and whose name starts with `prefix`.
    pub(crate) fn dependency(&self, package: &str, prefix: &str) -> Result<String> {
        let mut command = self.apt(Command::new("apt-cache"));
        let shown = sh::output(command.args(["show", "--no-all-versions", package]))?;
        shown
            .lines()
            .find_map(|line| line.strip_prefix("Depends: "))
            .into_iter()
            .flat_map(|line| line.split(','))
            .filter_map(|entry| entry.split_whitespace().next())
            .find(|name| name.starts_with(prefix))
            .map(ToOwned::to_owned)
            .with_context(|| format!("{package} depends on no {prefix}…"))
    }

    /// Downloads a package into `folder`, which is empty, checked by apt against the signed lists.
    pub(crate) fn download(&self, package: &str, folder: &Path) -> Result<PathBuf> {
        let what = format!("download {package}");
        self.with_fresh_lists(&what, || {
            let mut command = self.apt(sh::mortal("apt-get"));
            command
                // What is installed here, maybe of a newer release, is no candidate.
                .args(["-o", "Dir::State::status=/dev/null"])
                .args(["-q", "download", package])
                .current_dir(folder);
            watch::run("apt-get download", command).context(what.clone())
        })?;
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                return Ok(path);
            }
        }
        bail!("apt-get download left no package {package}")
    }
}

/// A setting of the machine's apt, where it has one.
pub(crate) fn setting(key: &str) -> Option<String> {
    let said = sh::output(Command::new("apt-config").args(["shell", "VALUE", key])).ok()?;
    let value = said.trim().strip_prefix("VALUE='")?.strip_suffix('\'')?;
    (!value.is_empty() && value != "DIRECT").then(|| value.to_owned())
}

/// Tries again what failed for a reason that may go away.
pub(crate) fn insistently(what: &str, mut work: impl FnMut() -> Result<()>) -> Result<()> {
    for _ in 1..TRIES {
        let Err(error) = work() else {
            return Ok(());
        };
        let said = format!("{error:#}");
        if !may_pass(&said) {
            return Err(error);
        }
        let (reason, seconds) = (reason(&said), PAUSE.as_secs());
        screen::say(&format!(
            "── {what}: once more in {seconds} s, because of: {reason}"
        ));
        std::thread::sleep(PAUSE);
    }
    work()
}

/// The line that says most: the last ones of apt only sum up.
fn reason(said: &str) -> &str {
    let mut lines = said.lines().map(str::trim);
    let first = lines.find(|line| line.starts_with("E: "));
    first.or(said.lines().last()).unwrap_or_default()
}

fn may_pass(said: &str) -> bool {
    // What is not there now will not be there in five seconds, unless the lists are old.
    let never = said.contains("does not have a Release file") || said.contains("NO_PUBKEY");
    !never && MAY_PASS.iter().any(|sign| said.contains(sign))
}

/// Waits until nobody else installs anything on this machine.
fn wait_for_dpkg(what: &str) -> Result<()> {
    cache::wait(what, || {
        for lock in DPKG_LOCKS {
            if let Some(who) = who_locks(Path::new(lock))? {
                return Ok(Some(format!("{who}, which holds {lock}")));
            }
        }
        Ok(None)
    })
}

/// The process that has locked a file in apt's way, fcntl(2).
fn who_locks(path: &Path) -> Result<Option<String>> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        // dpkg makes it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
    };
    let found = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))
        .with_context(|| format!("look who locks {}", path.display()))?;
    let Some(found) = found.filter(|found| found.typ != FlockType::Unlocked) else {
        return Ok(None);
    };
    // None: it is in another pid namespace.
    let Some(id) = found.pid.map(rustix::process::Pid::as_raw_pid) else {
        return Ok(Some("a process that cannot be seen from here".to_owned()));
    };
    let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    Ok(Some(format!("process {id} ({})", name.trim())))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    use super::*;

    #[test]
    fn what_may_pass_is_told_apart() {
        assert!(may_pass(
            "E: Failed to fetch http://mirror.test/a.deb  404  Not Found"
        ));
        assert!(may_pass(
            "E: Could not get lock /var/lib/dpkg/lock-frontend."
        ));
        assert!(!may_pass("E: Unable to locate package bpftool"));
        assert!(!may_pass(
            "E: Failed to fetch x\nE: The repository 'x' does not have a Release file."
        ));
        assert!(!may_pass(
            "W: GPG error: … NO_PUBKEY 1\nE: Failed to fetch x"
        ));
    }

    #[test]
    fn the_reason_is_the_first_error() {
        let said = "apt-get ended, and said at last:\n  Reading…\n  E: Failed to fetch\n  E: Some";
        assert_eq!(reason(said), "E: Failed to fetch");
        assert_eq!(reason("setpriv is not there"), "setpriv is not there");
    }

    #[test]
    fn who_locks_a_file_as_dpkg_does_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(who_locks(file.path()).unwrap(), None);
        let script = "import fcntl, sys\n\
                      file = open(sys.argv[1], 'r+')\n\
                      fcntl.lockf(file, fcntl.LOCK_EX)\n\
                      print('locked', flush=True)\n\
                      sys.stdin.read()";
        let mut holder = Command::new("python3")
            .args(["-c", script])
            .arg(file.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(holder.stdout.take().unwrap());
        assert_eq!(said.lines().next().unwrap().unwrap(), "locked");
        let who = who_locks(file.path()).unwrap().unwrap();
        assert!(
            who.starts_with(&format!("process {} (python", holder.id())),
            "{who}"
        );
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert_eq!(who_locks(file.path()).unwrap(), None);
    }
}
