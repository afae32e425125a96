//! Figures that every kernel can give: single programs, lists, memory, size.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Figure;
use super::measure::{alone, milliseconds, pair, peak, time};
use crate::sh;
use crate::stage::{IFACE, object};

const RUNS: usize = 41;
const PIN: &str = "/sys/fs/bpf/bench";
/// The kernel takes 64 programs on one event; these are hardly ever called.
pub(super) const EVENTS: [&str; 20] = [
    "acct",
    "add_key",
    "adjtimex",
    "chroot",
    "keyctl",
    "iopl",
    "munlockall",
    "syncfs",
    "mbind",
    "migrate_pages",
    "mlockall",
    "pivot_root",
    "quotactl",
    "reboot",
    "setdomainname",
    "sethostname",
    "settimeofday",
    "swapoff",
    "swapon",
    "vhangup",
];
const FEW: usize = 100;
const MANY: usize = 1000;

pub(super) fn figures(bpfman: &Path) -> Result<Vec<Figure>> {
    let bench = Bench { bpfman };
    let mut figures = vec![bench.tracepoint()?, bench.tcx()?, bench.tcx_in_kernel()?];
    figures.extend(bench.memory()?);
    figures.extend(bench.many()?);
    let size = std::fs::metadata(bpfman)
        .context("read the size of the binary")?
        .len();
    let kept = size <= 8 << 20;
    let size = format!("{}.{} MB", size / 1_000_000, size / 100_000 % 10);
    figures.push(Figure::new("release binary, stripped", size, "8 MB", kept));
    Ok(figures)
}

struct Bench<'a> {
    bpfman: &'a Path,
}

