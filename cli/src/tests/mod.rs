//! What users see, held by snapshots, and what they type.

mod failures;
mod help;
mod images;
mod manifests;
mod requests;
mod results;

use std::ffi::OsString;

use crate::{args::Cli, report::Failure};

/// Reads a command line, `bpfman` left out. No word has a blank in it.
fn read(line: &str) -> Result<Cli, Failure> {
    Cli::read(
        std::iter::once("bpfman")
            .chain(line.split_whitespace())
            .map(OsString::from),
    )
}
