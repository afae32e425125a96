//! A certificate authority that nobody trusts until a test says so.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::tool;

/// Every name under which a test asks a server of its sandbox.
const NAMES: &str = "DNS:localhost,DNS:registry.test,DNS:registry-1.docker.io,\
                     DNS:auth.docker.io,IP:127.0.0.1,IP:::1";

/// An authority, and a server's certificate of it.
#[derive(Debug)]
pub struct Ca {
    dir: PathBuf,
}

impl Ca {
    /// Makes keys and certificates in a new directory.
    pub fn new(dir: &Path) -> Self {
        let this = Self {
            dir: dir.to_owned(),
        };
        fs::create_dir_all(dir).unwrap();
        let [key, certificate] = ["ca.key", "ca.crt"].map(|name| this.file(name));
        openssl(&[
            "req",
            "-x509",
            "-days",
            "2",
            "-nodes",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-subj",
            "/CN=an authority of testkit",
            "-addext",
            "keyUsage=critical,keyCertSign,digitalSignature",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ]);
        let [request, own, leaf] = ["server.csr", "server.key", "server.crt"].map(|n| this.file(n));
        openssl(&[
            "req",
            "-nodes",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-subj",
            "/CN=localhost",
            "-keyout",
            &own,
            "-out",
            &request,
        ]);
        let extensions = this.file("server.ext");
        fs::write(
            &extensions,
            format!("subjectAltName={NAMES}\nbasicConstraints=CA:FALSE\n"),
        )
        .unwrap();
        openssl(&[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            &request,
            "-CA",
            &certificate,
            "-CAkey",
            &key,
            "-CAcreateserial",
            "-extfile",
            &extensions,
            "-out",
            &leaf,
        ]);
        this
    }

    /// The certificate that clients must trust.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// Certificate and key of a server on this machine; they do for a client as well.
    pub fn server(&self) -> (PathBuf, PathBuf) {
        (self.dir.join("server.crt"), self.dir.join("server.key"))
    }

    /// Certificate and key as PEM, for either side.
    pub fn identity(&self) -> (String, String) {
        let (certificate, key) = self.server();
        let read = |path| fs::read_to_string(path).unwrap();
        (read(certificate), read(key))
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }
}

fn openssl(args: &[&str]) {
    tool("openssl", args).ok();
}
