//! `cargo xtask test`: everything that has to hold before a change lands.

pub(crate) mod build;
mod checks;
pub(crate) mod guest;
mod lanes;
mod native;
mod package;
mod plan;
mod reboot;
mod tally;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::screen::{Board, clock};
use crate::setup::{self, Need};
use crate::sh;
use build::Built;
use plan::{BUILD, Lane, Plan, Times};
use tally::{Table, Tally};

/// Options of `cargo xtask test`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without options: checks, unit, host, image, rpc, package, 6.1, 6.12, 5.10 and reboot. With a FILTER
the checks are left out.

checks  formatting, clippy, licenses and advisories of crates, the committed eBPF objects
unit    every test of the workspace that needs no kernel
host    the kernel tests on this machine's kernel, as root
image   the tests of images on this machine's kernel, as root, with Debian's registry, skopeo,
        docker and podman, which run for the length of a test and are reachable by it alone
rpc     the tests of the daemon on this machine's kernel, as root, with tonic's client and Python's
package the Debian package, installed into a Debian 12 in a folder, as root
5.10 …  the same kernel tests in QEMU
reboot  a Debian 12 with the package, its units and manifests, started twice in QEMU on one disk

What the lanes print is in xtask-test/LANE.log below cargo's target folder. At the end come a table,
what each failure said, and the command that runs it again.")]
pub(crate) struct Args {
    /// Run only tests whose name contains one of these
    filter: Vec<String>,
    /// Run only these lanes
    #[arg(long, value_enum)]
    lane: Vec<Lane>,
}

/// Runs `cargo xtask test`.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let start = Instant::now();
    let lanes = chosen(args);
    let mut times = Times::read();
    eprint!(
        "{}",
        Plan {
            lanes: &lanes,
            filter: &args.filter,
            times: &times,
            logs: logs(),
        }
    );
    let mut needs = vec![Need::Build, Need::Nextest];
    needs.extend(lanes.iter().flat_map(|lane| lane.needs()));
    setup::ensure(&needs)?;

    let mut table = Table::default();
    if lanes.contains(&Lane::Checks) {
        let board = Board::new(&[Lane::Checks.name()], &logs())?;
        table.add(one(&board, Lane::Checks, checks::run));
    }
    let others: Vec<_> = lanes
        .iter()
        .copied()
        .filter(|lane| *lane != Lane::Checks)
        .collect();
    if !others.is_empty() {
        let begun = Instant::now();
        match sh::step("build programs and tests", build::all) {
            Ok(built) => {
                times.note(BUILD, begun.elapsed());
                run_lanes(&others, &built, &args.filter, &mut table)?;
            }
            Err(error) => {
                let mut tally = Tally::new(BUILD);
                let said = format!("{error:#}\nwhat the compiler said stands above");
                let again = "cargo test --workspace --all-features --no-run";
                tally.fail("programs and tests", &said, again);
                table.add(tally);
            }
        }
    }
    if args.filter.is_empty() {
        table.note(&mut times);
        times.write()?;
    }
    print!("{table}");
    eprintln!(
        "after {}; what the lanes said: {}/LANE.log",
        clock(start.elapsed()).trim(),
        logs().display()
    );
    Ok(if table.is_green() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Where the lanes' logs are.
fn logs() -> PathBuf {
    sh::target_dir().join("xtask-test")
}

/// A lane of its own on the board.
fn one(board: &Board, lane: Lane, work: impl FnOnce() -> Tally) -> Tally {
    let mut tally = board.work(lane.name(), work);
    close(board, &mut tally);
    tally
}

/// Shows that a lane has ended, and what failed in it.
fn close(board: &Board, tally: &mut Tally) {
    tally.took = board.end(&tally.lane, &tally.summary());
    for failure in &tally.failed {
        board.tell(&format!("FAILED in {}: {}", tally.lane, failure.name));
    }
}

/// Those on this machine wait more than they compute and run one after another; guests run beside
/// them.
fn run_lanes(lanes: &[Lane], built: &Built, filter: &[String], table: &mut Table) -> Result<()> {
    let names: Vec<_> = lanes.iter().map(|lane| lane.name()).collect();
    let board = Board::new(&names, &logs())?;
    let kernels: Vec<_> = lanes.iter().filter_map(|lane| lane.kernel()).collect();
    let native = || {
        for lane in lanes.iter().filter(|lane| lane.kernel().is_none()) {
            table.add(one(&board, *lane, || match lane {
                Lane::Package => package::run(built, filter),
                Lane::Reboot => reboot::run(built, filter),
                lane => native::run(*lane, built, filter),
            }));
        }
    };
    let guests = lanes::run(&kernels, built, filter, &board, native);
    table.extend(guests);
    Ok(())
}

fn chosen(args: &Args) -> Vec<Lane> {
    let is_chosen = |lane: &Lane| {
        if args.lane.is_empty() {
            args.filter.is_empty() || *lane != Lane::Checks
        } else {
            args.lane.contains(lane)
        }
    };
    Lane::ALL.into_iter().filter(is_chosen).collect()
}
