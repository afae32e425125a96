//! Small helpers around processes and places.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::screen;

/// The root of the repository that this program was built from.
pub(crate) fn repo() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// The cargo that started this program.
pub(crate) fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A cargo command in this repository.
pub(crate) fn cargo(command: &str) -> Command {
    let mut cargo = Command::new(cargo_program());
    cargo.arg(command).current_dir(repo());
    cargo
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    let dir = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    repo().join(dir)
}

/// Where things lie that are costly to get and outlive a checkout: kernels, package lists.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("BPFMAN_CACHE") {
        return Ok(dir.into());
    }
    if rustix::process::geteuid().is_root() {
        return Ok("/var/cache/bpfman".into());
    }
    let home = std::env::var_os("HOME").context("neither BPFMAN_CACHE nor HOME is set")?;
    Ok(Path::new(&home).join(".cache/bpfman"))
}

/// Fails unless this process is root.
pub(crate) fn need_root(what: &str) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    bail!("{what} needs root")
}

/// The full path of a program on PATH or in the system's directories, which are not on every
/// user's PATH.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/bin".into(), "/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// A command that is killed when this program is: what it fills is nobody's then.
pub(crate) fn mortal(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// So much of what a failed command said is part of the error, the rest is in the lane's log.
const LAST_LINES: usize = 20;

/// Runs a command with the terminal as it is, or, in a lane, with the lane's log; there a failure
/// carries the last lines that the command said.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let log = screen::log();
    let mark = log.as_ref().map(|log| log.mark());
    if let Some(log) = &log {
        command.stdin(Stdio::null());
        command.stdout(log.stdio()?).stderr(log.stdio()?);
    }
    let status = command
        .status()
        .with_context(|| format!("start `{shown}`"))?;
    if status.success() {
        return Ok(());
    }
    match (log, mark) {
        (Some(log), Some(mark)) => {
            let said = last_lines(&log.since(mark), LAST_LINES);
            bail!("`{shown}` ended with {status}:\n{said}")
        }
        _ => bail!("`{shown}` ended with {status}"),
    }
}

/// The end of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Runs a command and returns its standard output; a failure carries its standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&output_bytes(command)?).into_owned())
}

/// As [`output`], for output that is no text.
pub(crate) fn output_bytes(command: &mut Command) -> Result<Vec<u8>> {
    let shown = show(command);
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .with_context(|| format!("start `{shown}`"))?;
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        bail!("`{shown}` ended with {status}: {}", said.trim());
    }
    Ok(stdout)
}

fn show(command: &Command) -> String {
    let mut shown = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        // Writing to a string does not fail.
        let _ = write!(shown, " {}", argument.to_string_lossy());
    }
    shown
}

/// One step of a longer run: says what begins and, when it ends well, how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    screen::say(&format!("── {what}"));
    let start = Instant::now();
    let done = work();
    let outcome = if done.is_ok() { "done" } else { "FAILED" };
    let seconds = start.elapsed().as_secs_f64();
    screen::say(&format!("── {what}: {outcome} in {seconds:.1} s"));
    done
}
