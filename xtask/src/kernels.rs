//! The kernels that tests run on beside the machine's own: Debian's cloud kernels, unpacked into
//! the cache and never installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::apt::Host;
use crate::sh;

/// A kernel that can run in QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Version {
    /// Debian 11
    #[value(name = "5.10")]
    V5_10,
    /// Debian 12
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13
    #[value(name = "6.12")]
    V6_12,
}

impl Version {
    /// As people write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// Suites that carry it, the lasting one first. An old key ring does not know the newest
    /// release, but its own backports carry the same kernel.
    fn suites(self) -> &'static [&'static str] {
        match self {
            Self::V5_10 => &["bullseye"],
            Self::V6_1 => &["bookworm"],
            Self::V6_12 => &["trixie", "bookworm-backports"],
        }
    }
}

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The image to boot.
    pub(crate) image: PathBuf,
    /// Its `lib/modules/<release>` directory.
    pub(crate) modules: PathBuf,
}

/// The kernel from the cache, or from Debian when it is not there yet.
pub(crate) fn get(version: Version) -> Result<Kernel> {
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "the VM lanes know x86_64 only, this machine is {}",
            std::env::consts::ARCH
        );
    }
    let cache = sh::cache_dir()?;
    let dir = cache.join("kernels").join(version.name());
    if !dir.exists() {
        sh::step(&format!("fetch kernel {}", version.name()), || {
            fetch(version, &cache, &dir)
        })?;
    }
    find(&dir)
}

fn fetch(version: Version, cache: &Path, dir: &Path) -> Result<()> {
    let host = Host::read()?;
    let mut tried = Vec::new();
    for suite in version.suites() {
        match fetch_from(&host, suite, version, cache, dir) {
            Ok(()) => return Ok(()),
            Err(error) => tried.push(format!("{suite}: {error:#}")),
        }
    }
    bail!(
        "no suite gave kernel {}: {}",
        version.name(),
        tried.join("; ")
    )
}

fn fetch_from(host: &Host, suite: &str, version: Version, cache: &Path, dir: &Path) -> Result<()> {
    let lists = host.suites(&[suite], &cache.join("apt").join(suite))?;
    let image = format!("linux-image-{}.", version.name());
    let package = lists.dependency("linux-image-cloud-amd64", &image)?;
    let parent = dir.parent().context("the cache directory has no parent")?;
    std::fs::create_dir_all(parent)?;
    let temp = tempfile::tempdir_in(parent).context("make a directory in the cache")?;
    let deb = lists.download(&package, temp.path())?;
    let unpacked = temp.path().join("unpacked");
    sh::run(Command::new("dpkg").arg("-x").arg(&deb).arg(&unpacked))?;
    find(&unpacked)?;
    // The name appears only when all is there: a broken download is never taken for a kernel.
    std::fs::rename(&unpacked, dir).with_context(|| format!("fill {}", dir.display()))
}

fn find(dir: &Path) -> Result<Kernel> {
    let image = only_child(&dir.join("boot"), "vmlinuz-")?;
    let merged = dir.join("usr/lib/modules");
    let modules = if merged.exists() {
        merged
    } else {
        dir.join("lib/modules")
    };
    let modules = only_child(&modules, "")?;
    Ok(Kernel { image, modules })
}

fn only_child(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(entry.path());
        }
    }
    bail!("nothing named {prefix}* in {}", dir.display())
}
