//! The C library and headers of [`SUITE`]: what is built against them runs there, however new the
//! Debian is that it is built on.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::SUITE;
use crate::apt::Host;
use crate::{cache, sh};

/// The libraries that the programs are linked with, and what compiling needs of them.
const PACKAGES: [&str; 8] = [
    "libc6",
    "libc6-dev",
    "linux-libc-dev",
    "libgcc-s1",
    "libelf1",
    "libelf-dev",
    "zlib1g",
    "zlib1g-dev",
];

/// A tree for the compiler's `--sysroot`.
#[derive(Debug)]
pub(crate) struct Sysroot {
    pub(crate) path: PathBuf,
}

impl Sysroot {
    /// Where the linker finds the libraries.
    pub(super) fn libraries(&self) -> PathBuf {
        let folder = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        self.path.join(folder)
    }

    /// The `symbols` files of the libraries, deb-symbols(5).
    pub(super) fn symbols(&self) -> Result<Vec<String>> {
        let files = PACKAGES
            .iter()
            .map(|package| self.path.join("DEBIAN").join(package).join("symbols"))
            .filter(|file| file.exists());
        let read =
            |file: PathBuf| std::fs::read_to_string(&file).context(file.display().to_string());
        files.map(read).collect()
    }
}

/// The tree from the cache, or from Debian when it is not there yet.
pub(super) fn get() -> Result<Sysroot> {
    let what = format!("fetch the C library of Debian {SUITE}");
    cache::get(&format!("sysroots/{SUITE}"), &what, find, fetch)
}

fn find(path: &Path) -> Result<Sysroot> {
    for package in PACKAGES {
        let control = path.join("DEBIAN").join(package).join("control");
        ensure!(control.is_file(), "it has no {package}");
    }
    Ok(Sysroot { path: path.into() })
}

fn fetch(folder: &Path) -> Result<PathBuf> {
    let lists = Host::read()?.lists(SUITE, &folder.join("apt"))?;
    let tree = folder.join("tree");
    std::fs::create_dir(&tree)?;
    for package in PACKAGES {
        let package_folder = folder.join(package);
        std::fs::create_dir(&package_folder)?;
        let deb = lists.download(package, &package_folder)?;
        let control = tree.join("DEBIAN").join(package);
        std::fs::create_dir_all(&control)?;
        sh::output(sh::mortal("dpkg-deb").arg("-x").arg(&deb).arg(&tree))?;
        sh::output(sh::mortal("dpkg-deb").arg("-e").arg(&deb).arg(&control))?;
    }
    for folder in [
        "usr/lib/ARCH-linux-gnu",
        "lib/ARCH-linux-gnu",
        "lib64",
        "lib",
    ] {
        keep_inside(
            &tree.join(folder.replace("ARCH", std::env::consts::ARCH)),
            &tree,
        )?;
    }
    Ok(tree)
}

/// Lets links from the root lead into the tree: `libz.so` is one, and the loader in `lib64`.
fn keep_inside(folder: &Path, tree: &Path) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let Ok(target) = std::fs::read_link(&path) else {
            continue;
        };
        if let Ok(target) = target.strip_prefix("/") {
            let up: PathBuf = path
                .strip_prefix(tree)?
                .components()
                .skip(1)
                .map(|_| "..")
                .collect();
            std::fs::remove_file(&path)?;
            symlink(up.join(target), &path)?;
        }
    }
    Ok(())
}
