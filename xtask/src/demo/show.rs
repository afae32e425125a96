//! What the demo shows: the commands, and what must come of them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::made::Made;
use super::{heading, tell};
use crate::sh;
use crate::stage::{self, ADDRESS, IFACE, PEER};

const PINGS: u64 = 5;

/// Plays the demo in the namespaces that this process was started in.
pub(super) fn play(bpfman: &Path, whole: bool) -> Result<()> {
    // Whoever started this may be killed alone.
    set_parent_process_death_signal(Some(Signal::KILL)).context("end together with the parent")?;
    stage::enter()?;
    stage::veth()?;
    let chains = stage::takes_extensions()?;
    ensure!(
        chains || !whole,
        "kernel {} refuses extension programs (BPF_PROG_TYPE_EXT), of which chains are made",
        stage::kernel()
    );
    let mut show = Show {
        bpfman,
        made: Made::default(),
    };
    if chains {
        show.chain()?;
    } else {
        show.single()?;
    }
    show.clean_up()
}

struct Show<'a> {
    bpfman: &'a Path,
    made: Made,
}

impl Show<'_> {
    /// Two XDP programs in a chain, a third that comes and goes, one TC and one tracepoint program.
    fn chain(&mut self) -> Result<()> {
        heading("Two XDP programs on one interface: a counter, and one that lets all pass")?;
        let counter = self.load("xdp_counter", "xdp_stats", &xdp("10"))?;
        self.load("xdp_pass", "pass", &xdp("50"))?;
        let (tc, trace) = self.load_others()?;
        heading("Five pings, and who has seen them")?;
        self.run(&["list"])?;
        ping(true)?;
        let seen = self.counted(&counter)?;
        self.others_counted(&tc, &trace)?;

        heading("A third program in front of them, which drops pings")?;
        let dropper = self.load("xdp_drop_icmp", "drop_icmp", &xdp("5"))?;
        self.run(&["get", &counter])?;
        ping(false)?;
        let still = self.packets(&counter, "xdp_stats", "xdp_stats_map")?;
        ensure!(
            still == seen,
            "program {counter} (xdp_stats), behind one that drops pings on {IFACE}, counted {still} \
             packets after {seen}"
        );
        tell("No more than before: they came no further than to the first program.")?;

        heading("Without it the chain is as before")?;
        self.run(&["unload", &dropper])?;
        self.made.look()?;
        ping(true)?;
        let more = self.packets(&counter, "xdp_stats", "xdp_stats_map")?;
        ensure!(
            more >= seen + PINGS,
            "program {counter} (xdp_stats) on {IFACE} counted {more} packets after {seen}, though \
             {PINGS} more pings were answered"
        );
        Ok(())
    }

    /// What a kernel without extension programs can do.
    fn single(&mut self) -> Result<()> {
        tell(
            "This kernel refuses extension programs (BPF_PROG_TYPE_EXT), of which chains are made. So\n\
             one XDP program per interface runs here, attached directly; chains follow in QEMU.",
        )?;
        heading("An XDP program that counts packets, alone on its interface")?;
        let counter = self.load("xdp_counter", "xdp_stats", &xdp("10"))?;
        let (tc, trace) = self.load_others()?;
        heading("Five pings, and who has seen them")?;
        self.run(&["list"])?;
        self.run(&["get", &counter])?;
        ping(true)?;
        self.counted(&counter)?;
        self.others_counted(&tc, &trace)?;

        heading("A second one on the same interface is refused, with the reason")?;
        let words = load_words("bpf/examples/xdp_pass.bpf.o", "pass", &xdp("50"));
        let refused = self.command(&words)?.output().context("start bpfman")?;
        let said = String::from_utf8_lossy(&refused.stderr);
        tell(said.trim_end())?;
        ensure!(
            !refused.status.success() && !said.is_empty(),
            "a second XDP program on {IFACE} was not refused, though this kernel cannot run two"
        );
        Ok(())
    }

    fn load_others(&mut self) -> Result<(String, String)> {
        heading("One TC program, and one on a tracepoint")?;
        let tc = [
            "tc",
            "--direction",
            "ingress",
            "--iface",
            IFACE,
            "--priority",
            "50",
        ];
        let tc = self.load("tc_counter", "stats", &tc)?;
        let trace = ["tracepoint", "--tracepoint", "sched/sched_switch"];
        let trace = self.load("tracepoint_counter", "sched_switch", &trace)?;
        Ok((tc, trace))
    }

    /// The XDP counter has seen the pings.
    fn counted(&self, id: &str) -> Result<u64> {
        let seen = self.packets(id, "xdp_stats", "xdp_stats_map")?;
        ensure!(
            seen >= PINGS,
            "program {id} (xdp_stats) on {IFACE} counted {seen} packets, though {PINGS} pings were \
             answered"
        );
        Ok(seen)
    }

    fn others_counted(&self, tc: &str, trace: &str) -> Result<()> {
        let passed = self.packets(tc, "stats", "tc_stats_map")?;
        ensure!(
            passed >= PINGS,
            "program {tc} (stats, TC) on {IFACE} counted {passed} packets, though {PINGS} pings were \
             answered"
        );
        let map = self.map(trace, "switch_count")?;
        let entries = dump(&map)?;
        let switches = entries[0]["formatted"]["value"].as_u64();
        let switches = switches.with_context(|| format!("{map} has no value: {entries}"))?;
        tell(format_args!(
            "Program {trace} (sched_switch) has counted {switches} switches between tasks in its map {map}."
        ))?;
        ensure!(
            switches > 0,
            "program {trace} on the tracepoint sched/sched_switch counted nothing"
        );
        Ok(())
    }

    fn clean_up(&mut self) -> Result<()> {
        heading("Unload all, and look whether anything is left")?;
        let ids = sh::output(Command::new(self.bpfman).args(["list", "-o", "id"]))?;
        let mut words = vec!["unload"];
        words.extend(ids.split_whitespace());
        self.run(&words)?;
        self.run(&["list"])?;
        let made = self.made.must_be_gone()?;
        tell(format_args!(
            "The commands above made {made}: all of them are gone from the kernel, and so\n\
             are their pins. Nothing is attached to {IFACE} any more."
        ))
    }

    /// Shows the command as a person would type it.
    fn command(&self, words: &[&str]) -> Result<Command> {
        tell(format_args!("$ bpfman {}", words.join(" ")))?;
        let mut command = Command::new(self.bpfman);
        command.args(words).current_dir(sh::repo());
        Ok(command)
    }

    fn run(&self, words: &[&str]) -> Result<()> {
        let said = sh::output(&mut self.command(words)?)?;
        if said.is_empty() {
            return Ok(());
        }
        tell(format_args!("{}\n", said.trim_end()))
    }

    /// Loads an example and returns its id.
    fn load(&mut self, object: &str, name: &str, attach: &[&str]) -> Result<String> {
        let path = format!("bpf/examples/{object}.bpf.o");
        let said = sh::output(&mut self.command(&load_words(&path, name, attach))?)?;
        let id = said.trim();
        tell(id)?;
        self.made.loaded(id, name)?;
        Ok(id.to_owned())
    }

    /// Packets in a per-CPU map of packets and bytes, summed up.
    fn packets(&self, id: &str, name: &str, map: &str) -> Result<u64> {
        let map = self.map(id, map)?;
        let entries = dump(&map)?;
        let values = entries[0]["formatted"]["values"].as_array();
        let values = values.with_context(|| format!("{map} has no values: {entries}"))?;
        let sum = |field: &str| -> u64 {
            let numbers = values.iter().map(|cpu| cpu["value"][field].as_u64());
            numbers.flatten().sum()
        };
        tell(format_args!(
            "Program {id} ({name}) has counted {} packets, {} bytes in its map {map}.",
            sum("packets"),
            sum("bytes")
        ))?;
        Ok(sum("packets"))
    }

    /// Where every other program finds a map too: below the program's `Map Pin Path`.
    fn map(&self, id: &str, name: &str) -> Result<String> {
        let got = sh::output(Command::new(self.bpfman).args(["get", id]))?;
        let folder = got
            .lines()
            .find_map(|line| line.trim().strip_prefix("Map Pin Path:"))
            .with_context(|| format!("`bpfman get {id}` shows no Map Pin Path"))?;
        Ok(format!("{}/{name}", folder.trim()))
    }
}