impl Bench<'_> {
    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(self.bpfman);
        command.args(words.split_whitespace());
        command
    }

    /// Loads, and unloads outside of the time that counts.
    fn load(&self, words: &str) -> Result<Duration> {
        let (took, id) = time(&mut self.command(&format!("load file -o id {words}")))?;
        sh::output(&mut self.command(&format!("unload {id}")))?;
        Ok(took)
    }

    fn tracepoint(&self) -> Result<Figure> {
        let object = test_object("tracepoint_nobtf");
        let words = format!("-p {object} tracepoint -t syscalls/sys_enter_openat");
        let both = pair(
            RUNS,
            || self.load(&words),
            || {
                let load = format!("prog load {object} {PIN}");
                let mut bpftool = Command::new("bpftool");
                let (took, _) = time(bpftool.args(load.split_whitespace()))?;
                std::fs::remove_file(PIN)?;
                Ok(took)
            },
        )?;
        // Debian 12's bpftool cannot attach to a tracepoint: it does less here.
        let what = "load file, tracepoint : bpftool prog load and pin";
        Ok(compared(what, both.ours, both.ratio(), both.theirs))
    }

    fn tcx(&self) -> Result<Figure> {
        let object = object("examples/tc_counter");
        // Another program is there already, as a user's hook often has; both sides swap.
        let words = format!("-p {object} tcx -i {IFACE} -d egress");
        let both = pair(
            RUNS,
            || self.load(&words),
            || {
                let load = format!("bpftool prog load {object} {PIN}");
                let attach = format!("tc filter add dev {IFACE} egress bpf da pinned {PIN}");
                let script = format!("tc qdisc add dev {IFACE} clsact; {load} && {attach}");
                let (took, _) = time(Command::new("sh").args(["-c", &script]))?;
                std::fs::remove_file(PIN)?;
                crate::stage::ip(&format!("link show {IFACE}"))?;
                sh::output(Command::new("tc").args(["qdisc", "del", "dev", IFACE, "clsact"]))?;
                Ok(took)
            },
        )?;
        let what = "load file, tcx : bpftool prog load, pin and tc filter add";
        Ok(compared(what, both.ours, both.ratio(), both.theirs))
    }

    /// How long one tcx load waits in BPF_LINK_CREATE: the kernel lets an RCU grace period pass there
    /// (`tcx_entry_sync`, include/net/tcx.h), which no loader can shorten.
    fn tcx_in_kernel(&self) -> Result<Figure> {
        let object = object("examples/tc_counter");
        let took = alone(RUNS, || {
            let trace = Command::new("strace")
                .args(["-qq", "-T", "-e", "trace=bpf"])
                .arg(self.bpfman)
                .args(["load", "file", "-o", "id", "-p", &object, "tcx"])
                .args(["-d", "egress", "-i", IFACE])
                .output()
                .context("start strace")?;
            let said = String::from_utf8_lossy(&trace.stderr).into_owned();
            let call = said.lines().rfind(|line| line.contains("BPF_LINK_CREATE"));
            let seconds = call
                .and_then(|line| line.rsplit_once('<')?.1.strip_suffix('>'))
                .with_context(|| format!("no BPF_LINK_CREATE in: {said}"))?;
            self.unload_all()?;
            Ok(Duration::from_secs_f64(seconds.parse()?))
        })?;
        let what = "of that load, inside the kernel's BPF_LINK_CREATE";
        Ok(Figure::new(what, milliseconds(took), "none", true))
    }

    fn memory(&self) -> Result<Vec<Figure>> {
        let load = format!(
            "load file -o id -p {} tcx -i {IFACE} -d egress",
            object("examples/tc_counter")
        );
        let mut figures = Vec::new();
        for (what, words, floor, limit) in [
            (
                "peak memory of a load without CO-RE",
                load.as_str(),
                "12 MB",
                12_000,
            ),
            ("peak memory of list", "list", "8 MB", 8_000),
        ] {
            let kib = peak(&mut self.command(words))?;
            let value = format!("{}.{} MB", kib / 1000, kib / 100 % 10);
            figures.push(Figure::new(what, value, floor, kib <= limit));
        }
        self.unload_all()?;
        Ok(figures)
    }

    fn many(&self) -> Result<Vec<Figure>> {
        let few = self.with(FEW)?;
        let many = self.with(MANY)?;
        let [listed, got] = [0, 1].map(|n| (few[n], many[n]));
        self.unload_all()?;
        let limit = Duration::from_millis(4);
        let mut figures = Vec::new();
        for (what, (at_few, at_many)) in [("list", listed), ("get", got)] {
            let growth = at_many.saturating_sub(at_few).as_secs_f64() * 1e6;
            let each = growth / f64::from(u32::try_from(MANY - FEW)?);
            figures.push(Figure::new(
                format!("{what} with {FEW} programs"),
                milliseconds(at_few),
                "4 ms",
                at_few <= limit,
            ));
            figures.push(Figure::new(
                format!("{what}, growth up to {MANY} programs"),
                format!("{each:.1} µs a program ({})", milliseconds(at_many)),
                "20 µs",
                each < 20.0,
            ));
        }
        Ok(figures)
    }

    /// Medians of list and get with so many programs loaded.
    fn with(&self, programs: usize) -> Result<[Duration; 2]> {
        let ids = sh::output(&mut self.command("list -o id"))?;
        let mut ids: Vec<String> = ids.lines().map(str::to_owned).collect();
        let object = test_object("tracepoint_nobtf");
        for n in ids.len()..programs {
            let event = EVENTS[n % EVENTS.len()];
            let words =
                format!("load file -o id -p {object} tracepoint -t syscalls/sys_enter_{event}");
            ids.push(sh::output(&mut self.command(&words))?.trim().to_owned());
        }
        let get = format!("get {}", ids[ids.len() / 2]);
        Ok([
            alone(RUNS, || Ok(time(&mut self.command("list"))?.0))?,
            alone(RUNS, || Ok(time(&mut self.command(&get))?.0))?,
        ])
    }

    fn unload_all(&self) -> Result<()> {
        let ids = sh::output(&mut self.command("list -o id"))?;
        let words = format!("unload {}", ids.replace('\n', " "));
        sh::output(&mut self.command(&words)).map(drop)
    }
}

fn compared(what: &str, ours: Duration, ratio: f64, theirs: Duration) -> Figure {
    let value = format!(
        "{} : {} = {ratio:.2}",
        milliseconds(ours),
        milliseconds(theirs)
    );
    let kept = ratio <= 2.0 && ours <= Duration::from_millis(6);
    Figure::new(what, value, "6 ms and ratio 2", kept)
}

fn test_object(name: &str) -> String {
    object(&format!("test/{name}"))
}
