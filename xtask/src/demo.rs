//! `cargo xtask demo`: the main job, shown with real commands on real packets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::initramfs::Content;
use crate::kernels::Version;
use crate::setup::{self, Need};
use crate::sh;
use crate::stage::{self, ADDRESS, APART, IFACE, PEER};
use crate::vm::Run;

/// Options of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Play with this program, already in the namespaces of the demo
    #[arg(long, hide = true)]
    stage: Option<PathBuf>,
}

const PINGS: u32 = 5;

/// Runs `cargo xtask demo`.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(bpfman) = &args.stage {
        return play(bpfman).map(|()| ExitCode::SUCCESS);
    }
    setup::ensure(&[Need::Build, Need::Host])?;
    let bpfman = sh::step("build bpfman (release)", stage::release)?;
    let path = bpfman.to_string_lossy().into_owned();
    say("On this machine's kernel, in a network and mount namespace of its own");
    sh::need_root("loading eBPF programs")?;
    let own = std::env::current_exe().context("find this program")?;
    let mut here = Command::new(APART[0]);
    here.args(&APART[1..])
        .arg(own)
        .args(["demo", "--stage", &path]);
    ensure!(
        here.status()?.success(),
        "the demo failed on this machine's kernel"
    );
    if stage::takes_extensions()? {
        return Ok(ExitCode::SUCCESS);
    }
    say("The whole demo, on Debian's kernel 6.12 in QEMU");
    let play = ["/init", "demo", "--stage", &path];
    let mut run = Run::new(Version::V6_12, &[&APART[..], &play].concat());
    run.content = Content {
        programs: vec![bpfman],
        ..Content::default()
    };
    Ok(ExitCode::from(run.show(|_, _| Ok(()))?))
}

fn play(bpfman: &Path) -> Result<()> {
    stage::enter()?;
    stage::veth()?;
    let show = Show {
        bpfman,
        chains: stage::takes_extensions()?,
    };
    println!(
        "kernel {}",
        rustix::system::uname().release().to_string_lossy()
    );
    let before = Kernel::now()?;
    if show.chains {
        show.chain()?;
    } else {
        show.single()?;
    }
    show.clean_up(&before)
}

fn say(what: &str) {
    println!("━━━ {what}\n");
}

struct Show<'a> {
    bpfman: &'a Path,
    chains: bool,
}

