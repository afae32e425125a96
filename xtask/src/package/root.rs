//! A whole Debian 12 in a folder, to install the package into.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::SUITE;
use crate::apt::Host;
use crate::sh;

/// Beyond the smallest Debian there is: what the units are for and how they are checked, the shells
/// that are completed, and what the package depends on, which dpkg alone does not fetch.
const PACKAGES: [&str; 9] = [
    "systemd",
    "systemd-sysv",
    "udev",
    "iproute2",
    "libelf1",
    "bash-completion",
    "zsh",
    "fish",
    "mandoc",
];

/// What goes on before the root is entered: `$0` is the root, the rest is the command.
const ENTER: &str = r#"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$0/dev/pts"
mount --bind "$0/dev/pts/ptmx" "$0/dev/ptmx"
exec chroot "$0" "$@"
"#;

/// The keys of Debian's archive.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A tree of its own, which may be changed and booted.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
}

impl Root {
    /// A copy of the cached tree at `path`, which must not exist.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let base = base()?;
        sh::output(Command::new("cp").arg("--archive").arg(base).arg(path))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A command that runs inside: in namespaces of its own, so that it reaches neither the
    /// processes nor the interfaces nor the mounts of this machine, and nothing that it starts is
    /// left behind.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--net", "--ipc", "--uts"])
            .args(["--fork", "--kill-child", "--propagation", "private"])
            .arg(format!("--mount-proc={}", self.path.join("proc").display()))
            // Terminals for the shells.
            .args(["sh", "-ec", ENTER])
            .arg(&self.path)
            .args(["env", "--ignore-environment", "HOME=/root", "TERM=dumb"])
            .args(["LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"])
            .arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .arg(program);
        command
    }

    /// Installs a package; what it depends on has to be there.
    pub(crate) fn install(&self, deb: &Path) -> Result<()> {
        let name = deb.file_name().context("the package has no name")?;
        let inside = Path::new("/var/tmp").join(name);
        let outside = self.path.join("var/tmp").join(name);
        std::fs::copy(deb, &outside)
            .with_context(|| format!("copy {} to {}", deb.display(), outside.display()))?;
        sh::output(self.command("dpkg").arg("--install").arg(inside))?;
        std::fs::remove_file(&outside).context("remove the copy of the package")
    }
}

/// The cached tree, made when it is not there yet.
fn base() -> Result<PathBuf> {
    sh::need_root("making a root for the package")?;
    let roots = sh::cache_dir()?.join("roots");
    // Other packages make another tree.
    let base = roots.join(format!("{SUITE}-{}", PACKAGES.join("-")));
    if !base.exists() {
        sh::step(&format!("bootstrap Debian {SUITE}"), || {
            bootstrap(&roots, &base)
        })?;
    }
    Ok(base)
}

fn bootstrap(roots: &Path, base: &Path) -> Result<()> {
    std::fs::create_dir_all(roots).with_context(|| format!("make {}", roots.display()))?;
    let temp = tempfile::tempdir_in(roots).context("make a directory in the cache")?;
    let tree = temp.path().join("tree");
    let mut command = Command::new("debootstrap");
    command.arg("--variant=minbase");
    command.arg(format!("--include={}", PACKAGES.join(",")));
    if Path::new(KEYS).exists() {
        command.arg(format!("--keyring={KEYS}"));
    }
    let host = Host::read()?;
    sh::output(command.arg(SUITE).arg(&tree).arg(host.mirror()?))?;
    // Downloads and lists, which nobody needs again.
    for folder in ["var/cache/apt/archives", "var/lib/apt/lists"] {
        let folder = tree.join(folder);
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        std::fs::create_dir_all(folder.join("partial"))?;
    }
    // The name appears only when all is there: half a tree is never taken for a whole one.
    std::fs::rename(&tree, base).with_context(|| format!("fill {}", base.display()))
}
