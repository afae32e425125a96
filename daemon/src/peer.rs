//! Who asks.

use std::fmt;

use model::Digest;
use sha2::{Digest as _, Sha256};
use tonic::{
    Request,
    transport::server::{TcpConnectInfo, TlsConnectInfo, UdsConnectInfo},
};

/// Who asks, as the kernel or a certificate says: for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The process at the other end of the unix socket, when it connected.
    Process {
        /// None where it is in a namespace that cannot be seen from here.
        pid: Option<i32>,
        uid: u32,
        gid: u32,
    },
    /// Another machine.
    Remote {
        address: String,
        /// SHA-256 of its certificate, in hex.
        certificate: String,
    },
    /// The kernel does not say.
    Unknown,
}

impl Peer {
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        let extensions = request.extensions();
        let local = extensions.get::<UdsConnectInfo>();
        if let Some(process) = local.and_then(|info| info.peer_cred) {
            return Self::Process {
                pid: process.pid().filter(|pid| *pid != 0),
                uid: process.uid(),
                gid: process.gid(),
            };
        }
        let Some(remote) = extensions.get::<TlsConnectInfo<TcpConnectInfo>>() else {
            return Self::Unknown;
        };
        let shown = remote.peer_certs();
        let first = shown.as_ref().and_then(|shown| shown.first());
        let address = remote.get_ref().remote_addr();
        Self::Remote {
            address: address.map_or_else(|| "unknown".into(), |address| address.to_string()),
            certificate: first.map_or_else(
                || "none".into(),
                |first| Digest::new(Sha256::digest(first).into()).hex(),
            ),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, uid, gid } => {
                match pid {
                    Some(pid) => write!(f, "pid {pid}")?,
                    None => f.write_str("pid unknown")?,
                }
                write!(f, ", uid {uid}, gid {gid}")
            }
            Self::Remote {
                address,
                certificate,
            } => write!(f, "{address}, certificate sha256:{certificate}"),
            Self::Unknown => f.write_str("unknown peer"),
        }
    }
}
