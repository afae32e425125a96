//! What can go wrong, and what a front end makes of it.

use model::ProgramId;

/// Result of a verb.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds that front ends map to exit codes and gRPC codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was named does not exist.
    NotFound,
    /// The request can never work.
    Invalid,
    /// It contradicts what is there now.
    Conflict,
    /// This kernel cannot do it.
    Unsupported,
    /// The caller may not do it.
    Permission,
    /// Somebody else is at it; trying again may help.
    Busy,
    /// Something outside of us failed.
    External,
    /// A defect of ours.
    Internal,
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such program.
    #[error("no program with id {0} is loaded")]
    NoProgram(ProgramId),
}

impl Error {
    /// The kind, for exit codes.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NoProgram(_) => ErrorKind::NotFound,
        }
    }

    /// What the user can do about it, one sentence.
    pub fn hint(&self) -> Option<String> {
        None
    }

    /// The verifier's whole log, where it rejected the program.
    pub fn verifier_log(&self) -> Option<&str> {
        None
    }
}
