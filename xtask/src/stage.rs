//! A private place to load programs in: mounts and interfaces that vanish with the process.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};

use crate::sh;

/// The interface that programs are attached to.
pub(crate) const IFACE: &str = "demo0";
/// The network namespace of its peer.
pub(crate) const PEER: &str = "peer";
/// Address of [`IFACE`].
pub(crate) const ADDRESS: &str = "192.0.2.1";
/// Address of the peer.
pub(crate) const PEER_ADDRESS: &str = "192.0.2.2";

/// Runs what follows in mount and network namespaces of its own.
///
/// What it mounts and attaches goes when it ends, however it ends: an interface with its
/// namespace, a bpffs and every pin in it with its last mount.
pub(crate) const APART: [&str; 5] = ["unshare", "--mount", "--net", "--propagation", "private"];

/// Mounts a fresh `/run` (a tmpfs, as on real systems) with the file systems that eBPF needs.
pub(crate) fn enter() -> Result<()> {
    for (kind, target) in [
        ("tmpfs", "/run"),
        // sysfs shows the interfaces of the namespace that mounted it.
        ("sysfs", "/sys"),
        ("bpf", "/sys/fs/bpf"),
        ("tracefs", "/sys/kernel/tracing"),
    ] {
        mount(kind, target, kind, MountFlags::empty(), None)
            .with_context(|| format!("mount {kind} on {target}"))?;
    }
    ip("link set lo up")
}

/// A veth pair that only carries what is sent on purpose: neighbours are entered by hand and IPv6
/// is off.
pub(crate) fn veth() -> Result<()> {
    ip(&format!("netns add {PEER}"))?;
    let no_ipv6 = Path::new("/proc/sys/net/ipv6/conf/default/disable_ipv6");
    if no_ipv6.exists() {
        std::fs::write(no_ipv6, "1").context("turn IPv6 off")?;
        let path = no_ipv6.to_string_lossy();
        sh::output(in_peer("sh").args(["-c", &format!("echo 1 > {path}")]))?;
    }
    let (near, far) = ("02:00:00:00:00:01", "02:00:00:00:00:02");
    ip(&format!(
        "link add {IFACE} address {near} type veth peer name {IFACE}p netns {PEER} address {far}"
    ))?;
    for (at, iface, address, other, mac) in [
        ("", IFACE.to_owned(), ADDRESS, PEER_ADDRESS, far),
        ("-n peer ", format!("{IFACE}p"), PEER_ADDRESS, ADDRESS, near),
    ] {
        ip(&format!("{at}address add {address}/24 dev {iface}"))?;
        ip(&format!("{at}link set {iface} up"))?;
        ip(&format!(
            "{at}neigh replace {other} lladdr {mac} dev {iface} nud permanent"
        ))?;
    }
    Ok(())
}

/// A command in the peer's network namespace.
pub(crate) fn in_peer(program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", PEER, program]);
    command
}

/// Runs `ip` with these words.
pub(crate) fn ip(words: &str) -> Result<()> {
    sh::output(Command::new("ip").args(words.split_whitespace()))?;
    Ok(())
}

/// The release of the running kernel.
pub(crate) fn kernel() -> String {
    let name = rustix::system::uname();
    name.release().to_string_lossy().into_owned()
}

/// Whether the kernel takes extension programs, which chains are made of.
pub(crate) fn takes_extensions() -> Result<bool> {
    let probed = sh::output(Command::new("bpftool").args(["-j", "feature", "probe", "kernel"]))?;
    let probed: serde_json::Value =
        serde_json::from_str(&probed).context("read what bpftool says")?;
    probed["program_types"]["have_ext_prog_type"]
        .as_bool()
        .context("bpftool does not say whether the kernel has extension programs")
}

/// Builds `bpfman` with a profile of the root `Cargo.toml`, with all that cargo says on the way.
pub(crate) fn build(profile: &str) -> Result<PathBuf> {
    sh::run(sh::cargo("build").args(["--profile", profile, "--package", "bpfman"]))?;
    Ok(sh::target_dir().join(profile).join("bpfman"))
}

/// A committed object, as `examples/xdp_counter`.
pub(crate) fn object(name: &str) -> String {
    let path = sh::repo().join("bpf").join(format!("{name}.bpf.o"));
    path.to_string_lossy().into_owned()
}
