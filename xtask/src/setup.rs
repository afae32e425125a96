//! What has to be on the machine, and how it gets there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt::{Host, Lists};
use crate::sh;

/// Options of `cargo xtask setup`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only say what is missing; exit with an error when something is
    #[arg(long)]
    check: bool,
}

/// What a task needs from the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// To build the workspace.
    Build,
    /// To run tests or the demo on this kernel.
    Host,
    /// To boot another kernel.
    Vm,
    /// To compile the eBPF objects, which are committed.
    Bpf,
    /// To measure.
    Bench,
    /// To keep images where bpfman gets them from.
    Registry,
    /// To build, copy and look at images with the tools that people have.
    Images,
    /// To ask the daemon as others do: Python with grpcio, in a folder of its own.
    Rpc,
    /// To make the Debian package.
    Package,
    /// To install the package into a Debian of its own, and to put that on a disk.
    Root,
    /// To run tests at all: cargo-nextest.
    Nextest,
}

/// How to see that a package is there.
#[derive(Debug, Clone, Copy)]
enum Proof {
    Program(&'static str),
    File(&'static str),
    /// A module of Python.
    Module(&'static str),
}

const PACKAGES: &[(Need, &str, Proof)] = &[
    (Need::Build, "gcc", Proof::Program("cc")),
    (
        Need::Build,
        "libc6-dev",
        Proof::File("/usr/include/stdio.h"),
    ),
    (Need::Build, "make", Proof::Program("make")),
    (Need::Build, "pkg-config", Proof::Program("pkg-config")),
    (
        Need::Build,
        "libelf-dev",
        Proof::File("/usr/include/libelf.h"),
    ),
    (
        Need::Build,
        "zlib1g-dev",
        Proof::File("/usr/include/zlib.h"),
    ),
    (Need::Host, "iproute2", Proof::Program("tc")),
    (Need::Host, "iputils-ping", Proof::Program("ping")),
    (Need::Host, "bpftool", Proof::Program("bpftool")),
    (Need::Host, "xdp-tools", Proof::Program("xdp-loader")),
    (Need::Host, "ethtool", Proof::Program("ethtool")),
    (Need::Host, "strace", Proof::Program("strace")),
    (Need::Vm, "busybox-static", Proof::Program("busybox")),
    (Need::Vm, "binutils", Proof::Program("strip")),
    (Need::Vm, "xz-utils", Proof::Program("xz")),
    (Need::Vm, "iproute2", Proof::Program("tc")),
    (Need::Vm, "iputils-ping", Proof::Program("ping")),
    (Need::Vm, "bpftool", Proof::Program("bpftool")),
    (Need::Vm, "xdp-tools", Proof::Program("xdp-loader")),
    (Need::Vm, "ethtool", Proof::Program("ethtool")),
    (Need::Vm, "strace", Proof::Program("strace")),
    (Need::Bench, "strace", Proof::Program("strace")),
    (Need::Bench, "time", Proof::File("/usr/bin/time")),
    (
        Need::Registry,
        "docker-registry",
        Proof::Program("docker-registry"),
    ),
    (Need::Images, "skopeo", Proof::Program("skopeo")),
    (Need::Images, "podman", Proof::Program("podman")),
    (Need::Images, "docker.io", Proof::Program("dockerd")),
    (Need::Images, DOCKER_CLI, Proof::Program("docker")),
    (Need::Images, "containerd", Proof::Program("containerd")),
    (Need::Images, "apache2-utils", Proof::Program("htpasswd")),
    (Need::Images, "openssl", Proof::Program("openssl")),
    (
        Need::Images,
        "ca-certificates",
        Proof::File("/etc/ssl/certs/ca-certificates.crt"),
    ),
    (Need::Images, "strace", Proof::Program("strace")),
    (Need::Images, "time", Proof::File("/usr/bin/time")),
    (Need::Images, "zstd", Proof::Program("zstd")),
    (
        Need::Rpc,
        "systemd",
        Proof::Program("systemd-socket-activate"),
    ),
    (Need::Rpc, "iproute2", Proof::Program("ss")),
    (Need::Rpc, "python3-venv", Proof::Module("ensurepip")),
    (Need::Package, "binutils", Proof::Program("objdump")),
    (Need::Package, "xz-utils", Proof::Program("xz")),
    (Need::Root, "debootstrap", Proof::Program("debootstrap")),
    (Need::Root, "e2fsprogs", Proof::Program("mkfs.ext4")),
    (
        Need::Bpf,
        "clang-19",
        Proof::File("/usr/lib/llvm-19/bin/clang"),
    ),
    (
        Need::Bpf,
        "llvm-19",
        Proof::File("/usr/lib/llvm-19/bin/llvm-strip"),
    ),
];

/// Debian 12 has it in `docker.io`.
const DOCKER_CLI: &str = "docker-cli";

const QEMU: &str = "qemu-system-x86_64";
/// QEMU 7.2 panics its guests now and then under emulation.
const QEMU_MAJOR: u32 = 8;

/// Runs `cargo xtask setup`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let all = [
        Need::Build,
        Need::Host,
        Need::Vm,
        Need::Bench,
        Need::Registry,
        Need::Images,
        Need::Rpc,
        Need::Package,
        Need::Root,
        Need::Nextest,
    ];
    if !args.check {
        return ensure(&all).inspect(|()| println!("everything is there"));
    }
    let missing = Missing::find(&all);
    if missing.is_empty() {
        println!("everything is there");
        return Ok(());
    }
    anyhow::bail!("missing: {}", missing.names().join(" "))
}

/// Installs what is missing for `needs`; does nothing when all is there.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    let missing = Missing::find(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.names().join(" ");
    sh::step(&format!("install {names}"), || missing.install())
}

