//! `cargo xtask bench`: what bpfman costs, beside the tools that can do the same.
//!
//! Each figure is the median of runs that alternate with their rival's, so that a machine that
//! slows down slows both. `/run` is a tmpfs, as on real systems.

mod curve;
mod guest;
mod host;
mod images;
mod measure;
mod objects;
mod rpc;
mod scale;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::initramfs::Content;
use crate::kernels::Version;
use crate::setup::{self, Need};
use crate::stage::{self, APART};
use crate::vm::Run;
use crate::{sh, test};

/// Options of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only what runs on this machine's kernel
    #[arg(long)]
    host_only: bool,
    /// Only what runs under Debian's kernel 6.12 in QEMU
    #[arg(long, conflicts_with = "host_only")]
    guest_only: bool,
    /// Curves instead: the same commands with up to 1,000 programs, 100 full chains, large objects
    #[arg(long)]
    scale: bool,
    /// Measure this program, already in the namespaces of the bench
    #[arg(long, hide = true)]
    stage: Option<PathBuf>,
    /// In a guest, with the kernel tests at this path
    #[arg(long, hide = true)]
    tests: Option<PathBuf>,
}

/// Runs `cargo xtask bench`. A figure that misses its floor is marked; it is no failure, because
/// machines differ.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match (&args.stage, &args.tests) {
        (Some(bpfman), tests) if args.scale => {
            return on_stage(|| match tests {
                Some(_) => scale::guest(bpfman),
                None => scale::host(bpfman),
            });
        }
        (Some(bpfman), Some(tests)) => return measure(|| guest::figures(bpfman, tests)),
        (Some(bpfman), None) => {
            return measure(|| {
                let mut figures = host::figures(bpfman)?;
                figures.extend(images::figures(bpfman)?);
                figures.extend(rpc::figures(bpfman)?);
                Ok(figures)
            });
        }
        _ => {}
    }
    sh::need_root("loading eBPF programs")?;
    setup::ensure(&[
        Need::Build,
        Need::Host,
        Need::Bench,
        Need::Registry,
        Need::Images,
    ])?;
    if args.scale {
        setup::ensure(&[Need::Bpf])?;
    }
    let bpfman = sh::step("build bpfman (release)", || stage::build("release"))?;
    let path = bpfman.to_string_lossy().into_owned();
    let scale = args.scale.then_some("--scale");
    if !args.guest_only {
        sh::step("build bpfman-rpc (release)", rpc::build)?;
        println!("On this machine's kernel, whole processes:\n");
        let own = std::env::current_exe().context("find this program")?;
        let mut here = Command::new(APART[0]);
        here.args(&APART[1..])
            .arg(own)
            .args(["bench", "--stage", &path])
            .args(scale);
        ensure!(here.status()?.success(), "the bench failed on this kernel");
        if !args.scale {
            let tests = sh::step("build the tests of images", test::build::images)?;
            println!(
                "\nImages of local runtimes, from the command's start to the attached program:\n"
            );
            show(images::of_runtimes(&bpfman, &tests)?);
        }
    }
    if args.host_only {
        return Ok(ExitCode::SUCCESS);
    }
    setup::ensure(&[Need::Vm, Need::Nextest])?;
    let tests = sh::step("build the kernel tests", test::build::all)?.tests;
    println!("\nOn Debian's kernel 6.12 in QEMU:\n");
    let words = tests.to_string_lossy().into_owned();
    let mut bench = vec!["/init", "bench", "--stage", &path, "--tests", &words];
    bench.extend(scale);
    let mut run = Run::new(Version::V6_12, &[&APART[..], &bench].concat());
    run.limit = Duration::from_mins(if args.scale { 30 } else { 10 });
    run.content = Content {
        programs: vec![bpfman, tests],
        ..Content::default()
    };
    Ok(ExitCode::from(run.show(|_, _| Ok(()))?))
}

fn measure(figures: impl FnOnce() -> Result<Vec<Figure>>) -> Result<ExitCode> {
    on_stage(|| {
        show(figures()?);
        Ok(())
    })
}

fn on_stage(work: impl FnOnce() -> Result<()>) -> Result<ExitCode> {
    stage::enter()?;
    stage::veth()?;
    work()?;
    Ok(ExitCode::SUCCESS)
}

fn show(figures: Vec<Figure>) {
    let width = figures.iter().map(|f| f.what.len()).max().unwrap_or(0);
    for Figure {
        what,
        value,
        floor,
        kept,
    } in figures
    {
        let verdict = if kept { "" } else { "   MISSED" };
        println!("{what:width$}  {value}   (floor: {floor}){verdict}");
    }
}

/// One line of the report.
struct Figure {
    what: String,
    value: String,
    floor: &'static str,
    kept: bool,
}

impl Figure {
    fn new(
        what: impl Into<String>,
        value: impl Into<String>,
        floor: &'static str,
        kept: bool,
    ) -> Self {
        Self {
            what: what.into(),
            value: value.into(),
            floor,
            kept,
        }
    }
}
