//! What has to be on the machine, and how it gets there.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::apt::Host;
use crate::tools::{self, Tool};
use crate::{cache, grpcio, sh};

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
    /// To show the main job on this kernel.
    Demo,
    /// To run tests on this kernel.
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
    /// To look at licenses and advisories: cargo-deny.
    Deny,
}

impl Need {
    /// All of them but what only those need who change eBPF programs.
    const ALL: [Self; 11] = [
        Self::Build,
        Self::Host,
        Self::Vm,
        Self::Bench,
        Self::Registry,
        Self::Images,
        Self::Rpc,
        Self::Package,
        Self::Root,
        Self::Nextest,
        Self::Deny,
    ];

    /// What people read who wonder why something is installed.
    fn purpose(self) -> &'static str {
        match self {
            Self::Build => "to build",
            Self::Demo => "for the demo's own interfaces and packets",
            Self::Host => "for the tests' own interfaces and programs",
            Self::Vm => "to boot other kernels",
            Self::Bpf => "to compile eBPF",
            Self::Bench => "to measure",
            Self::Registry => "to keep images",
            Self::Images => "to make, copy and serve images as people do",
            Self::Rpc => "to ask the daemon from Python",
            Self::Package => "to make the Debian package",
            Self::Root => "to install the Debian package into a folder",
            Self::Nextest => "to run tests",
            Self::Deny => "to look at licenses and advisories",
        }
    }
}

/// How to see that a package is there.
#[derive(Debug, Clone, Copy)]
enum Proof {
    Program(&'static str),
    File(&'static str),
    /// A module of Python.
    Module(&'static str),
    /// QEMU that is new enough.
    Qemu,
    /// What docker builds images with since version 23.
    Buildx,
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
    (Need::Demo, "iproute2", Proof::Program("tc")),
    (Need::Demo, "iputils-ping", Proof::Program("ping")),
    (Need::Demo, "bpftool", Proof::Program("bpftool")),
    (Need::Host, "iproute2", Proof::Program("tc")),
    (Need::Host, "iputils-ping", Proof::Program("ping")),
    (Need::Host, "bpftool", Proof::Program("bpftool")),
    (Need::Host, "xdp-tools", Proof::Program("xdp-loader")),
    (Need::Host, "ethtool", Proof::Program("ethtool")),
    (Need::Host, "strace", Proof::Program("strace")),
    (Need::Vm, QEMU_PACKAGE, Proof::Qemu),
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
    (Need::Images, DOCKER_BUILDX, Proof::Buildx),
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
    // It gets the advisories.
    (Need::Deny, "git", Proof::Program("git")),
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
/// Debian 12 has none, and its docker needs none.
const DOCKER_BUILDX: &str = "docker-buildx";

const QEMU_PACKAGE: &str = "qemu-system-x86";
const QEMU: &str = "qemu-system-x86_64";
/// QEMU 7.2 panics its guests now and then under emulation.
const QEMU_MAJOR: u32 = 8;

/// What cargo installs.
const TOOLS: &[(Need, Tool)] = &[(Need::Nextest, tools::NEXTEST), (Need::Deny, tools::DENY)];

/// Runs `cargo xtask setup`.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.check {
        let missing = missing(&Need::ALL)?;
        anyhow::ensure!(missing.is_empty(), "missing: {}", missing.join(" "));
    } else {
        ensure(&Need::ALL)?;
    }
    println!("everything is there");
    Ok(())
}

/// The names of all that is missing.
fn missing(needs: &[Need]) -> Result<Vec<&'static str>> {
    let mut names = Packages::missing(needs).names();
    for (need, tool) in TOOLS {
        if needs.contains(need) && !tool.is_there()? {
            names.push(tool.name);
        }
    }
    if needs.contains(&Need::Rpc) && !grpcio::is_there()? {
        names.push("grpcio");
    }
    Ok(names)
}

/// Installs what is missing for `needs`; does nothing when all is there.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    let packages = Packages::missing(needs);
    if !packages.is_empty() {
        packages.install(needs)?;
    }
    for (need, tool) in TOOLS {
        if needs.contains(need) {
            tool.get()?;
        }
    }
    if needs.contains(&Need::Rpc) {
        grpcio::python()?;
    }
    Ok(())
}

