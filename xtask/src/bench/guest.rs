//! Figures that need extension programs: chains beside libxdp's.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Figure;
use super::measure::{fastest, medians, milliseconds, pair, time};
use crate::sh;
use crate::stage::{IFACE, ip, object};

/// Fewer than on the host: an emulated processor takes its time.
const RUNS: usize = 15;
/// An interface of its own for the rival.
const THEIRS: &str = "rival0";
const SWAPS: &str = "swap::no_packet_passes_by_an_xdp_program";
const CROWD: &str = "crowd::sixty_four_processes";
const LENGTHS: [usize; 4] = [1, 2, 5, 10];
/// Enough to make a change of context during a measurement disappear.
const REPEAT: &str = "50000";
/// Where the kernel puts a program decides much under emulation: each time it is somewhere else.
const LOADINGS: usize = 7;

pub(super) fn figures(bpfman: &Path, tests: &Path) -> Result<Vec<Figure>> {
    // First, while the test finds no bpffs of ours below the /run that it covers.
    let bypassed = swaps(bpfman, tests)?;
    let crowd = crowd(bpfman, tests)?;
    ip(&format!("link add {THEIRS} type veth peer name rival1"))?;
    ip(&format!("link set {THEIRS} up"))?;
    let mut figures = vec![load(bpfman)?];
    for proceed_on in ["pass", "pass dispatcher_return"] {
        for length in LENGTHS {
            figures.push(per_packet(bpfman, length, proceed_on)?);
        }
    }
    figures.push(bypassed);
    figures.extend(crowd);
    Ok(figures)
}

fn ours(bpfman: &Path, words: &str) -> Result<(Duration, String)> {
    time(Command::new(bpfman).args(words.split_whitespace()))
}

fn theirs(words: &str) -> Result<Duration> {
    Ok(time(Command::new("xdp-loader").args(words.split_whitespace()))?.0)
}

/// The second program of a chain, with the first one there.
fn load(bpfman: &Path) -> Result<Figure> {
    let object = object("examples/xdp_pass");
    let words = format!("load file -o id -p {object} xdp -i {IFACE} -p 50");
    let rival = format!("load {THEIRS} {object}");
    ours(bpfman, &words)?;
    theirs(&rival)?;
    let both = pair(
        RUNS,
        || {
            let (took, id) = ours(bpfman, &words)?;
            ours(bpfman, &format!("unload {id}"))?;
            Ok(took)
        },
        || {
            let took = theirs(&rival)?;
            theirs(&format!("unload {THEIRS} --id {}", newest()?))?;
            Ok(took)
        },
    )?;
    clear(bpfman)?;
    let value = format!(
        "{} : {} = {:.2}",
        milliseconds(both.ours),
        milliseconds(both.theirs),
        both.ratio()
    );
    let what = "load file … xdp into a chain : xdp-loader load";
    Ok(Figure::new(what, value, "ratio 2", both.ratio() <= 2.0))
}

/// The extension program with the highest id: the one that `xdp-loader` has just loaded.
pub(super) fn newest() -> Result<u64> {
    let programs = sh::output(Command::new("bpftool").args(["-j", "prog", "show"]))?;
    let programs: Vec<serde_json::Value> = serde_json::from_str(&programs)?;
    let ids = programs
        .iter()
        .filter(|program| program["type"] == "ext")
        .filter_map(|program| program["id"].as_u64());
    ids.max().context("xdp-loader loaded no program")
}

/// Time for one packet through a chain of `length` passing programs, ours and libxdp's: the median
/// over several loadings of both chains. The programs of `xdp-loader` proceed on `pass`.
fn per_packet(bpfman: &Path, length: usize, proceed_on: &str) -> Result<Figure> {
    let both = medians(LOADINGS, || {
        let object = object("examples/xdp_pass");
        for _ in 0..length {
            ours(
                bpfman,
                &format!("load file -o id -p {object} xdp -i {IFACE} --proceed-on {proceed_on}"),
            )?;
            theirs(&format!("load {THEIRS} {object}"))?;
        }
        let (a, b) = (dispatcher(IFACE)?, dispatcher(THEIRS)?);
        let both = fastest(8, || run_packet(a), || run_packet(b))?;
        clear(bpfman)?;
        Ok(both)
    })?;
    let value = format!(
        "{} ns : {} ns = {:.2}",
        both.ours.as_nanos(),
        both.theirs.as_nanos(),
        both.ratio()
    );
    let what = format!("one packet, chain of {length}, proceed on {proceed_on} : libxdp's");
    // The emulated clock is coarse: 5 % is noise.
    Ok(Figure::new(what, value, "ratio 1", both.ratio() <= 1.05))
}

fn dispatcher(iface: &str) -> Result<u64> {
    let links = sh::output(Command::new("ip").args(["-j", "link", "show", "dev", iface]))?;
    let links: serde_json::Value = serde_json::from_str(&links)?;
    links[0]["xdp"]["prog"]["id"]
        .as_u64()
        .with_context(|| format!("{iface} runs no XDP program"))
}

/// BPF_PROG_TEST_RUN through bpftool, which prints the mean time of one run.
fn run_packet(program: u64) -> Result<Duration> {
    let packet = "/run/packet";
    std::fs::write(packet, [0_u8; 64])?;
    let id = program.to_string();
    let words = [
        "-j", "prog", "run", "id", &id, "data_in", packet, "repeat", REPEAT,
    ];
    let told: serde_json::Value =
        serde_json::from_str(&sh::output(Command::new("bpftool").args(words))?)?;
    let nanos = told["duration"]
        .as_u64()
        .context("bpftool told no duration")?;
    Ok(Duration::from_nanos(nanos))
}

fn clear(bpfman: &Path) -> Result<()> {
    let ids = ours(bpfman, "list -o id")?.1.replace('\n', " ");
    ours(bpfman, &format!("unload {ids}"))?;
    theirs(&format!("unload {THEIRS} --all")).map(drop)
}

/// The test counts packets that a program in the chain did not see; it fails on the first.
fn swaps(bpfman: &Path, tests: &Path) -> Result<Figure> {
    let told = told(bpfman, tests, SWAPS)?;
    let told = told.lines().find(|line| line.contains("packets over"));
    let value = format!("0 ({})", told.unwrap_or("no packets").trim());
    Ok(Figure::new(
        "packets that bypassed a program",
        value,
        "0",
        told.is_some(),
    ))
}

/// How long those wait who only look, while everybody else changes programs.
fn crowd(bpfman: &Path, tests: &Path) -> Result<Vec<Figure>> {
    let told = told(bpfman, tests, CROWD)?;
    let figures = ["List", "Load"].map(|verb| {
        let of = format!(" {verb}: ");
        let line = told.lines().find_map(|line| line.split_once(&of));
        let value = line.map_or("not told", |(_, times)| times);
        let what = format!("{} beside 63 other processes", verb.to_lowercase());
        Figure::new(what, value, "none", line.is_some())
    });
    Ok(figures.into())
}

/// What a kernel test prints; it must pass.
fn told(bpfman: &Path, tests: &Path, test: &str) -> Result<String> {
    let run = Command::new(tests)
        .env("BPFMAN_BIN", bpfman)
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .output()
        .context("start the kernel tests")?;
    let told = String::from_utf8_lossy(&run.stderr).into_owned();
    ensure!(run.status.success(), "{test} failed: {told}");
    Ok(told)
}
