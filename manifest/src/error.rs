//! What is wrong with a manifest, and where.

use std::{fmt, io, path::PathBuf};

use serde_saphyr::Location;

/// What is wrong, with file, line and column where there are any.
#[derive(Debug, thiserror::Error)]
#[error("{file}{at}: {what}")]
pub struct Error {
    /// The file, or `standard input`.
    pub file: String,
    /// Line and column.
    pub at: At,
    /// The complaint, a sentence without a full stop.
    pub what: String,
    /// Why a file could not be read.
    pub source: Option<io::Error>,
}

/// Line and column, counted from 1; None for a whole file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At(pub Option<(u64, u64)>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((line, column)) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

impl From<Location> for At {
    fn from(location: Location) -> Self {
        // What has no place in the text has line 0.
        Self((location.line() > 0).then(|| (location.line(), location.column())))
    }
}

impl Error {
    pub(crate) fn at(file: &str, location: Location, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            at: location.into(),
            what: what.into(),
            source: None,
        }
    }

    pub(crate) fn file(path: impl Into<PathBuf>, what: &str, source: io::Error) -> Self {
        Self {
            file: path.into().display().to_string(),
            at: At::default(),
            what: what.to_owned(),
            source: Some(source),
        }
    }
}
