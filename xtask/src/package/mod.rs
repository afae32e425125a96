//! `cargo xtask package`: the Debian package.

mod build;
mod deb;
mod licenses;
mod needs;
pub(crate) mod root;
mod sysroot;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub(crate) use build::Binaries;
pub(crate) use deb::UNITS;

use crate::setup::{self, Need};
use crate::sh;

/// The Debian that the package is for. It installs on newer ones as well.
const SUITE: &str = "bookworm";

/// Options of `cargo xtask package`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder for the package [default: target/debian]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Number of the package among those of one version of bpfman
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    revision: u32,
}

/// Runs `cargo xtask package`.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure(&[Need::Build, Need::Package])?;
    let output = match &args.output {
        Some(output) => std::path::absolute(output)?,
        None => sh::target_dir().join("debian"),
    };
    let sysroot = sysroot::get()?;
    let binaries = sh::step("build the programs", || {
        build::build(&sysroot, build::Profile::Release)
    })?;
    let deb = sh::step("make the package", || {
        deb::make(&deb::Plan {
            binaries: &binaries,
            sysroot: &sysroot,
            revision: args.revision,
            quick: false,
            output: &output,
        })
    })?;
    println!("{}", deb.display());
    Ok(())
}

/// Programs for the package of tests: those that were built for tests, so that nothing compiles
/// twice. Where that was done on a newer Debian and they do not run on [`SUITE`], they are built once
/// more.
pub(crate) fn for_tests(built: &Binaries) -> Result<Binaries> {
    let sysroot = sysroot::get()?;
    let Err(error) = needs::of(&[&built.bpfman, &built.daemon], &sysroot) else {
        return Ok(built.clone());
    };
    let what = format!("build once more, because {error:#}");
    sh::step(&what, || build::build(&sysroot, build::Profile::Dev))
}

/// A package for tests, packed in a hurry.
pub(crate) fn make_quickly(binaries: &Binaries, revision: u32, output: &Path) -> Result<PathBuf> {
    deb::make(&deb::Plan {
        binaries,
        sysroot: &sysroot::get()?,
        revision,
        quick: true,
        output,
    })
    .context("make the package")
}
