//! `bpfman-rpc`, the daemon under test.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Sandbox, sandbox::binary, wait_until};

/// The daemon in a sandbox. It ends when it goes out of scope.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Where it listens unless it is told otherwise.
    pub const SOCKET: &str = "/run/bpfman-sock/bpfman.sock";

    /// Starts it and waits until it answers.
    pub fn start(sandbox: &Sandbox) -> Self {
        Self::start_with(sandbox, &[])
    }

    /// The same with further words.
    pub fn start_with(sandbox: &Sandbox, words: &[&str]) -> Self {
        Self::answering(Self::spawn(sandbox, &[], words))
    }

    /// Waits until a daemon answers.
    pub fn answering(mut this: Self) -> Self {
        let answers = || UnixStream::connect(Self::SOCKET).is_ok();
        let up = wait_until(|| answers() || this.has_ended());
        assert!(up && answers(), "no daemon: {}", this.log());
        this
    }

    /// Starts it, perhaps below another program such as `strace`, and does not wait.
    pub fn spawn(sandbox: &Sandbox, outer: &[&str], words: &[&str]) -> Self {
        let log = sandbox.tmp().join(format!("daemon-{}", logs(sandbox)));
        let file = File::create(&log).unwrap();
        // It must not outlive a test that is killed.
        let mut all = vec!["--pdeathsig", "KILL"];
        all.extend(outer);
        let program = Self::binary();
        all.push(program.to_str().unwrap());
        all.extend(words);
        let mut command = sandbox.program(Path::new("setpriv"), &all);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = child.stderr(file).spawn();
        Self {
            child: child.unwrap_or_else(|error| panic!("cannot start {all:?}: {error}")),
            log,
        }
    }

    /// The program.
    pub fn binary() -> PathBuf {
        binary("BPFMAN_RPC_BIN", "bpfman-rpc")
    }

    /// What it said on stderr.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let ended = wait_until(|| self.has_ended());
        assert!(ended, "it does not end: {}", self.log());
        self.child.wait().unwrap()
    }

    /// Ends it as `systemctl stop` does.
    #[track_caller]
    pub fn stop(mut self) -> String {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.log());
        self.log()
    }
}

/// How many there were already.
fn logs(sandbox: &Sandbox) -> usize {
    let entries = fs::read_dir(sandbox.tmp()).unwrap().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("daemon-"))
        .count()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        super::end(&mut self.child);
    }
}

/// The daemon with words that it refuses, or that only show something.
pub fn run_daemon(sandbox: &Sandbox, words: &[&str]) -> crate::Output {
    crate::Output::of(&mut sandbox.program(&Daemon::binary(), words))
}