impl Show<'_> {
    /// Two XDP programs in a chain, a third that comes and goes, one TC and one tracepoint program.
    fn chain(&self) -> Result<()> {
        say("Two XDP programs on one interface: a counter, and one that lets all pass");
        let counter = self.load("xdp_counter", "xdp_stats", &xdp(10))?;
        self.load("xdp_pass", "pass", &xdp(50))?;
        let (tc, trace) = self.load_others()?;
        self.run(&["list"])?;
        ping(true)?;
        let seen = self.packets(&counter, "xdp_stats_map")?;
        ensure!(
            seen >= u64::from(PINGS),
            "the counter saw {seen} of {PINGS} pings"
        );

        say("A third program in front of them, which drops pings");
        let dropper = self.load("xdp_drop_icmp", "drop_icmp", &xdp(5))?;
        self.run(&["get", &counter])?;
        ping(false)?;
        let still = self.packets(&counter, "xdp_stats_map")?;
        ensure!(
            still == seen,
            "dropped pings came through: {seen}, then {still}"
        );

        say("Without it the chain is as before");
        self.run(&["unload", &dropper])?;
        ping(true)?;
        let more = self.packets(&counter, "xdp_stats_map")?;
        ensure!(
            more >= seen + u64::from(PINGS),
            "the counter stands still at {more}"
        );
        self.others_counted(&tc, &trace)
    }

    /// What a kernel without extension programs can do.
    fn single(&self) -> Result<()> {
        say(
            "This kernel refuses extension programs (BPF_PROG_TYPE_EXT), which chains are made of.",
        );
        println!("So one XDP program per interface runs here, attached directly.\n");
        let counter = self.load("xdp_counter", "xdp_stats", &xdp(10))?;
        let (tc, trace) = self.load_others()?;
        self.run(&["list"])?;
        self.run(&["get", &counter])?;
        ping(true)?;
        let seen = self.packets(&counter, "xdp_stats_map")?;
        ensure!(
            seen >= u64::from(PINGS),
            "the counter saw {seen} of {PINGS} pings"
        );
        self.others_counted(&tc, &trace)?;

        say("A second one on the same interface is refused, with the reason");
        let refused = self
            .command(&load_words("xdp_pass", "pass", &xdp(50)))
            .output()?;
        print!("{}", String::from_utf8_lossy(&refused.stderr));
        ensure!(
            !refused.status.success(),
            "the second program was not refused"
        );
        Ok(())
    }

    fn load_others(&self) -> Result<(String, String)> {
        say("One TC program and one on a tracepoint");
        let tc = [
            "tc",
            "--direction",
            "ingress",
            "--iface",
            IFACE,
            "--priority",
            "50",
        ];
        let tc = self.load("tc_counter", "stats", &tc.map(ToOwned::to_owned))?;
        let trace = ["tracepoint", "--tracepoint", "sched/sched_switch"].map(ToOwned::to_owned);
        let trace = self.load("tracepoint_counter", "sched_switch", &trace)?;
        Ok((tc, trace))
    }

    fn others_counted(&self, tc: &str, trace: &str) -> Result<()> {
        let passed = self.packets(tc, "tc_stats_map")?;
        ensure!(
            passed >= u64::from(PINGS),
            "the TC program saw {passed} of {PINGS} pings"
        );
        let switches = self.count(trace, "switch_count")?;
        ensure!(switches > 0, "the tracepoint program counted nothing");
        Ok(())
    }

    fn clean_up(&self, before: &Kernel) -> Result<()> {
        say("Unload all; nothing is left");
        let ids = sh::output(Command::new(self.bpfman).args(["list", "-o", "id"]))?;
        let mut words = vec!["unload"];
        words.extend(ids.split_whitespace());
        self.run(&words)?;
        self.run(&["list"])?;
        // The kernel frees a program a moment after its last user has gone.
        let end = Instant::now() + Duration::from_secs(5);
        let mut left = Kernel::now()?.since(before);
        while left.values().any(|count| *count > 0) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
            left = Kernel::now()?.since(before);
        }
        println!("in the kernel now and not before: {left:?}");
        let pins = find_pins(Path::new("/run/bpfman/fs"))?;
        println!("pins below /run/bpfman/fs: {}", pins.len());
        let qdisc = sh::output(Command::new("tc").args(["qdisc", "show", "dev", IFACE]))?;
        ensure!(
            left.values().all(|count| *count == 0),
            "something is left: {left:?}"
        );
        ensure!(pins.is_empty(), "pins are left: {pins:?}");
        ensure!(!qdisc.contains("clsact"), "a qdisc is left: {qdisc}");
        Ok(())
    }

    /// Shows the command as a person would type it.
    fn command(&self, words: &[String]) -> Command {
        println!("$ bpfman {}", words.join(" "));
        let mut command = Command::new(self.bpfman);
        command.args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Result<()> {
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        let said = sh::output(&mut self.command(&words))?;
        println!("{said}");
        Ok(())
    }

    /// Loads an example and returns its id.
    fn load(&self, object: &str, name: &str, attach: &[String]) -> Result<String> {
        let said = sh::output(&mut self.command(&load_words(object, name, attach)))?;
        println!("{said}");
        Ok(said.trim().to_owned())
    }

    /// Packets in a per-CPU map of packets and bytes, summed.
    fn packets(&self, id: &str, map: &str) -> Result<u64> {
        let entries = self.dump(id, map)?;
        let values = entries[0]["formatted"]["values"].as_array();
        let values = values.with_context(|| format!("{map} has no values: {entries}"))?;
        let sum = |field: &str| -> u64 {
            values
                .iter()
                .filter_map(|cpu| cpu["value"][field].as_u64())
                .sum()
        };
        println!("  {} packets, {} bytes\n", sum("packets"), sum("bytes"));
        Ok(sum("packets"))
    }

    /// The one counter of a map.
    fn count(&self, id: &str, map: &str) -> Result<u64> {
        let entries = self.dump(id, map)?;
        let value = entries[0]["formatted"]["value"].as_u64();
        let value = value.with_context(|| format!("{map} has no value: {entries}"))?;
        println!("  {value}\n");
        Ok(value)
    }

    /// What any other program can read below the program's `Map Pin Path`.
    fn dump(&self, id: &str, map: &str) -> Result<serde_json::Value> {
        let got = sh::output(Command::new(self.bpfman).args(["get", id]))?;
        let dir = got
            .lines()
            .find_map(|line| line.trim().strip_prefix("Map Pin Path:"))
            .context("`get` shows no Map Pin Path")?;
        let path = format!("{}/{map}", dir.trim());
        println!("$ bpftool map dump pinned {path}");
        let said =
            sh::output(Command::new("bpftool").args(["-j", "map", "dump", "pinned", &path]))?;
        serde_json::from_str(&said).context("read what bpftool says")
    }
}

