//! `cargo xtask test`: everything that has to hold before a change lands.

pub(crate) mod build;
mod checks;
pub(crate) mod guest;
mod lanes;
mod native;
mod package;
mod reboot;
mod tally;

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;

use crate::kernels::Version;
use crate::setup::{self, Need};
use crate::sh;
use build::Built;
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
reboot  a Debian 12 with the package, its units and manifests, started twice in QEMU on one disk")]
pub(crate) struct Args {
    /// Run only tests whose name contains one of these
    filter: Vec<String>,
    /// Run only these lanes
    #[arg(long, value_enum)]
    lane: Vec<Lane>,
}

/// A place where tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lane {
    Checks,
    Unit,
    Host,
    Image,
    Rpc,
    Package,
    #[value(name = "6.1")]
    V6_1,
    #[value(name = "6.12")]
    V6_12,
    #[value(name = "5.10")]
    V5_10,
    Reboot,
}

impl Lane {
    fn kernel(self) -> Option<Version> {
        match self {
            Self::Checks
            | Self::Unit
            | Self::Host
            | Self::Image
            | Self::Rpc
            | Self::Package
            | Self::Reboot => None,
            Self::V6_1 => Some(Version::V6_1),
            Self::V6_12 => Some(Version::V6_12),
            Self::V5_10 => Some(Version::V5_10),
        }
    }
}

/// Runs `cargo xtask test`.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let lanes = chosen(args);
    let kernels: Vec<_> = lanes.iter().filter_map(|lane| lane.kernel()).collect();
    let mut needs = vec![Need::Build, Need::Nextest];
    if lanes.contains(&Lane::Host) {
        needs.push(Need::Host);
    }
    if lanes.contains(&Lane::Image) {
        needs.extend([Need::Host, Need::Registry, Need::Images]);
    }
    if lanes.contains(&Lane::Rpc) {
        needs.extend([Need::Host, Need::Registry, Need::Images, Need::Rpc]);
    }
    if lanes.contains(&Lane::Reboot) {
        needs.extend([
            Need::Vm,
            Need::Host,
            Need::Registry,
            Need::Package,
            Need::Root,
        ]);
    }
    if lanes.contains(&Lane::Package) {
        needs.extend([Need::Package, Need::Root]);
    }
    if !kernels.is_empty() {
        needs.extend([Need::Vm, Need::Registry]);
    }
    setup::ensure(&needs)?;

    let mut table = Table::default();
    if lanes.contains(&Lane::Checks) {
        table.add(checks::run());
    }
    if lanes.iter().all(|lane| *lane == Lane::Checks) {
        return Ok(close(&table));
    }
    match sh::step("build programs and tests", build::all) {
        Ok(built) => {
            let native = || native_lanes(&lanes, &built, &args.filter, &mut table);
            let guests = lanes::run(&kernels, &built, &args.filter, native);
            table.extend(guests);
        }
        Err(error) => table.add(Tally::failure("build", &format!("{error:#}"))),
    }
    Ok(close(&table))
}

/// Those that wait more than they compute, one after another.
fn native_lanes(lanes: &[Lane], built: &Built, filter: &[String], table: &mut Table) {
    for (lane, native) in [
        (Lane::Unit, native::Lane::Unit),
        (Lane::Host, native::Lane::Host),
        (Lane::Image, native::Lane::Image),
        (Lane::Rpc, native::Lane::Rpc),
    ] {
        if lanes.contains(&lane) {
            table.add(native::run(native, built, filter));
        }
    }
    if lanes.contains(&Lane::Package) {
        table.add(package::run(built, filter));
    }
    if lanes.contains(&Lane::Reboot) {
        table.add(reboot::run(built, filter));
    }
}

fn close(table: &Table) -> ExitCode {
    print!("{table}");
    if table.is_green() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn chosen(args: &Args) -> Vec<Lane> {
    if !args.lane.is_empty() {
        return args.lane.clone();
    }
    let mut lanes = vec![
        Lane::Unit,
        Lane::Host,
        Lane::Image,
        Lane::Rpc,
        Lane::Package,
        Lane::V6_1,
        Lane::V6_12,
        Lane::V5_10,
        Lane::Reboot,
    ];
    if args.filter.is_empty() {
        lanes.insert(0, Lane::Checks);
    }
    lanes
}
