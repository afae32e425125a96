//! Small helpers around processes and places.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
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

/// A cargo command in this repository. It builds into [`target_dir`].
pub(crate) fn cargo(command: &str) -> Command {
    let mut cargo = for_cargo(Command::new(cargo_program()));
    cargo.arg(command);
    cargo
}

/// A program that calls cargo in this repository, which then builds into [`target_dir`].
pub(crate) fn for_cargo(program: Command) -> Command {
    let mut program = in_repo(program);
    program.env("CARGO_TARGET_DIR", target_dir());
    program
}

fn in_repo(mut program: Command) -> Command {
    program.current_dir(repo());
    // What `cargo run` tells this program about its package would have ring built anew after each
    // cargo command that was typed by hand.
    for (name, _) in std::env::vars_os() {
        let word = name.to_string_lossy();
        if word.starts_with("CARGO_PKG_") || word.starts_with("CARGO_MANIFEST_") {
            program.env_remove(name);
        }
    }
    program
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let asked = asked_target_dir().unwrap_or_else(|| repo().join("target"));
        if make_takes(&asked) {
            return asked;
        }
        // A relative one was joined to the folder that cargo was called in.
        let asked = asked.canonicalize().unwrap_or(asked);
        if make_takes(&asked) {
            return asked;
        }
        let cannot = format!(
            "make, which builds libbpf, cannot work in {}",
            asked.display()
        );
        match other_target_dir(&asked) {
            Ok(other) => {
                let place = other.display();
                screen::say(&format!("── what is built goes to {place}: {cannot}"));
                other
            }
            Err(error) => {
                screen::say(&format!(
                    "── {cannot}, and there is no other place: {error:#}"
                ));
                asked
            }
        }
    })
}

/// As cargo itself would choose, by environment or configuration, from where it was called.
fn asked_target_dir() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    let mut cargo = in_repo(Command::new(cargo_program()));
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]);
    cargo.arg("--manifest-path");
    cargo.arg(repo().join("Cargo.toml")).current_dir(here);
    let said: serde_json::Value = serde_json::from_str(&output(&mut cargo).ok()?).ok()?;
    Some(said["target_directory"].as_str()?.into())
}

/// Blanks separate words in a makefile, and much else means something to it or to its shell.
fn make_takes(path: &Path) -> bool {
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+,@~".contains(letter);
    path.to_str().is_some_and(|path| path.chars().all(plain))
}

/// A folder of this user that make can work in, always the same for the same `asked`.
fn other_target_dir(asked: &Path) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    asked.hash(&mut hasher);
    let cache = cache_dir()?;
    let parent = if make_takes(&cache) {
        cache
    } else {
        own_folder()?
    };
    Ok(parent.join(format!("target-{:016x}", hasher.finish())))
}

/// In a place where others may make folders too: one that they have prepared is refused.
fn own_folder() -> Result<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let path = PathBuf::from(format!("/var/tmp/bpfman-{user}"));
    // It may be there already.
    let _ = std::fs::DirBuilder::new().mode(0o700).create(&path);
    let found = path.symlink_metadata()?;
    let ours = found.is_dir() && found.uid() == user && found.mode() & 0o777 == 0o700;
    anyhow::ensure!(ours, "{} belongs to somebody else", path.display());
    Ok(path)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn make_takes_plain_paths_only() {
        for path in ["/root/bpfman/target", "/home/jörg/x+y_1.0~/target-2"] {
            assert!(make_takes(Path::new(path)), "{path}");
        }
        for path in [
            "/home/a b/target",
            "/x%/target",
            "/x:y",
            "/a'b",
            "/$x",
            "/a#b",
        ] {
            assert!(!make_takes(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn the_readme_names_the_rust_that_is_needed() {
        let wanted = concat!("Rust ", env!("CARGO_PKG_RUST_VERSION"), " or newer");
        for name in ["README.md", "CONTRIBUTING.md"] {
            let text = std::fs::read_to_string(repo().join(name)).unwrap();
            assert!(text.contains(wanted), "{name} does not say: {wanted}");
        }
    }
}
