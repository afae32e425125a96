//! The listener for other machines. There is none without certificates on both sides.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use manager::Remote;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot listen on {address}")]
    Listen {
        address: std::net::SocketAddr,
        source: io::Error,
    },
    #[error("cannot use the certificates of [grpc]")]
    Certificates { source: tonic::transport::Error },
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

/// TLS that lets in only clients with a certificate of the named authority.
pub(crate) fn tls(remote: &Remote) -> Result<ServerTlsConfig, Error> {
    let identity = Identity::from_pem(read(&remote.certificate)?, read(&remote.key)?);
    let authority = Certificate::from_pem(read(&remote.client_ca)?);
    Ok(ServerTlsConfig::new()
        .identity(identity)
        .client_ca_root(authority)
        .client_auth_optional(false))
}

/// Binds the address.
pub(crate) async fn listen(remote: &Remote) -> Result<tokio::net::TcpListener, Error> {
    let address = remote.listen;
    let bound = tokio::net::TcpListener::bind(address).await;
    bound.map_err(|source| Error::Listen { address, source })
}
