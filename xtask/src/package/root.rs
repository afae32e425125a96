//! A whole Debian 12 in a folder, to install the package into.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::SUITE;
use crate::apt::{self, Host, insistently};
use crate::{cache, sh, watch};

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

/// debootstrap takes no path with blanks: `$0` is the folder that it works in.
const BOOTSTRAP: &str = r#"
mount --bind "$0" /mnt
exec debootstrap "$@"
"#;

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
    // Other packages make another tree.
    let place = format!("roots/{SUITE}-{}", PACKAGES.join("-"));
    let what = format!("bootstrap Debian {SUITE}");
    cache::get(&place, &what, find, bootstrap)
}

fn find(base: &Path) -> Result<PathBuf> {
    let status = std::fs::read_to_string(base.join("var/lib/dpkg/status"))
        .context("it has no list of packages")?;
    let paragraphs: Vec<_> = status.split("\n\n").collect();
    for package in PACKAGES {
        let first = format!("Package: {package}\n");
        let own = paragraphs.iter().find(|text| text.starts_with(&first));
        let whole = own.is_some_and(|text| text.contains("\nStatus: install ok installed\n"));
        ensure!(whole, "{package} is not installed in it");
    }
    Ok(base.into())
}

fn bootstrap(folder: &Path) -> Result<PathBuf> {
    let tree = folder.join("tree");
    let host = Host::read()?;
    let (mirror, keys) = (host.mirror()?, host.keys());
    insistently("bootstrap", || {
        if tree.exists() {
            std::fs::remove_dir_all(&tree).context("remove half a root")?;
        }
        watch::run("debootstrap", debootstrap(folder, &mirror, keys.as_deref()))
    })?;
    // Downloads and lists, which nobody needs again.
    for folder in ["var/cache/apt/archives", "var/lib/apt/lists"] {
        let folder = tree.join(folder);
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        std::fs::create_dir_all(folder.join("partial"))?;
    }
    Ok(tree)
}

/// Fills `tree` in this folder.
fn debootstrap(folder: &Path, mirror: &str, keys: Option<&str>) -> Command {
    // It mounts things in the tree. In namespaces of its own they go with it, and so does whatever
    // it has started, when it is killed.
    let mut command = sh::mortal("unshare");
    command
        .args(["--mount", "--propagation", "private"])
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-ec", BOOTSTRAP])
        .arg(folder)
        .arg("--variant=minbase")
        .arg(format!("--include={}", PACKAGES.join(",")))
        .args(keys.map(|keys| format!("--keyring={keys}")))
        .args([SUITE, "/mnt/tree", mirror]);
    // It does not read apt's settings.
    for (variable, key) in [("http_proxy", "http"), ("https_proxy", "https")] {
        let proxy = apt::setting(&format!("Acquire::{key}::Proxy"));
        if let Some(proxy) = proxy.filter(|_| std::env::var_os(variable).is_none()) {
            command.env(variable, proxy);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_has_every_package_installed() {
        let root = tempfile::tempdir().unwrap();
        let list = root.path().join("var/lib/dpkg/status");
        assert!(find(root.path()).is_err());
        std::fs::create_dir_all(list.parent().unwrap()).unwrap();
        let whole = PACKAGES.map(|name| {
            format!("Package: {name}\nStatus: install ok installed\nPriority: optional\n")
        });
        std::fs::write(&list, whole.join("\n")).unwrap();
        find(root.path()).unwrap();
        std::fs::write(&list, whole[1..].join("\n")).unwrap();
        let said = find(root.path()).unwrap_err().to_string();
        assert!(said.contains(PACKAGES[0]), "{said}");
        let half = whole
            .join("\n")
            .replacen("install ok installed", "install ok unpacked", 1);
        std::fs::write(&list, half).unwrap();
        assert!(find(root.path()).is_err());
    }
}
