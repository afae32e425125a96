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

#[derive(Debug, Args)]
pub(crate) struct Image {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

// What can be done with images.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Verb {
    /// Pull an eBPF bytecode image from a remote registry
    Pull(Pull),
    /// Build an eBPF bytecode image from local objects and push to a registry
    Build(Box<Build>),
    /// Generate the OCI image labels for a given bytecode file
    GenerateBuildArgs(Box<GenerateBuildArgs>),
    /// List the bytecode images in the own store
    List(List),
    /// Show a bytecode image of the own store
    Inspect(Inspect),
    /// Remove bytecode images from the own store
    Remove(Remove),
    /// Remove bytecode images that nobody needs from the own store
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
