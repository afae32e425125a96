//! Debian's `containerd` in a sandbox, as a node of Kubernetes has it.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{Output, Sandbox, servers::end, tool, wait_until};

/// The folders and the address are the test's; what needs devices or a network stays off.
const CONFIG: &str = r#"
version = 2
root = "@/root"
state = "@/state"
disabled_plugins = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.internal.v1.opt",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "@/containerd.sock"
[ttrpc]
address = "@/containerd.sock.ttrpc"
"#;

/// A containerd with a socket and a store of its own. It ends when it goes out of scope.
#[derive(Debug)]
pub struct Containerd {
    child: Child,
    dir: PathBuf,
}

impl Containerd {
    /// Starts it and waits until it answers.
    pub fn start(sandbox: &Sandbox) -> Self {
        let dir = sandbox.tmp().join("containerd");
        fs::create_dir_all(&dir).unwrap();
        let config = CONFIG.replace('@', &dir.display().to_string());
        fs::write(dir.join("config.toml"), config).unwrap();
        let log = File::create(dir.join("log")).unwrap();
        // It must not outlive a test that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "containerd", "--config"])
            .arg(dir.join("config.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start containerd: {error}"));
        let mut this = Self { child, dir };
        let up = wait_until(|| this.answers() || this.child.try_wait().unwrap().is_some());
        assert!(up && this.answers(), "no containerd: {}", this.log());
        this
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// Points a command at it.
    pub fn aim<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("CONTAINERD_ADDRESS", self.socket())
    }

    /// Runs `ctr` in a namespace.
    pub fn ctr(&self, namespace: &str, args: &[&str]) -> Output {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.socket());
        Output::of(command.args(["--namespace", namespace]).args(args))
    }

    /// Imports an OCI layout under a name, without unpacking it: what `kind load` leaves in a node.
    pub fn import(&self, namespace: &str, layout: &Path, name: &str) {
        let path = layout.join("index.json");
        let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        index["manifests"][0]["annotations"] = json!({"io.containerd.image.name": name});
        fs::write(&path, index.to_string()).unwrap();
        let archive = self.dir.join("import.tar").display().to_string();
        let folder = layout.display().to_string();
        tool("tar", &["-cf", &archive, "-C", &folder, "."]).ok();
        let args = ["images", "import", "--all-platforms", "--no-unpack"];
        let args: Vec<&str> = args.into_iter().chain([archive.as_str()]).collect();
        self.ctr(namespace, &args).ok();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap()
    }

    fn answers(&self) -> bool {
        UnixStream::connect(self.socket()).is_ok() && self.log().contains("successfully booted")
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
