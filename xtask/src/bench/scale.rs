//! `cargo xtask bench --scale`: the same commands while there is more and more of everything.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::curve::{Curve, Tool};
use super::host::EVENTS;
use super::objects::{Grows, PROGRAM};
use crate::stage::{ip, object};

const PROGRAMS: [usize; 5] = [1, 10, 100, 300, 1000];
/// The kernel takes 64 programs on one TCX hook.
const PER_HOOK: usize = 50;
const INTERFACES: [usize; 4] = [1, 10, 50, 100];
/// What a chain holds.
const CHAIN: usize = 10;
const PIN: &str = "/sys/fs/bpf/bench";
const OBJECTS: [(Grows, &[usize]); 3] = [
    (Grows::Programs, &[1, 10, 100, 500]),
    (Grows::Maps, &[1, 10, 50, 200]),
    (Grows::Megabytes, &[1, 10, 50]),
];

/// The curves that every kernel can give.
pub(super) fn host(bpfman: &Path) -> Result<()> {
    let bpfman = Tool(bpfman);
    let tracepoint = object("test/tracepoint_nobtf");
    many(bpfman, "Programs, each on a tracepoint", &|n| {
        let event = EVENTS[n % EVENTS.len()];
        format!("-p {tracepoint} tracepoint -t syscalls/sys_enter_{event}")
    })?;
    let hooks = PROGRAMS[PROGRAMS.len() - 1].div_ceil(PER_HOOK);
    for hook in 0..=hooks {
        ip(&format!(
            "link add tcx{hook} type veth peer name ptcx{hook}"
        ))?;
    }
    let counter = object("examples/tcx_counter");
    many(bpfman, "Programs, each on TCX, 50 on an interface", &|n| {
        format!("-p {counter} tcx -d ingress -i tcx{}", n / PER_HOOK)
    })?;
    let scratch = tempfile::tempdir_in("/run").context("make a directory for objects")?;
    for (grows, sizes) in OBJECTS {
        objects(bpfman, grows, sizes, scratch.path())?;
    }
    Ok(())
}

/// With so many programs there, one more is loaded, listed, shown and unloaded. bpftool only loads
/// and pins: Debian 12's cannot attach to these.
fn many(bpfman: Tool<'_>, title: &str, load: &dyn Fn(usize) -> String) -> Result<()> {
    let mut curve = Curve::new(&[
        "programs",
        "load one more",
        "list",
        "get",
        "unload",
        "memory of load",
        "of list",
        "bpftool: load and pin",
        "prog show",
        "prog show id",
    ]);
    let mut ids = Vec::new();
    for programs in PROGRAMS {
        for n in ids.len()..programs {
            ids.push(bpfman.does(&format!("load file -o id {}", load(n)))?);
        }
        let more = format!("load file -o id {}", load(programs));
        let [loaded, unloaded] =
            bpfman.does_and_undoes(&more, |id| Ok(bpfman.command(&format!("unload {id}"))))?;
        let taken = bpfman.takes(&more)?;
        let all = bpfman.does("list -o id")?;
        let newest = all.lines().last().context("nothing is listed")?;
        bpfman.does(&format!("unload {newest}"))?;
        let middle = &ids[ids.len() / 2];
        let bpftool = Tool(Path::new("bpftool"));
        let pin = format!("prog load {} {PIN}", object("test/tracepoint_nobtf"));
        let [pinned, _] = bpftool.does_and_undoes(&pin, |_| {
            let mut remove = Command::new("rm");
            remove.arg(PIN);
            Ok(remove)
        })?;
        curve.line(
            programs,
            vec![
                loaded,
                bpfman.looks("list")?,
                bpfman.looks(&format!("get {middle}"))?,
                unloaded,
                taken,
                bpfman.takes("list")?,
                pinned,
                bpftool.looks("prog show")?,
                bpftool.looks(&format!("prog show id {middle}"))?,
            ],
        );
    }
    bpfman.does(&format!("unload {}", ids.join(" ")))?;
    curve.show(title);
    Ok(())
}

