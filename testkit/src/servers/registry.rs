//! Debian's `docker-registry`, the reference implementation of the distribution protocol.

use std::{
    ffi::OsStr,
    fs::{self, File},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{
    Output, Sandbox,
    servers::{Ca, Tokens},
    tool, wait_until,
};

/// How a registry is to be.
#[derive(Debug, Clone, Default)]
pub struct Options {
    tls: bool,
    client_certificates: bool,
    user: Option<(String, String)>,
    tokens: bool,
    port: Option<u16>,
}

impl Options {
    /// With TLS, and a certificate authority of its own.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Only for clients that show a certificate of its authority.
    #[must_use]
    pub fn client_certificates(mut self) -> Self {
        self.client_certificates = true;
        self.tls()
    }

    /// With basic authentication: this user and password for everything.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.to_owned(), password.to_owned()));
        self
    }

    /// With a token service: who has this user's password gets tokens there.
    #[must_use]
    pub fn tokens(mut self, name: &str, password: &str) -> Self {
        self.tokens = true;
        self.user(name, password)
    }

    /// On a certain port in place of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }
}

/// A registry on every address of the sandbox. It ends when it goes out of scope.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    dir: PathBuf,
    port: u16,
    user: Option<(String, String)>,
    ca: Option<Ca>,
}

impl Registry {
    /// Starts it and waits until it answers.
    pub fn start(sandbox: &Sandbox, options: &Options) -> Self {
        let port = options.port.unwrap_or_else(free_port);
        Self::serve(
            sandbox.tmp().join(format!("registry-{port}")),
            port,
            options,
        )
    }

    fn serve(dir: PathBuf, port: u16, options: &Options) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let ca = options.tls.then(|| Ca::new(&dir.join("ca")));
        let config = dir.join("config.yml");
        fs::write(&config, configuration(&dir, port, options, ca.as_ref())).unwrap();
        let log = File::create(dir.join("log")).unwrap();
        // The registry must not outlive a test that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start docker-registry: {error}"));
        let mut this = Self {
            child,
            dir,
            port,
            user: options.user.clone(),
            ca,
        };
        let answers = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        // Long enough for a busy machine, and for a guest without virtualization.
        let up = wait_until(|| answers() || this.child.try_wait().unwrap().is_some());
        assert!(up && answers(), "no registry: {}", this.log());
        this
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The full name of an image of it.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// Has bpfman build an image of an object, without any container runtime, and push it. Answers
    /// the image's full name.
    pub fn build(&self, sandbox: &Sandbox, name: &str, object: &Path) -> String {
        let url = self.image(name);
        let build = ["image", "build", "--runtime", "none", "-t", &url, "-b"];
        sandbox
            .bpfman(
                build
                    .map(OsStr::new)
                    .into_iter()
                    .chain([object.as_os_str()]),
            )
            .ok();
        url
    }

    /// Its authority; a registry without TLS has none.
    pub fn ca(&self) -> &Ca {
        self.ca.as_ref().expect("a registry with TLS")
    }

    /// Copies an image of an OCI layout to `NAME[:TAG]`, with skopeo and further words for it, as
    /// `--format v2s2`.
    #[track_caller]
    pub fn push(&self, layout: &Path, name: &str, words: &[&str]) {
        let from = format!("oci:{}", layout.display());
        self.skopeo_copy(&from, name, words).ok();
    }

    /// Copies from anywhere that skopeo knows.
    pub fn skopeo_copy(&self, from: &str, name: &str, words: &[&str]) -> Output {
        let mut command = Command::new("skopeo");
        command
            .args([
                "--insecure-policy",
                "copy",
                "--quiet",
                "--dest-tls-verify=false",
            ])
            .args(words);
        if let Some((user, password)) = &self.user {
            command.args(["--dest-creds", &format!("{user}:{password}")]);
        }
        command
            .arg(from)
            .arg(format!("docker://{}", self.image(name)))
            .env("HOME", "/run/home")
            // What it remembers of blobs goes below HOME, and not into the machine's own folder.
            .env("_CONTAINERS_ROOTLESS_UID", "1")
            .env("TMPDIR", "/run/test");
        Output::of(&mut command)
    }

    /// The paths that were asked for with a method, in order: `/v2/a/b/manifests/latest`.
    pub fn requests(&self, method: &str) -> Vec<String> {
        let before = format!("\"{method} ");
        let log = self.log();
        let lines = log.lines().filter(|line| line.contains(" HTTP/"));
        lines
            .filter_map(|line| line.split_once(&before)?.1.split(' ').next())
            .map(ToOwned::to_owned)
            .collect()
    }

    /// All that it wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap()
    }

    /// The folder with all it has.
    pub fn storage(&self) -> PathBuf {
        self.dir.join("storage")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended on its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody has: the namespace is the test's own.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn configuration(dir: &Path, port: u16, options: &Options, ca: Option<&Ca>) -> String {
    let storage = dir.join("storage");
    let text = format!(
        "version: 0.1\n\
         log: {{level: warn}}\n\
         storage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\n\
         http:\n  addr: ':{port}'\n  secret: testkit\n",
        storage.display(),
    );
    let tls = ca.map(|ca| {
        let (certificate, key) = ca.server();
        let (certificate, key) = (certificate.display(), key.display());
        let clients = if options.client_certificates {
            format!(", clientcas: [{}]", ca.certificate().display())
        } else {
            String::new()
        };
        format!("  tls: {{certificate: {certificate}, key: {key}{clients}}}\n")
    });
    let auth = options.user.as_ref().map(|(user, password)| {
        if options.tokens {
            return Tokens::start(&dir.join("tokens"), user, password).configuration();
        }
        let file = dir.join("htpasswd");
        fs::write(&file, tool("htpasswd", &["-Bbn", user, password]).ok()).unwrap();
        let file = file.display();
        format!("auth:\n  htpasswd: {{realm: testkit, path: {file}}}\n")
    });
    [Some(text), tls, auth].into_iter().flatten().collect()
}
