//! Commands and waiting.

use std::{
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::loaded;

/// What a command left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// Exit code; 128 plus the signal that ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Runs a command to its end and shows it in the output of the test.
    pub fn of(command: &mut Command) -> Self {
        let this = Self::quietly(command);
        eprintln!("{this}");
        this
    }

    /// Runs a command to its end and shows nothing.
    pub fn quietly(command: &mut Command) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let line = line(command);
        let output = command
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("cannot run {line}: {error}"));
        let output = Self {
            command: line,
            status: output
                .status
                .code()
                .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        if command.get_args().any(|word| word == "load")
            && let Ok(id) = output.stdout.trim().parse()
        {
            loaded(id);
        }
        output
    }

    /// It must have succeeded. Answers its standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "should succeed: {self}");
        self.stdout
    }

    /// It must have failed with this exit code, said nothing on standard output, and given a
    /// reason with all of the fragments (case does not count). Answers its standard error.
    #[track_caller]
    pub fn fails(self, status: i32, fragments: &[&str]) -> String {
        assert_eq!(self.status, status, "should fail with {status}: {self}");
        assert_eq!(self.stdout, "", "results only on standard output: {self}");
        let said = self.stderr.to_lowercase();
        assert!(said.contains("error:"), "an error line is missing: {self}");
        for fragment in fragments {
            assert!(
                said.contains(&fragment.to_lowercase()),
                "should name {fragment:?}: {self}"
            );
        }
        self.stderr
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "$ {}  [{}]\n{}{}",
            self.command, self.status, self.stdout, self.stderr
        )
    }
}

/// The command line as a person would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// How long what must come may take. It costs nothing when it comes, and only what hangs reaches it,
/// however busy the machine and however slow the guest is.
const PATIENCE: Duration = Duration::from_mins(5);

/// Waits until the condition holds. Answers whether it does; false only when it has hung.
pub fn wait_until(mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        sleep(Duration::from_millis(5));
    }
}

/// Waits until nothing is wrong any more, and answers what stays wrong. What the kernel still takes
/// apart is none of it, and how long that takes depends on how busy the machine is: so is how long
/// we look, for it is counted in looks as well.
pub fn settles<T>(mut wrong: impl FnMut() -> Vec<T>) -> Vec<T> {
    const LOOKS: usize = 150;
    let end = Instant::now() + Duration::from_secs(15);
    for look in 1.. {
        let found = wrong();
        if found.is_empty() || look >= LOOKS && Instant::now() >= end {
            return found;
        }
        sleep(Duration::from_millis(50));
    }
    Vec::new()
}