#[derive(Debug)]
struct Missing {
    packages: Vec<&'static str>,
    qemu: bool,
    nextest: bool,
    grpcio: bool,
}

impl Missing {
    fn find(needs: &[Need]) -> Self {
        let mut packages: Vec<_> = PACKAGES
            .iter()
            .filter(|(need, _, proof)| needs.contains(need) && !proof.holds())
            .map(|(_, package, _)| *package)
            .collect();
        packages.sort_unstable();
        packages.dedup();
        Self {
            packages,
            qemu: needs.contains(&Need::Vm) && qemu_major().is_none_or(|major| major < QEMU_MAJOR),
            nextest: needs.contains(&Need::Nextest) && sh::which("cargo-nextest").is_none(),
            grpcio: needs.contains(&Need::Rpc) && !has_grpcio(),
        }
    }

    fn is_empty(&self) -> bool {
        self.packages.is_empty() && !self.qemu && !self.nextest && !self.grpcio
    }

    fn names(&self) -> Vec<&'static str> {
        let mut names = self.packages.clone();
        names.extend(self.qemu.then_some("qemu-system-x86"));
        names.extend(self.nextest.then_some("cargo-nextest"));
        names.extend(self.grpcio.then_some("grpcio"));
        names
    }

    fn install(&self) -> Result<()> {
        if self.qemu || !self.packages.is_empty() {
            sh::need_root("installing packages")?;
            let host = Host::read()?;
            let lists = host.family(&sh::cache_dir()?.join("apt").join("own"))?;
            let mut packages = self.packages.clone();
            if host.codename == "bookworm" {
                packages.retain(|package| *package != DOCKER_CLI);
            }
            if !packages.is_empty() {
                lists.install(&packages, None)?;
            }
            if self.qemu {
                install_qemu(&host, &lists)?;
            }
        }
        if self.nextest {
            sh::run(Command::new("cargo").args(["install", "cargo-nextest", "--locked"]))?;
        }
        if self.grpcio {
            install_grpcio()?;
        }
        Ok(())
    }
}

/// Python's gRPC library and its compiler for .proto files. Debian's know no optional fields.
const GRPCIO: [&str; 2] = ["grpcio==1.85.1", "grpcio-tools==1.85.1"];

/// The Python that has [`GRPCIO`].
pub(crate) fn python() -> Result<PathBuf> {
    Ok(sh::cache_dir()?.join("python/bin/python3"))
}

fn has_grpcio() -> bool {
    let stamp = || Some(std::fs::read_to_string(stamp().ok()?).ok()? == GRPCIO.join(" "));
    stamp().unwrap_or(false)
}

/// Written last: it tells a whole installation from half of one.
fn stamp() -> Result<PathBuf> {
    Ok(sh::cache_dir()?.join("python/installed"))
}

fn install_grpcio() -> Result<()> {
    let python = python()?;
    let folder = sh::cache_dir()?.join("python");
    sh::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    )?;
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    sh::run(pip.args(GRPCIO))?;
    std::fs::write(stamp()?, GRPCIO.join(" ")).context("note what was installed")
}

/// From the release itself where it is new enough, otherwise from its backports.
fn install_qemu(host: &Host, lists: &Lists) -> Result<()> {
    let backports = host.backports();
    let release = (host.codename == "bookworm").then_some(backports.as_str());
    lists.install(&["qemu-system-x86"], release)?;
    let major = qemu_major().context("QEMU was installed and does not run")?;
    anyhow::ensure!(
        major >= QEMU_MAJOR,
        "Debian gave QEMU {major}, guests need {QEMU_MAJOR} or newer"
    );
    Ok(())
}

impl Proof {
    fn holds(self) -> bool {
        match self {
            Self::Program(name) => sh::which(name).is_some(),
            Self::File(path) => Path::new(path).exists(),
            Self::Module(name) => {
                let mut python = Command::new("python3");
                sh::output(python.args(["-c", &format!("import {name}")])).is_ok()
            }
        }
    }
}

fn qemu_major() -> Option<u32> {
    let said = sh::output(Command::new(QEMU).arg("--version")).ok()?;
    parse_qemu_major(&said)
}

fn parse_qemu_major(said: &str) -> Option<u32> {
    let version = said.strip_prefix("QEMU emulator version ")?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_qemu_is_read() {
        let said = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright";
        assert_eq!(parse_qemu_major(said), Some(10));
        assert_eq!(parse_qemu_major("qemu: not found"), None);
    }
}
