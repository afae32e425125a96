//! Failures: what stderr says of them, and the exit status.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use manager::report::{Report, explain, in_one_line, one_paragraph};
use model::ProgramId;

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
            Self::Manifest(error) => {
                writeln!(f, "error: {}", one_paragraph(&in_one_line(error)))
            }
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
            } => Report {
                doing,
                error,
                whole_log: *whole_log,
            }
            .fmt(f),
        }
    }
}
