//! Places where tests stop, fail or kill the process.
//!
//! A point stands behind each step that changes something outside of the process. Without the
//! feature `inject` it is nothing. With it, `BPFMAN_FAULT=<point>[#<turn>]:<what>` names one
//! point, and which time that the process comes to it (the first, where none is said);
//! `what` is `fail`, `abort` (as kill -9 would) or `stop` (SIGSTOP to itself, the test goes on with
//! SIGCONT). `BPFMAN_FAULT_TRACE=<file>` adds the name of each point to a file, a line each, in the
//! order in which they were passed.

/// A step of an operation that has just been done. Answers an error when a test asks for one.
#[cfg(not(feature = "inject"))]
#[inline]
pub fn point(_name: &'static str) -> std::io::Result<()> {
    Ok(())
}

#[cfg(feature = "inject")]
pub use inject::point;

#[cfg(feature = "inject")]
mod inject {
    use std::{
        env,
        fs::File,
        io::{self, Write as _},
        sync::atomic::{AtomicU32, Ordering},
    };

    use rustix::process::{Signal, getpid, kill_process};

    /// A step of an operation that has just been done. Answers an error when a test asks for one.
    pub fn point(name: &'static str) -> io::Result<()> {
        if let Some(path) = env::var_os("BPFMAN_FAULT_TRACE") {
            let mut file = File::options().append(true).create(true).open(path)?;
            file.write_all(format!("{name}\n").as_bytes())?;
        }
        let Ok(wish) = env::var("BPFMAN_FAULT") else {
            return Ok(());
        };
        match parse(&wish) {
            Some((point, turn, what)) if point == name && is_turn(turn) => act(name, what),
            _ => Ok(()),
        }
    }

    fn parse(wish: &str) -> Option<(&str, u32, &str)> {
        let (place, what) = wish.rsplit_once(':')?;
        match place.split_once('#') {
            Some((point, turn)) => Some((point, turn.parse().ok()?, what)),
            None => Some((place, 1, what)),
        }
    }

    /// There is one wish in a process, so one count is enough.
    fn is_turn(turn: u32) -> bool {
        static PASSED: AtomicU32 = AtomicU32::new(0);
        PASSED.fetch_add(1, Ordering::Relaxed) + 1 == turn
    }

    fn act(name: &str, what: &str) -> io::Result<()> {
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

    #[cfg(test)]
    mod tests {
        use super::parse;

        #[test]
        fn a_wish_names_point_turn_and_what() {
            assert_eq!(parse("a.b:fail"), Some(("a.b", 1, "fail")));
            assert_eq!(parse("a.b#3:abort"), Some(("a.b", 3, "abort")));
            assert_eq!(parse("a.b#x:abort"), None);
            assert_eq!(parse("a.b"), None);
        }
    }
}