/// Packages of Debian, each with the first need that it is for.
#[derive(Debug, PartialEq, Eq)]
struct Packages(Vec<(Need, &'static str)>);

impl Packages {
    fn missing(needs: &[Need]) -> Self {
        let mut missing = Vec::new();
        for need in needs {
            let own = PACKAGES.iter().filter(|(of, _, _)| of == need);
            for (_, package, proof) in own {
                if missing.iter().all(|(_, other)| other != package) && !proof.holds() {
                    missing.push((*need, *package));
                }
            }
        }
        Self(missing)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(_, package)| *package).collect()
    }

    /// As `make gcc (to build), strace (to measure)`.
    fn explained(&self) -> String {
        let of_one_need = |group: &[(Need, &str)]| {
            let names: Vec<_> = group.iter().map(|(_, package)| *package).collect();
            format!("{} ({})", names.join(" "), group[0].0.purpose())
        };
        let groups = self.0.chunk_by(|one, other| one.0 == other.0);
        groups.map(of_one_need).collect::<Vec<_>>().join(", ")
    }

    fn install(&self, needs: &[Need]) -> Result<()> {
        sh::need_root(&format!("installing {}", self.explained()))?;
        let alone = cache::Alone::on_machine("install", "install packages")?;
        // Another run may have installed it while this one waited.
        let missing = Self::missing(needs);
        if missing.is_empty() {
            return Ok(());
        }
        let what = format!("install {}", missing.explained());
        sh::step(&what, || missing.install_alone(&alone))
    }

    fn install_alone(&self, alone: &cache::Alone) -> Result<()> {
        let host = Host::read()?;
        let old = host.codename == "bookworm";
        let backports = host.backports();
        let qemu = self.names().contains(&QEMU_PACKAGE);
        let lists = host.own_lists((qemu && old).then_some(&backports), alone.folder())?;
        let mut packages = self.names();
        packages
            .retain(|package| !old || ![DOCKER_CLI, DOCKER_BUILDX, QEMU_PACKAGE].contains(package));
        if !packages.is_empty() {
            lists.install(&packages, None)?;
        }
        if qemu && old {
            lists.install(&[QEMU_PACKAGE], Some(&backports))?;
        }
        let still = self.0.iter().filter(|(need, package)| {
            let own = |(of, name, _): &&(Need, &str, Proof)| of == need && name == package;
            PACKAGES
                .iter()
                .filter(own)
                .any(|(_, _, proof)| !proof.holds())
        });
        let still: Vec<_> = still.map(|(_, package)| *package).collect();
        anyhow::ensure!(
            still.is_empty(),
            "Debian {} gave {}, but not what is needed of it: this runner knows Debian 12 and 13",
            host.codename,
            still.join(" ")
        );
        Ok(())
    }
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
            Self::Buildx => docker_builds(),
            Self::Qemu => qemu_major().is_some_and(|major| major >= QEMU_MAJOR),
        }
    }
}

/// Whether docker has what it builds with, or its Debian knows nothing of that.
fn docker_builds() -> bool {
    let plugin = Path::new("/usr/libexec/docker/cli-plugins/docker-buildx");
    plugin.exists() || Host::read().is_ok_and(|host| host.codename == "bookworm")
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

    #[test]
    fn what_is_installed_is_told_with_its_purpose() {
        let packages = Packages(vec![
            (Need::Build, "gcc"),
            (Need::Build, "make"),
            (Need::Bench, "time"),
        ]);
        assert_eq!(
            packages.explained(),
            "gcc make (to build), time (to measure)"
        );
    }
}
