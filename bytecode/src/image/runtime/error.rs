//! Why a runtime could not be asked.

use std::{io, time::Duration};

/// Why a container runtime could not be asked. A message never names the runtime: the caller does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// No connection, or one that broke.
    #[error("it cannot be reached")]
    Unreachable {
        /// Why.
        source: io::Error,
    },
    /// It does not want to speak with this user.
    #[error("it denies access")]
    Denied {
        /// Why.
        source: io::Error,
    },
    /// Silent for too long.
    #[error("it took longer than {} s to {doing}", limit.as_secs())]
    Timeout {
        /// What it was to do.
        doing: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// It answers, but not with what was asked for.
    #[error("it answered with status {status}: {message}")]
    Status {
        /// Of HTTP or gRPC.
        status: u16,
        /// What it said.
        message: String,
    },
    /// An answer that is none.
    #[error("it does not follow the protocol: {what}")]
    Protocol {
        /// In what way.
        what: String,
    },
    /// Somewhere else than on this machine.
    #[error("'{address}' is no unix socket, and no other kind of address is used")]
    Address {
        /// As it is configured.
        address: String,
    },
    /// A file that says where it is.
    #[error("the configuration in {path} cannot be understood")]
    Config {
        /// The file.
        path: std::path::PathBuf,
    },
    /// Podman's own files.
    #[error("its storage cannot be read: {what}")]
    Storage {
        /// In what way.
        what: String,
    },
    /// Podman's command.
    #[error("the command podman failed: {why}")]
    Command {
        /// What it said.
        why: String,
    },
}

impl RuntimeError {
    /// Of a step on a socket.
    pub(super) fn of_io(source: io::Error, doing: &'static str, limit: Duration) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied { source },
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Timeout { doing, limit },
            _ => Self::Unreachable { source },
        }
    }

    pub(super) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol { what: what.into() }
    }

    pub(super) fn storage(what: impl Into<String>) -> Self {
        Self::Storage { what: what.into() }
    }

    /// On one line, with the cause.
    pub(super) fn in_full(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}
