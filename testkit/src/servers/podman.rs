//! Podman with a store of its own, as a command and as a service.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::mount::{MsFlags, mount};

use crate::{Output, Sandbox, servers::end, wait_until};

/// A store of Podman that goes with the sandbox.
#[derive(Debug)]
pub struct Podman {
    dir: PathBuf,
    home: PathBuf,
}

impl Podman {
    /// Makes an empty store.
    pub fn new(sandbox: &Sandbox) -> Self {
        let dir = sandbox.tmp().join("podman");
        fs::create_dir_all(dir.join("tmp")).unwrap();
        // What the configuration cannot move: the memory of where layers came from.
        let (none, machine) = (None::<&str>, "/var/lib/containers");
        if Path::new(machine).exists() {
            mount(
                Some("tmpfs"),
                machine,
                Some("tmpfs"),
                MsFlags::empty(),
                none,
            )
            .unwrap();
        }
        let at = dir.display();
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\n\
             graphroot = \"{at}/graph\"\nrunroot = \"{at}/run\"\n"
        );
        fs::write(dir.join("storage.conf"), storage).unwrap();
        Self {
            dir,
            home: sandbox.home().to_owned(),
        }
    }

    /// Points a command and the `podman` that it calls at the store.
    pub fn aim<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        for name in [
            "CONTAINER_HOST",
            "CONTAINERS_CONF",
            "STORAGE_DRIVER",
            "STORAGE_OPTS",
        ] {
            command.env_remove(name);
        }
        command
            .env("CONTAINERS_STORAGE_CONF", self.dir.join("storage.conf"))
            .env("HOME", &self.home)
            .env("TMPDIR", self.tmp())
    }

    /// Where it has its temporary files.
    pub fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// Runs `podman` on it.
    pub fn podman(&self, args: &[&str]) -> Output {
        Output::of(self.aim(Command::new("podman").args(args)))
    }

    /// `podman system service`: Docker's API and Podman's own on a socket.
    pub fn serve(&self) -> PodmanService {
        let socket = self.dir.join("podman.sock");
        let log = File::create(self.dir.join("service.log")).unwrap();
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .args(["podman", "system", "service", "--time", "0"])
            .arg(format!("unix://{}", socket.display()));
        let child = self
            .aim(&mut command)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start podman: {error}"));
        let mut this = PodmanService { child, socket };
        let answers = |service: &PodmanService| UnixStream::connect(&service.socket).is_ok();
        let up = wait_until(|| answers(&this) || this.child.try_wait().unwrap().is_some());
        let log = fs::read_to_string(self.dir.join("service.log")).unwrap();
        assert!(up && answers(&this), "no podman service: {log}");
        this
    }
}

/// Podman's socket. The service ends when this goes out of scope.
#[derive(Debug)]
pub struct PodmanService {
    child: Child,
    socket: PathBuf,
}

impl PodmanService {
    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for PodmanService {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
