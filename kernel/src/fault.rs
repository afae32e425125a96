//! Places where tests stop, fail or kill the process.
//!
//! Compiled in with the feature `fault` only. `BPFMAN_FAULT=<point>:<what>` names one point; `what`
//! is `fail`, `abort` (as kill -9 would) or `stop` (SIGSTOP to itself, the test goes on with
//! SIGCONT).

use std::io;

/// A step of an operation that has just been done. Answers an error when a test asks for one.
#[cfg(not(feature = "fault"))]
#[inline]
pub fn point(_name: &'static str) -> io::Result<()> {
    Ok(())
}

/// A step of an operation that has just been done. Answers an error when a test asks for one.
#[cfg(feature = "fault")]
pub fn point(name: &'static str) -> io::Result<()> {
    let Ok(wish) = std::env::var("BPFMAN_FAULT") else {
        return Ok(());
    };
    match wish.rsplit_once(':') {
        Some((point, what)) if point == name => act(name, what),
        _ => Ok(()),
    }
}

#[cfg(feature = "fault")]
fn act(name: &str, what: &str) -> io::Result<()> {
    use rustix::process::{Signal, getpid, kill_process};
    match what {
        "abort" => {
            let _ = kill_process(getpid(), Signal::KILL);
            // The signal is on its way; nothing may happen before it lands.
            loop {
                std::thread::park();
            }
        }
        "stop" => kill_process(getpid(), Signal::STOP).map_err(Into::into),
        _ => Err(io::Error::other(format!("fault injected at {name}"))),
    }
}
