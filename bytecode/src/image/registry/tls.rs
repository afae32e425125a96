//! Whom to trust: the system's authorities, and those that Docker and Podman are told of for a
//! registry.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use super::super::ImageError;

/// Folders with a folder of certificates for each registry, named `HOST[:PORT]`: those of Podman
/// (containers-certs.d(5)), then those of Docker.
const FOLDERS: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

/// The folders that hold certificates for a registry.
pub(super) fn folders(host: &str) -> Vec<PathBuf> {
    let own = env::var_os("HOME").map(|home| Path::new(&home).join(".config/containers/certs.d"));
    FOLDERS
        .iter()
        .map(PathBuf::from)
        .chain(own)
        .map(|folder| folder.join(host))
        .filter(|folder| folder.is_dir())
        .collect()
}

fn unusable(path: &Path) -> impl Fn(super::super::Cause) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::CertificateFile {
        path: path.clone(),
        source,
    }
}

/// One file with all authorities: Debian, Fedora, SUSE, Alpine.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The system's authorities. Reading the bundle alone takes 1 ms; with the folder of single files
/// beside it, which holds the same ones, it would be 4 to 18 ms.
fn authorities() -> CertificateResult {
    let chosen = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .iter()
        .any(|name| env::var_os(name).is_some());
    let bundle = BUNDLES.iter().map(Path::new).find(|path| path.is_file());
    match bundle.filter(|_| !chosen) {
        Some(bundle) => load_certs_from_paths(Some(bundle), None),
        None => load_native_certs(),
    }
}

/// How to speak TLS with a registry.
pub(super) fn config(host: &str) -> Result<TlsConfig, ImageError> {
    let mut roots = Vec::new();
    let mut client = None;
    for folder in folders(host) {
        let wrong = unusable(&folder);
        let entries = fs::read_dir(&folder).map_err(|error| wrong(error.into()))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        let mut paths: Vec<PathBuf> = paths
            .collect::<io::Result<_>>()
            .map_err(|error| wrong(error.into()))?;
        paths.sort_unstable();
        for path in paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => roots.extend(certificates(&path)?),
                Some("cert") if client.is_none() => client = Some(client_cert(&path)?),
                _ => {}
            }
        }
    }
    let native = authorities();
    for error in &native.errors {
        log::debug!("certificate authorities: {error}");
    }
    roots.extend(
        native
            .certs
            .iter()
            .map(|cert| Certificate::from_der(cert).to_owned()),
    );
    if roots.is_empty() {
        let host = host.to_owned();
        return Err(ImageError::NoRoots { host });
    }
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(client)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, ImageError> {
    let wrong = unusable(path);
    let pem = fs::read(path).map_err(|error| wrong(error.into()))?;
    let items = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    let found: Vec<_> = items
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.into()))?;
    if found.is_empty() {
        return Err(wrong("no certificate in PEM form".into()));
    }
    Ok(found)
}

/// `NAME.cert` with `NAME.key` beside it shows the registry who we are.
fn client_cert(path: &Path) -> Result<ClientCert, ImageError> {
    let chain = certificates(path)?;
    let key_path = path.with_extension("key");
    let wrong = unusable(&key_path);
    let pem = fs::read(&key_path).map_err(|error| wrong(error.into()))?;
    let key = PrivateKey::from_pem(&pem).map_err(|error| wrong(error.into()))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}
