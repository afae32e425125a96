//! The kernels that tests run on beside the machine's own: Debian's cloud kernels, unpacked into
//! the cache and never installed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::apt::Host;
use crate::{cache, sh};

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
    let place = format!("kernels/{}", version.name());
    let what = format!("fetch kernel {}", version.name());
    cache::get(&place, &what, find, |folder| fetch(version, folder))
}

fn fetch(version: Version, folder: &Path) -> Result<PathBuf> {
    let host = Host::read()?;
    let mut tried = String::new();
    for suite in version.suites() {
        match fetch_from(&host, suite, version, &folder.join(suite)) {
            Ok(unpacked) => return Ok(unpacked),
            // Writing to a string does not fail.
            Err(error) => {
                let _ = write!(tried, "\n{suite}: {error:#}");
            }
        }
    }
    let name = version.name();
    bail!(
        "no suite gave kernel {name}, and the lane {name} cannot run. Where Debian's mirror in the \
         machine's apt settings has it no more, name one that has ({}) in a file in \
         /etc/apt/sources.list.d; where its key is not known, install debian-archive-keyring anew. \
         The other lanes run without it (--lane).{tried}",
        version.suites().join(" or ")
    )
}

fn fetch_from(host: &Host, suite: &str, version: Version, folder: &Path) -> Result<PathBuf> {
    let lists = host.lists(suite, &folder.join("apt"))?;
    let image = format!("linux-image-{}.", version.name());
    let package = lists.dependency("linux-image-cloud-amd64", &image)?;
    let (package_folder, unpacked) = (folder.join("package"), folder.join("unpacked"));
    std::fs::create_dir(&package_folder).context("make a folder in the cache")?;
    let deb = lists.download(&package, &package_folder)?;
    sh::output(sh::mortal("dpkg").arg("-x").arg(&deb).arg(&unpacked))?;
    find(&unpacked)?;
    Ok(unpacked)
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
    ensure!(image.metadata()?.len() > 0, "{} is empty", image.display());
    only_child(&modules.join("kernel"), "")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_kernel_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        assert!(find(&dir.join("nothing")).is_err());
        let image = dir.join("boot/vmlinuz-5.10.0");
        let module = dir.join("lib/modules/5.10.0/kernel/net");
        std::fs::create_dir(dir.join("boot")).unwrap();
        std::fs::write(&image, "image").unwrap();
        assert!(find(dir).is_err(), "without modules");
        std::fs::create_dir_all(&module).unwrap();
        let kernel = find(dir).unwrap();
        assert_eq!(kernel.image, image);
        assert_eq!(kernel.modules, dir.join("lib/modules/5.10.0"));
        std::fs::write(&image, "").unwrap();
        assert!(find(dir).is_err(), "with an empty image");
    }
}
