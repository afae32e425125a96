//! Words that many tests use.

use std::{fs, path::Path};

use testkit::{Load, Output, Sandbox, Veth, object, tool, xdp_loader};

/// XDP actions, include/uapi/linux/bpf.h.
pub(crate) const XDP: [(&str, i32); 5] = [
    ("aborted", 0),
    ("drop", 1),
    ("pass", 2),
    ("tx", 3),
    ("redirect", 4),
];

/// TC actions, include/uapi/linux/pkt_cls.h.
pub(crate) const TC: [(&str, i32); 10] = [
    ("unspec", -1),
    ("ok", 0),
    ("reclassify", 1),
    ("shot", 2),
    ("pipe", 3),
    ("stolen", 4),
    ("queued", 5),
    ("repeat", 6),
    ("redirect", 7),
    ("trap", 8),
];

/// A 32-bit value in the form of `--global`: its bytes in memory order.
pub(crate) fn hex(value: i32) -> String {
    format!("{:08X}", u32::from_be_bytes(value.to_ne_bytes()))
}

/// An XDP program that counts in `counter` and returns the action.
pub(crate) fn xdp(action: &str) -> Load {
    let (_, value) = XDP.iter().find(|(name, _)| *name == action).unwrap();
    object("xdp_verdict")
        .name("xdp_verdict")
        .global("verdict", &hex(*value))
}

/// A TC program that counts in `counter` and returns the action.
pub(crate) fn tc(action: &str) -> Load {
    let (_, value) = TC.iter().find(|(name, _)| *name == action).unwrap();
    object("tc_verdict")
        .name("tc_verdict")
        .global("verdict", &hex(*value))
}

/// The counters of several programs.
#[track_caller]
pub(crate) fn counts(sandbox: &Sandbox, ids: &[u32]) -> Vec<u64> {
    ids.iter().map(|id| sandbox.count(*id, "counter")).collect()
}

/// The counter of a program that made its maps itself, without asking bpfman.
pub(crate) fn counted(owner: u32) -> u64 {
    let path = format!("/run/bpfman/fs/maps/{owner}/counter");
    testkit::maps::count(path.as_ref(), 0)
}

/// `Position` of several programs.
#[track_caller]
pub(crate) fn positions(sandbox: &Sandbox, ids: &[u32]) -> Vec<usize> {
    ids.iter()
        .map(|id| sandbox.get(*id).bpfman("Position").parse().unwrap())
        .collect()
}

/// Sends packets to the near interface: how many each program counts of them, and how many arrive.
#[track_caller]
pub(crate) fn ingress(s: &Sandbox, veth: &Veth, packets: u32, ids: &[u32]) -> (Vec<u64>, u32) {
    let before = counts(s, ids);
    let arrived = veth.ingress(packets);
    (difference(&counts(s, ids), &before), arrived)
}

/// The same out of the near interface.
#[track_caller]
pub(crate) fn egress(s: &Sandbox, veth: &Veth, packets: u32, ids: &[u32]) -> (Vec<u64>, u32) {
    let before = counts(s, ids);
    let arrived = veth.egress(packets);
    (difference(&counts(s, ids), &before), arrived)
}

fn difference(after: &[u64], before: &[u64]) -> Vec<u64> {
    after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect()
}

/// Where what xdp-loader loads has its maps.
const LOADER_PINS: &str = "/sys/fs/bpf/foreign";

/// xdp-loader puts a program that counts on the interface.
pub(crate) fn loader_joins(iface: &str, priority: &str) -> Output {
    let path = object("pin_by_name").path;
    std::fs::create_dir_all(LOADER_PINS).unwrap();
    let how = ["load", "-m", "native", "-P", priority, "-p", LOADER_PINS];
    xdp_loader(&[&how[..], &[iface, path.to_str().unwrap()]].concat())
}

/// What that program counted.
pub(crate) fn loader_count() -> u64 {
    testkit::maps::count(&Path::new(LOADER_PINS).join("pinned_counter"), 0)
}

/// A filter of somebody else: a program that lets the packet go on. Every kernel of the lanes has
/// the classifier for it.
pub(crate) fn foreign_filter(iface: &str, side: &str, place: &[&str]) {
    let path = testkit::example("tcx_counter").path;
    let pin = format!("/sys/fs/bpf/foreign-{side}");
    let object = path.to_str().unwrap();
    tool(
        "bpftool",
        &["prog", "load", object, &pin, "type", "classifier"],
    )
    .ok();
    let (dev, program) = (["dev", iface, side], ["bpf", "da", "pinned", pin.as_str()]);
    tool(
        "tc",
        &[&["filter", "add"][..], &dev, place, &program].concat(),
    )
    .ok();
    std::fs::remove_file(&pin).unwrap();
}

/// A child that does not outlive its test.
pub(crate) struct Killed(pub(crate) std::process::Child);

impl Killed {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended on its own.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether who runs the tests asked for all faults on every kernel, however long it takes.
pub(crate) fn all_faults() -> bool {
    std::env::var("BPFMAN_FAULTS").is_ok_and(|reach| reach == "all")
}

/// Takes away all that bpfman made.
pub(crate) fn never_ran() {
    for path in ["/run/bpfman", "/sys/fs/bpf/xdp"] {
        // It may be mounted, or not, and there, or not.
        let _ = nix::mount::umount(&Path::new(path).join("fs"));
        let _ = fs::remove_dir_all(path);
        assert!(!Path::new(path).exists(), "{path}");
    }
}
