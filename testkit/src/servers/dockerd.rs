//! Debian's `dockerd` (package docker.io) in a sandbox.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{Output, Sandbox, servers::end, wait_until};

/// Debian's own commands before those of others: its client speaks to its daemon, and has BuildKit
/// without a plugin.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What it needs besides its folder: control groups, which the sandbox's own /sys has not, of the
/// version that the machine uses; and forwarding, without which docker warns of it at each step of a
/// build. A new network namespace has it where the machine has, so where docker runs already.
const START: &str = r#"
set -e
mount -t tmpfs tmpfs /sys/fs/cgroup
controllers=$(awk '!/^#/ && $2 != 0 { print $1 }' /proc/cgroups)
for name in $controllers; do
    mkdir "/sys/fs/cgroup/$name"
    mount -t cgroup -o "$name" cgroup "/sys/fs/cgroup/$name"
done
[ "$controllers" ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo 1 > /proc/sys/net/ipv4/ip_forward
exec dockerd --iptables=false --bridge=none --ip-forward=false --ip-masq=false \
    -H "unix://$1/docker.sock" --data-root "$1/data" --exec-root "$1/exec" -p "$1/pid"
"#;

/// A daemon with a socket and a store of its own. It ends with all it started when it goes out of
/// scope.
#[derive(Debug)]
pub struct Dockerd {
    child: Child,
    dir: PathBuf,
}

impl Dockerd {
    /// Starts it and waits until it answers.
    pub fn start(sandbox: &Sandbox) -> Self {
        let dir = sandbox.tmp().join("dockerd");
        fs::create_dir_all(&dir).unwrap();
        let log = File::create(dir.join("log")).unwrap();
        // The daemon is the first process of its namespace: with it goes its containerd. It must
        // not outlive a test that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid"])
            .args(["--mount-proc", "--fork", "--kill-child=KILL"])
            .args(["sh", "-c", START, "dockerd"])
            .arg(&dir)
            .env("PATH", PATH)
            .env("HOME", sandbox.home())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start dockerd: {error}"));
        let mut this = Self { child, dir };
        let up = wait_until(|| this.answers() || this.child.try_wait().unwrap().is_some());
        assert!(up && this.answers(), "no dockerd: {}", this.log());
        this
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("docker.sock")
    }

    /// Points a command and the `docker` that it calls at the daemon.
    pub fn aim<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        Self::aim_at(&self.socket(), command)
    }

    /// The same for a daemon that need not be there.
    pub fn aim_at<'c>(socket: &Path, command: &'c mut Command) -> &'c mut Command {
        for name in [
            "DOCKER_BUILDKIT",
            "DOCKER_CONTEXT",
            "DOCKER_DEFAULT_PLATFORM",
        ] {
            command.env_remove(name);
        }
        command
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
            .env("PATH", PATH)
    }

    /// Runs `docker` against it.
    pub fn docker(&self, args: &[&str]) -> Output {
        let mut command = Command::new("/usr/bin/docker");
        command.args(args).env("HOME", "/run/home");
        Output::of(self.aim(&mut command))
    }

    /// All that it wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap()
    }

    fn answers(&self) -> bool {
        // The socket is there before the daemon can do anything.
        UnixStream::connect(self.socket()).is_ok() && self.log().contains("API listen on")
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