/// One program out of an object that grows.
fn objects(bpfman: Tool<'_>, grows: Grows, sizes: &[usize], dir: &Path) -> Result<()> {
    let mut curve = Curve::new(&[
        grows.name(),
        "load",
        "list",
        "get",
        "unload",
        "memory of load",
        "bpftool: load and pin",
        "its memory",
    ]);
    for &size in sizes {
        let object = grows.object(size, dir)?;
        let load = format!(
            "load file -o id -p {} -n {PROGRAM} tracepoint -t syscalls/sys_enter_acct",
            object.display()
        );
        let [loaded, unloaded] =
            bpfman.does_and_undoes(&load, |id| Ok(bpfman.command(&format!("unload {id}"))))?;
        let taken = bpfman.takes(&load)?;
        let id = bpfman.does("list -o id")?;
        let listed = bpfman.looks("list")?;
        let got = bpfman.looks(&format!("get {id}"))?;
        bpfman.does(&format!("unload {id}"))?;
        let bpftool = Tool(Path::new("bpftool"));
        // `load` would take the first program and nothing else of an object with many.
        let pin = format!("prog loadall {} {PIN}", object.display());
        let gone = || {
            let mut remove = Command::new("rm");
            remove.args(["-r", PIN]);
            remove
        };
        let [pinned, _] = bpftool.does_and_undoes(&pin, |_| Ok(gone()))?;
        let their_memory = bpftool.takes(&pin)?;
        crate::sh::output(&mut gone())?;
        curve.line(
            size,
            vec![loaded, listed, got, unloaded, taken, pinned, their_memory],
        );
        std::fs::remove_file(&object).context("remove an object of the bench")?;
    }
    curve.show(&format!(
        "Objects with a growing number of {}, one program loaded",
        grows.name()
    ));
    Ok(())
}

/// Interfaces with full chains of XDP programs, and as many of libxdp's.
pub(super) fn guest(bpfman: &Path) -> Result<()> {
    let (bpfman, rival) = (Tool(bpfman), Tool(Path::new("xdp-loader")));
    let object = object("examples/xdp_pass");
    let mut curve = Curve::new(&[
        "interfaces",
        "programs",
        "load the tenth",
        "list",
        "get",
        "unload",
        "memory of list",
        "xdp-loader: load the tenth",
        "status",
    ]);
    let mut there = 0;
    for interfaces in INTERFACES {
        for n in there..interfaces {
            for name in [format!("ours{n}"), format!("their{n}")] {
                ip(&format!("link add {name} type veth peer name p{name}"))?;
                ip(&format!("link set {name} up"))?;
            }
            for _ in 0..CHAIN {
                bpfman.does(&format!("load file -o id -p {object} xdp -i ours{n}"))?;
            }
        }
        // One goes, so that the tenth can be measured.
        let ids = bpfman.does("list -o id")?;
        let last = ids.lines().last().context("nothing is listed")?;
        bpfman.does(&format!("unload {last}"))?;
        let load = format!("load file -o id -p {object} xdp -i ours{}", interfaces - 1);
        let [loaded, unloaded] =
            bpfman.does_and_undoes(&load, |id| Ok(bpfman.command(&format!("unload {id}"))))?;
        let (listed, taken) = (bpfman.looks("list")?, bpfman.takes("list")?);
        let got = bpfman.looks(&format!("get {}", ids.lines().next().unwrap_or_default()))?;
        bpfman.does(&load)?;
        let [theirs, status] = beside(rival, there..interfaces, &object)?;
        there = interfaces;
        let programs = (interfaces * CHAIN).to_string();
        curve.line(
            interfaces,
            vec![
                programs, loaded, listed, got, unloaded, taken, theirs, status,
            ],
        );
    }
    curve.show("Interfaces with ten XDP programs each");
    let ids = bpfman.does("list -o id")?.replace('\n', " ");
    bpfman.does(&format!("unload {ids}")).map(drop)
}

/// Nine programs on each of the rival's interfaces, and the tenth on the last one, measured.
fn beside(
    rival: Tool<'_>,
    interfaces: std::ops::Range<usize>,
    object: &str,
) -> Result<[String; 2]> {
    let last = format!("their{}", interfaces.end - 1);
    for n in interfaces {
        // All at once: each by itself would take minutes, and the result is the same.
        let objects = [object; CHAIN - 1].join(" ");
        rival.does(&format!("load their{n} {objects}"))?;
    }
    let [loaded, _] = rival.does_and_undoes(&format!("load {last} {object}"), |_| {
        let newest = super::guest::newest()?;
        Ok(rival.command(&format!("unload {last} --id {newest}")))
    })?;
    // It opens what it shows of each interface and never closes it: with a hundred, it runs out of
    // descriptors.
    let status = rival.looks("status");
    Ok([loaded, status.unwrap_or_else(|_| "fails".to_owned())])
}
