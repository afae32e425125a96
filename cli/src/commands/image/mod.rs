//! `bpfman image`

mod build;
mod bytecode_files;
mod generate_build_args;
mod pull;
mod store;

pub(crate) use build::Build;
pub(crate) use generate_build_args::GenerateBuildArgs;
pub(crate) use pull::{Pull, PullArgs};
pub(crate) use store::{Inspect, List, Prune, Remove};

use clap::{Args, Subcommand};
use manager::Manager;

use crate::report::Failure;

/// The choice of a format, where results are images.
const OUTPUT: &str = "\
Optional: Output format: a table for people, json or yaml for programs, or only the
digest.

[possible values: table, json, yaml, id]

[default: table]";

/// Arguments of `bpfman image`.
#[derive(Debug, Args)]
#[command(about = "eBPF Bytecode Image related commands")]
pub(crate) struct Image {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What can be done with images.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Pull(Pull),
    Build(Box<Build>),
    GenerateBuildArgs(Box<GenerateBuildArgs>),
    List(List),
    Inspect(Inspect),
    Remove(Remove),
    Prune(Prune),
}

/// Does one of them.
pub(crate) fn run(args: &Image, quiet: bool, manager: &Manager) -> Result<(), Failure> {
    match &args.verb {
        Verb::Pull(args) => pull::run(args, quiet, manager),
        Verb::List(args) => store::list(args, manager),
        Verb::Inspect(args) => store::inspect(args, manager),
        Verb::Remove(args) => store::remove(args, manager),
        Verb::Prune(args) => store::prune(args, manager),
        Verb::Build(args) => build::run(args, quiet, manager),
        Verb::GenerateBuildArgs(args) => generate_build_args::run(args),
    }
}
