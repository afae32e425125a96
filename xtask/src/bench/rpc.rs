//! What the daemon costs, beside the manager that it is a front of.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Figure;
use super::measure::milliseconds;
use crate::sh;
use crate::stage::object;

const SOCKET: &str = "/run/bpfman-sock/bpfman.sock";

/// Builds the daemon as it is shipped, and the client that measures it. Together they would share
/// features that a daemon does not have.
pub(super) fn build() -> Result<()> {
    for what in [&["--bin", "bpfman-rpc"], &["--example", "measure"]] {
        let mut cargo = sh::cargo("build");
        cargo.args(["--release", "--package", "bpfman-rpc"]);
        sh::run(cargo.args(what))?;
    }
    Ok(())
}

/// Both lie beside `bpfman`.
pub(super) fn figures(bpfman: &Path) -> Result<Vec<Figure>> {
    let program = bpfman.with_file_name("bpfman-rpc");
    let daemon = Daemon::start(&program)?;
    let fresh = daemon.memory()?;
    let object = object("test/tracepoint_nobtf");
    let mut client = Command::new(bpfman.with_file_name("examples").join("measure"));
    let told = sh::output(client.args([SOCKET, &object]))?;
    let after = daemon.memory()?;
    let mut figures = vec![load(&told)?, rested(&told)?, list(&told)?, many(&told)?];
    for (what, kib) in [
        ("idle memory of the daemon, fresh", fresh),
        ("idle memory of the daemon, after all of that", after),
    ] {
        let value = format!("{}.{} MB", kib / 1000, kib / 100 % 10);
        figures.push(Figure::new(what, value, "12 MB", kib <= 12_000));
    }
    let size = std::fs::metadata(&program)?.len();
    let value = format!("{}.{} MB", size / 1_000_000, size / 100_000 % 10);
    figures.push(Figure::new(
        "release binary of the daemon",
        value,
        "none",
        true,
    ));
    Ok(figures)
}

/// The numbers behind a word that the client told.
fn numbers(told: &str, word: &str) -> Result<Vec<u64>> {
    let line = told.lines().find_map(|line| line.strip_prefix(word));
    let line = line.with_context(|| format!("no '{word}' in: {told}"))?;
    let numbers = line.split_whitespace().map(str::parse);
    Ok(numbers.collect::<Result<_, _>>()?)
}

/// One load after another.
fn load(told: &str) -> Result<Figure> {
    let (value, ratio) = both(told, "load ")?;
    let what = "Load over gRPC, tracepoint : the manager's load";
    Ok(Figure::new(what, value, "ratio 1.5", ratio <= 1.5))
}

/// After a rest, in which the processors that a call wakes have gone to sleep.
fn rested(told: &str) -> Result<Figure> {
    let (value, _) = both(told, "load-rested ")?;
    let what = "the same, each after some 30 ms of rest";
    Ok(Figure::new(what, value, "none", true))
}

fn both(told: &str, word: &str) -> Result<(String, f64)> {
    let both = numbers(told, word)?;
    let [asked, called] = [both[0], both[1]].map(Duration::from_micros);
    let ratio = asked.as_secs_f64() / called.as_secs_f64();
    let value = format!(
        "{} : {} = {ratio:.2}",
        milliseconds(asked),
        milliseconds(called)
    );
    Ok((value, ratio))
}

fn list(told: &str) -> Result<Figure> {
    let took = Duration::from_micros(numbers(told, "list ")?[0]);
    let kept = took <= Duration::from_millis(3);
    Ok(Figure::new(
        "List over gRPC, 100 programs",
        milliseconds(took),
        "3 ms",
        kept,
    ))
}

/// An error would have ended the client.
fn many(told: &str) -> Result<Figure> {
    let all = numbers(told, "many ")?;
    let what = format!("{} Lists of 100 programs from {} clients", all[0], all[1]);
    let value = format!("no error, {}", milliseconds(Duration::from_micros(all[2])));
    Ok(Figure::new(what, value, "no error", true))
}

/// Ended when it goes out of scope.
struct Daemon(Child);

impl Daemon {
    fn start(program: &PathBuf) -> Result<Self> {
        let mut command = Command::new(program);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let daemon = Self(child.context("start bpfman-rpc")?);
        let start = Instant::now();
        while UnixStream::connect(SOCKET).is_err() {
            ensure!(
                start.elapsed() < Duration::from_secs(20),
                "bpfman-rpc does not answer"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(daemon)
    }

    /// Resident, in KiB.
    fn memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.0.id());
        let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(size.context("no VmRSS")?.parse()?)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
