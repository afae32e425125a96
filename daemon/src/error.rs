//! Why the daemon cannot start.

use std::{io, path::PathBuf};

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A step with the socket.
    #[error("cannot {doing} {path}")]
    Socket {
        /// Verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody answers there.
    #[error("{path} is in use: another process listens on it")]
    Live {
        /// The socket.
        path: PathBuf,
    },
    /// Something that must not be replaced.
    #[error("{path} exists and is no socket")]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// What systemd handed over is of no use.
    #[error("cannot use the socket that systemd handed over")]
    HandedOver {
        /// Why.
        source: io::Error,
    },
    /// The runtime or its signals.
    #[error("cannot {doing}")]
    Runtime {
        /// Verb and object.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// What people read.
    pub fn in_words(&self) -> String {
        let hint = match self {
            Self::Live { .. } => Some(
                "a bpfman-rpc runs already, or systemd holds the socket and starts one when it is \
                 asked; --socket names another path",
            ),
            Self::NotASocket { .. } => Some("move it away, or name another path with --socket"),
            Self::HandedOver { .. } => Some("bpfman-rpc needs ListenStream= with a path"),
            _ => None,
        };
        let mut text = String::new();
        // A String takes everything.
        let _ = manager::report::explain(&mut text, "cannot start", self, hint);
        text
    }
}
