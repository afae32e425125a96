//! `cargo xtask fuzz`: what strangers may send, from libFuzzer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::setup::{self, Need};
use crate::{sh, tools};

/// Larger inputs are not kept in the repository.
const LARGEST: u64 = 10 << 10;
/// What libFuzzer found for one target takes no more of it than this, in bytes.
const MOST: u64 = 40 << 10;
/// For one input, in seconds; the slowest of the corpora takes milliseconds.
const INPUT_LIMIT: u32 = 5;
/// For one target, in megabytes.
const MEMORY_LIMIT: u32 = 512;

/// Options of `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The targets are the files in fuzz/fuzz_targets. What a run finds goes into fuzz/artifacts, inputs
that reach something new into target/fuzz-corpus, from where the next run goes on.")]
pub(crate) struct Args {
    /// Run only these targets
    targets: Vec<String>,
    /// How long each of them runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many of them run at the same time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Afterwards, make fuzz/corpus the smallest set of inputs that reaches as much
    #[arg(long)]
    keep: bool,
}

/// What a run came to.
#[derive(Debug, Default)]
struct Run {
    seconds: u64,
    executions: u64,
    coverage: u64,
    new: u64,
    findings: Vec<PathBuf>,
    failed: Option<String>,
}

/// Runs `cargo xtask fuzz`.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let all = targets()?;
    if let Some(unknown) = args.targets.iter().find(|target| !all.contains(target)) {
        bail!(
            "there is no target '{unknown}': use some of {}",
            all.join(", ")
        );
    }
    let wanted = if args.targets.is_empty() {
        all
    } else {
        args.targets.clone()
    };
    setup::ensure(&[Need::Build])?;
    let cargo_fuzz = tools::FUZZ.get()?;
    sh::step("build the targets", || build(&cargo_fuzz))?;
    let next = Mutex::new(wanted.into_iter());
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                while let Some(target) = next.lock().ok().and_then(|mut next| next.next()) {
                    let what = format!("{target}, {} s", args.seconds);
                    let run = sh::step(&what, || fuzz(&target, args)).unwrap_or_else(|error| Run {
                        failed: Some(format!("{error:#}")),
                        ..Run::default()
                    });
                    if let Ok(mut done) = done.lock() {
                        done.insert(target, run);
                    }
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_default();
    print!("{}", table(&done));
    let clean = done
        .values()
        .all(|run| run.failed.is_none() && run.findings.is_empty());
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn folder() -> PathBuf {
    sh::repo().join("fuzz")
}

/// The names of all targets.
fn targets() -> Result<Vec<String>> {
    let folder = folder().join("fuzz_targets");
    let mut names = files(&folder)?
        .iter()
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect::<Vec<_>>();
    names.sort_unstable();
    Ok(names)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Compiles all targets. Coverage and the like are options that a stable compiler has and does not
/// want to be asked for. No sanitizer: what is ours has no unsafe code there, and without one the
/// same minutes are worth more inputs.
fn build(cargo_fuzz: &Path) -> Result<()> {
    sh::run(
        Command::new(cargo_fuzz)
            .args([
                "fuzz",
                "build",
                "--sanitizer",
                "none",
                "--target",
                &triple(),
            ])
            .arg("--target-dir")
            .arg(sh::target_dir())
            .current_dir(folder())
            .env("RUSTC_BOOTSTRAP", "1"),
    )
}

/// What cargo-fuzz builds for, which is part of where it puts things.
fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn program(target: &str) -> PathBuf {
    sh::target_dir().join(triple()).join("release").join(target)
}

/// Runs one target.
fn fuzz(target: &str, args: &Args) -> Result<Run> {
    let committed = folder().join("corpus").join(target);
    let found = sh::target_dir().join("fuzz-corpus").join(target);
    let artifacts = folder().join("artifacts").join(target);
    for folder in [&committed, &found, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let before = files(&artifacts)?;
    let start = Instant::now();
    let (log, status) = libfuzzer(
        target,
        &[
            format!("-max_total_time={}", args.seconds),
            format!("-artifact_prefix={}/", artifacts.display()),
            "-print_final_stats=1".to_owned(),
        ],
        &[&found, &committed],
    )?;
    let mut run = Run {
        seconds: start.elapsed().as_secs(),
        ..read(&log)
    };
    let mut findings = files(&artifacts)?;
    findings.retain(|path| !before.contains(path));
    run.findings = findings;
    if !status.success() {
        run.failed = Some(format!("it ended with {status}:\n  {}", complaint(&log)));
    } else if args.keep {
        keep(target, &committed, &found)?;
    }
    Ok(run)
}

/// Runs a target with options on folders of inputs; what it said, and how it ended.
fn libfuzzer(target: &str, options: &[String], inputs: &[&Path]) -> Result<(String, ExitStatus)> {
    let path = sh::target_dir()
        .join("fuzz-corpus")
        .join(format!("{target}.log"));
    let log = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let program = program(target);
    let status = Command::new(&program)
        .arg(format!("-timeout={INPUT_LIMIT}"))
        .arg(format!("-rss_limit_mb={MEMORY_LIMIT}"))
        .arg(format!("-max_len={LARGEST}"))
        .args(options)
        .args(inputs)
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .with_context(|| format!("start {}", program.display()))?;
    let said = fs::read(&path)?;
    Ok((String::from_utf8_lossy(&said).into_owned(), status))
}

/// Puts the smallest set of inputs that reaches as much into the repository.
fn keep(target: &str, committed: &Path, found: &Path) -> Result<()> {
    let least = tempfile::tempdir().context("make a folder")?;
    let (log, status) = libfuzzer(
        target,
        &["-set_cover_merge=1".to_owned()],
        &[least.path(), committed, found],
    )?;
    if !status.success() {
        bail!(
            "merging its inputs ended with {status}:\n  {}",
            complaint(&log)
        );
    }
    // Inputs with a name of their own were put there by hand, each for a reason.
    let by_hash = |path: &Path| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name.len() == 40 && name.iter().all(u8::is_ascii_hexdigit)
    };
    for path in files(committed)?.iter().filter(|path| by_hash(path)) {
        fs::remove_file(path)?;
    }
    let named = files(committed)?;
    let named: Vec<_> = named.iter().map(fs::read).collect::<Result<_, _>>()?;
    let mut inputs = Vec::new();
    for path in files(least.path())? {
        inputs.push((fs::read(&path)?, path));
    }
    inputs.retain(|(input, _)| !named.contains(input));
    inputs.sort_unstable_by_key(|(input, _)| input.len());
    let mut room = MOST;
    for (input, path) in inputs {
        let Some(left) = room.checked_sub(input.len() as u64) else {
            break;
        };
        room = left;
        fs::write(committed.join(path.file_name().unwrap_or_default()), input)?;
    }
    Ok(())
}

/// What libFuzzer's lines and final statistics say.
fn read(log: &str) -> Run {
    let number = |line: &str, word: &str| {
        let (_, rest) = line.split_once(word)?;
        rest.split_whitespace().next()?.parse().ok()
    };
    let last = |word: &str| log.lines().rev().find_map(|line| number(line, word));
    Run {
        executions: last("stat::number_of_executed_units:").unwrap_or(0),
        new: last("stat::new_units_added:").unwrap_or(0),
        coverage: last(" cov: ").unwrap_or(0),
        ..Run::default()
    }
}

/// The end of a log: what panicked, and where.
fn complaint(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let start = lines.iter().rposition(|line| line.contains("panicked at"));
    let start = start.unwrap_or(lines.len().saturating_sub(12));
    let end = lines.len().min(start + 12);
    lines.get(start..end).unwrap_or_default().join("\n  ")
}

fn table(runs: &BTreeMap<String, Run>) -> String {
    let mut text = format!(
        "{:18}  {:>7}  {:>12}  {:>8}  {:>5}  findings\n",
        "target", "seconds", "executions", "coverage", "new"
    );
    for (target, run) in runs {
        let Run {
            seconds,
            executions,
            coverage,
            new,
            findings,
            failed,
        } = run;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{target:18}  {seconds:>7}  {executions:>12}  {coverage:>8}  {new:>5}  {}",
            findings.len()
        );
        for finding in findings {
            let _ = writeln!(text, "  {}", finding.display());
        }
        if let Some(failed) = failed {
            let _ = writeln!(text, "  {failed}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each target has inputs, and a test of its crate runs it over them.
    #[test]
    fn every_target_is_replayed_by_a_test() {
        let targets = targets().unwrap();
        let crates = [
            "bytecode", "daemon", "kernel", "manager", "manifest", "model",
        ];
        let sources: String = crates
            .iter()
            .map(|name| fs::read_to_string(sh::repo().join(name).join("src/fuzz.rs")).unwrap())
            .collect();
        for target in &targets {
            assert!(
                sources.contains(&format!("replay(\"{target}\", ")),
                "{target}"
            );
        }
        let mut corpora: Vec<_> = files(&folder().join("corpus"))
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        corpora.sort_unstable();
        assert_eq!(corpora, targets);
        for path in corpora
            .iter()
            .flat_map(|name| files(&folder().join("corpus").join(name)).unwrap())
        {
            assert!(
                path.metadata().unwrap().len() <= LARGEST,
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn what_libfuzzer_says_is_read() {
        let log = "#2\tINITED cov: 11 ft: 12\n#99\tREDUCE cov: 345 ft: 1 corp: 2/3b\nDone\n\
                   stat::number_of_executed_units: 4711\nstat::new_units_added:          17\n";
        let run = read(log);
        assert_eq!((run.executions, run.coverage, run.new), (4711, 345, 17));
        let failed = "a\nthread '<unnamed>' panicked at model/src/fuzz.rs:1:2:\nwhy\n";
        assert!(complaint(failed).contains("why") && !complaint(failed).contains("  a\n"));
    }
}
