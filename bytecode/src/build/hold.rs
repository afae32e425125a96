//! Signals that would end the command while something must be taken back first.

use std::{
    fs, io,
    os::fd::OwnedFd,
    process::{Child, ExitStatus},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::{Handle, Signals},
};

use super::Error;

/// While it lives, a signal does not end this process. It goes on to the command that runs, ends
/// the work at the next [`Hold::check`], and leaves time to clean up.
pub(super) struct Hold {
    state: Arc<Mutex<State>>,
    handle: Handle,
    worker: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    caught: Option<i32>,
    child: Option<OwnedFd>,
}

impl State {
    fn forward(&self) {
        let signal = self.caught.and_then(Signal::from_named_raw);
        if let (Some(child), Some(signal)) = (&self.child, signal) {
            // It may have ended already.
            let _ = pidfd_send_signal(child, signal);
        }
    }
}

impl Hold {
    pub(super) fn new() -> Result<Self, Error> {
        let ignored = ignored();
        let wanted = [SIGHUP, SIGINT, SIGTERM].into_iter();
        // nohup and background jobs ignore some, and stay as they are.
        let wanted = wanted.filter(|signal| ignored & (1 << (signal - 1)) == 0);
        let mut signals = Signals::new(wanted).map_err(Error::Signals)?;
        let state = Arc::new(Mutex::new(State::default()));
        let (handle, own) = (signals.handle(), Arc::clone(&state));
        let worker = thread::spawn(move || {
            for signal in signals.forever() {
                let mut state = lock(&own);
                state.caught = Some(signal);
                state.forward();
            }
        });
        Ok(Self {
            state,
            handle,
            worker: Some(worker),
        })
    }

    /// Fails once a signal has come.
    pub(super) fn check(&self) -> Result<(), Error> {
        lock(&self.state)
            .caught
            .map_or(Ok(()), |signal| Err(Error::Interrupted { signal }))
    }

    /// What the end of the work means: a failure after a signal comes of the signal.
    pub(super) fn finish(&self, result: Result<(), Error>) -> Result<(), Error> {
        result.or_else(|error| self.check().and(Err(error)))
    }

    /// From now on signals go to this command.
    pub(super) fn watch(&self, child: &Child) -> io::Result<()> {
        let fd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        let mut state = lock(&self.state);
        state.child = Some(fd);
        state.forward();
        Ok(())
    }

    /// Waits for the watched command.
    pub(super) fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let status = child.wait();
        lock(&self.state).child = None;
        status
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Signals that this process was started to ignore, as bits.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or_default()
}