fn dump(map: &str) -> Result<serde_json::Value> {
    let said = sh::output(Command::new("bpftool").args(["-j", "map", "dump", "pinned", map]))?;
    serde_json::from_str(&said).context("read what bpftool says")
}

/// Pings from the peer and insists on answers, or on none.
fn ping(answered: bool) -> Result<()> {
    let words = format!("-q -c {PINGS} -i 0.2 -W 1 {ADDRESS}");
    tell(format_args!("$ ip netns exec {PEER} ping {words}"))?;
    let said = stage::in_peer("ping").args(words.split(' ')).output();
    let said = said.context("start `ip`")?;
    let text = String::from_utf8_lossy(&said.stdout);
    tell(format_args!("{}\n", text.trim_end()))?;
    ensure!(
        said.status.success() == answered,
        "the pings from the namespace {PEER} to {ADDRESS} on {IFACE} were {}answered: {}",
        if answered { "not " } else { "" },
        String::from_utf8_lossy(&said.stderr).trim()
    );
    Ok(())
}

fn xdp(priority: &str) -> [&str; 5] {
    ["xdp", "--iface", IFACE, "--priority", priority]
}

fn load_words<'a>(path: &'a str, name: &'a str, attach: &[&'a str]) -> Vec<&'a str> {
    let words = ["load", "file", "-o", "id", "--path", path, "--name", name];
    words.iter().chain(attach).copied().collect()
}