/// Pings from the peer and insists on answers, or on none.
fn ping(answered: bool) -> Result<()> {
    let words = format!("-c {PINGS} -i 0.2 -W 1 {ADDRESS}");
    println!("$ ip netns exec {PEER} ping {words}");
    let said = stage::in_peer("ping").args(words.split(' ')).output()?;
    let text = String::from_utf8_lossy(&said.stdout);
    println!(
        "{}\n",
        text.lines()
            .find(|line| line.contains("packets"))
            .unwrap_or(&text)
    );
    ensure!(
        said.status.success() == answered,
        "pings were {}answered",
        if answered { "not " } else { "" }
    );
    Ok(())
}

fn xdp(priority: u32) -> Vec<String> {
    let priority = priority.to_string();
    let words = ["xdp", "--iface", IFACE, "--priority", &priority];
    words.map(ToOwned::to_owned).to_vec()
}

fn load_words(object: &str, name: &str, attach: &[String]) -> Vec<String> {
    let path = stage::object(&format!("examples/{object}"));
    let words = ["load", "file", "-o", "id", "--path", &path, "--name", name];
    words
        .map(ToOwned::to_owned)
        .iter()
        .chain(attach)
        .cloned()
        .collect()
}

/// The ids of all that the kernel holds, ours or not.
#[derive(Debug)]
struct Kernel(BTreeMap<&'static str, BTreeSet<u64>>);

impl Kernel {
    fn now() -> Result<Self> {
        let ids = |what: &str| -> Result<BTreeSet<u64>> {
            let show = || sh::output(Command::new("bpftool").args(["-j", what, "show"]));
            // bpftool gives up when something of another process goes while it looks.
            let said = show().or_else(|_| show()).or_else(|_| show())?;
            let listed: Vec<serde_json::Value> = serde_json::from_str(&said)?;
            Ok(listed.iter().filter_map(|one| one["id"].as_u64()).collect())
        };
        let kinds = ["prog", "map", "link"];
        let all: Result<_> = kinds.iter().map(|kind| Ok((*kind, ids(kind)?))).collect();
        Ok(Self(all?))
    }

    /// How many of each kind are here that were not in `before`.
    fn since(&self, before: &Self) -> BTreeMap<&'static str, usize> {
        let new = |(kind, ids): (&&'static str, &BTreeSet<u64>)| {
            let old = before.0.get(kind);
            let fresh = ids
                .iter()
                .filter(|id| !old.is_some_and(|old| old.contains(id)));
            (*kind, fresh.count())
        };
        self.0.iter().map(new).collect()
    }
}

/// Pins below a directory, without the two files that a kernel may put into every bpffs by itself.
fn find_pins(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut pins = Vec::new();
    if !dir.exists() {
        return Ok(pins);
    }
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            pins.extend(find_pins(&path)?);
        } else if !path.ends_with("maps.debug") && !path.ends_with("progs.debug") {
            pins.push(path);
        }
    }
    Ok(pins)
}
