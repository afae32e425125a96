//! The programs as they are shipped.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::sysroot::Sysroot;
use crate::sh;

/// The programs of the package.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    pub(crate) bpfman: PathBuf,
    pub(crate) daemon: PathBuf,
}

/// How they are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    Release,
    Dev,
}

/// Compiles them against the libraries of the sysroot.
pub(super) fn build(sysroot: &Sysroot, profile: Profile) -> Result<Binaries> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let target = sh::target_dir().join("package");
    let root = format!("--sysroot={}", sysroot.path.display());
    // The linker looks into the folders of its own machine first, but for those that are named.
    let libraries = format!("-Lnative={}", sysroot.libraries().display());
    let mut flags = vec![format!("-Clink-arg={root}"), libraries];
    // Messages do not tell where it was built, and are the same wherever that was.
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let cargo_home = cargo_home
        .or_else(home)
        .context("neither CARGO_HOME nor HOME is set")?;
    for (from, to) in [(sh::repo(), "bpfman"), (cargo_home, "cargo")] {
        flags.push(format!(
            "--remap-path-prefix={}=/usr/src/{to}",
            from.display()
        ));
    }
    let variable = triple.replace('-', "_");
    let mut command = sh::cargo("build");
    command
        .args(["--locked", "--target", &triple, "--target-dir"])
        .arg(&target)
        .args(["--package", "bpfman", "--bin", "bpfman"])
        .args(["--package", "bpfman-rpc", "--bin", "bpfman-rpc"])
        // For the programs only: what runs while they are built is linked for this machine.
        .env(format!("CFLAGS_{variable}"), &root)
        // It goes before every other source of flags, and parts them by a character that is in no path.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    let folder = match profile {
        Profile::Release => {
            command.arg("--release");
            "release"
        }
        Profile::Dev => "debug",
    };
    sh::run(&mut command)?;
    let folder = target.join(triple).join(folder);
    Ok(Binaries {
        bpfman: folder.join("bpfman"),
        daemon: folder.join("bpfman-rpc"),
    })
}
