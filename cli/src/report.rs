//! Failures: what stderr says of them, and the exit status.

use std::{
    error::Error,
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use model::ProgramId;

/// How many lines of a verifier's log are shown without `--verifier-log`. The last ones say where
/// and why it gave up.
const LOG_LINES: usize = 12;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line is wrong, or asks for help.
    Usage(clap::Error),
    /// A verb failed.
    Manager {
        /// What was tried on what: `cannot unload 17`.
        doing: String,
        /// Why not.
        error: Box<manager::Error>,
        /// Show the verifier's log from its first line.
        whole_log: bool,
    },
    /// An image could not be built.
    Build {
        /// What was tried on what: `cannot build localhost/x`.
        doing: String,
        /// Why not.
        error: Box<bytecode::build::Error>,
    },
    /// The result could not be written.
    Output(io::Error),
    /// A program was loaded, but the result could not be written.
    Shown {
        /// The program.
        id: ProgramId,
        /// Why not.
        error: io::Error,
    },
    /// A manifest is wrong.
    Manifest(Box<manifest::Error>),
    /// Something that the command itself reads or writes.
    Input {
        /// What was tried.
        what: String,
        /// Why not.
        error: io::Error,
    },
    /// Nothing failed, but something differs, and that was asked for.
    Differs,
    /// Some of several steps failed.
    Several(Vec<Failure>),
}

impl Failure {
    /// A verb that failed, without a log to show in full.
    pub(crate) fn of(doing: impl Into<String>, error: manager::Error) -> Self {
        Self::Manager {
            doing: doing.into(),
            error: Box::new(error),
            whole_log: false,
        }
    }

    /// 2 for a wrong command line, what shells answer for a signal, 1 otherwise. Help is no failure.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(error) => {
                u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
            }
            Self::Build { error, .. } => error
                .signal()
                .and_then(|signal| u8::try_from(128 + signal).ok())
                .map_or(ExitCode::FAILURE, ExitCode::from),
            _ => ExitCode::FAILURE,
        }
    }

    /// Says it.
    pub(crate) fn print(&self, stderr: &mut impl Write) -> io::Result<()> {
        match self {
            // clap knows whether this is help, which belongs on stdout, and about colours.
            Self::Usage(error) => error.print(),
            Self::Several(failures) => failures
                .iter()
                .try_for_each(|failure| failure.print(stderr)),
            other => write!(stderr, "{other}"),
        }
    }
}

impl From<manifest::Error> for Failure {
    fn from(error: manifest::Error) -> Self {
        Self::Manifest(Box::new(error))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) => error.fmt(f),
            Self::Several(failures) => failures.iter().try_for_each(|failure| failure.fmt(f)),
            Self::Manifest(error) => match &error.source {
                Some(why) => writeln!(f, "error: {error}: {why}"),
                None => writeln!(f, "error: {}", one_paragraph(&error.to_string())),
            },
            Self::Input { what, error } => writeln!(f, "error: {what}: {error}"),
            Self::Differs => Ok(()),
            Self::Output(error) => writeln!(f, "error: cannot write the result: {error}"),
            Self::Shown { id, error } => {
                writeln!(
                    f,
                    "error: program {id} is loaded, but its state cannot be shown: {error}"
                )
            }
            Self::Build { doing, error } => {
                explain(f, doing, error, error.hint().as_deref())?;
                let Some(output) = error.output() else {
                    return Ok(());
                };
                writeln!(f, "output:")?;
                let mut lines = output.lines();
                lines.try_for_each(|line| writeln!(f, "  {line}"))
            }
            Self::Manager {
                doing,
                error,
                whole_log,
            } => {
                let hint = error.hint();
                match error.verifier_log().filter(|log| !log.trim().is_empty()) {
                    Some(log) => {
                        headline(f, doing, error)?;
                        say_hint(f, hint.as_deref())?;
                        write_log(f, log, *whole_log)
                    }
                    None => explain(f, doing, error, hint.as_deref()),
                }
            }
        }
    }
}

/// What failed, why, and what can be done about it.
pub(crate) fn explain(
    f: &mut impl fmt::Write,
    doing: &str,
    error: &dyn Error,
    hint: Option<&str>,
) -> fmt::Result {
    headline(f, doing, error)?;
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = error.to_string();
        // Some messages end with their cause, because they would say too little without it.
        if !said.ends_with(&why) {
            writeln!(f, "caused by: {}", one_paragraph(&why))?;
            said = why;
        }
        cause = error.source();
    }
    say_hint(f, hint)
}

/// What failed. Alone where a log of the verifier follows: the error number that comes with one
/// (permission denied, invalid argument) only misleads.
fn headline(f: &mut impl fmt::Write, doing: &str, error: &dyn Error) -> fmt::Result {
    writeln!(f, "error: {doing}: {}", one_paragraph(&error.to_string()))
}

fn say_hint(f: &mut impl fmt::Write, hint: Option<&str>) -> fmt::Result {
    hint.map_or(Ok(()), |hint| writeln!(f, "hint: {}", one_paragraph(hint)))
}

/// Further lines are set in, so that each line at the margin is a statement of its own. Names may
/// come from strangers: nothing in them may speak to the terminal.
pub(crate) fn one_paragraph(text: &str) -> String {
    let mut plain = String::new();
    for c in text.trim_end().chars() {
        match c {
            '\n' => plain.push_str("\n  "),
            '\t' => plain.push(c),
            c if c.is_control() => plain.extend(c.escape_debug()),
            c => plain.push(c),
        }
    }
    plain
}

/// The end of a verifier's log, or all of it.
pub(crate) fn write_log(f: &mut impl fmt::Write, log: &str, whole: bool) -> fmt::Result {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let left_out = if whole {
        0
    } else {
        lines.len().saturating_sub(LOG_LINES)
    };
    match left_out {
        0 => writeln!(f, "verifier log:")?,
        1 => writeln!(
            f,
            "verifier log (1 line left out, --verifier-log shows it):"
        )?,
        n => writeln!(
            f,
            "verifier log ({n} lines left out, --verifier-log shows them):"
        )?,
    }
    lines
        .iter()
        .skip(left_out)
        .try_for_each(|line| writeln!(f, "  {line}"))
}
