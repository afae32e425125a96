//! `bpfman load`: what every source of bytecode and every program type share.

mod file;
mod image;
mod net;
mod probe;
mod program;

pub(crate) use file::LoadFile;
pub(crate) use image::LoadImage;
pub(crate) use program::Program;

use clap::{Args, Subcommand};
use manager::{LoadRequest, Manager};
use model::{ProgramId, RegistryAuth, Source};

use crate::{
    args::usage_error,
    output,
    parse::{self, Pair},
    report::Failure,
};

const LONG_ABOUT: &str = "\
Load an eBPF program on the system

Loads one program, attaches it and shows it as 'bpfman get' would. Either all of that happens or
none of it: after an error the system is as it was. The program keeps running after the command
ends, until 'bpfman unload' or a restart of the machine.";

#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT)]
pub(crate) struct Load {
    #[command(subcommand)]
    pub(crate) from: From,
}

// Where the bytecode comes from.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum From {
    /// Load an eBPF program from a local .o file
    File(LoadFile),
    /// Load an eBPF program packaged in a OCI container image from a given registry
    Image(LoadImage),
}

// What stands before the program type, whatever the source.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Required: The name of the function that is the entry point for the BPF program
    ///
    /// It is the name of the function, not that of its SEC(). It may be left out where the
    /// bytecode holds just one program that fits the program type.
    #[arg(short, long, verbatim_doc_comment)]
    name: Option<String>,

    /// Optional: Global variables to be set when program is loaded.
    /// Format: <NAME>=<Hex Value>
    ///
    /// This is a very low level primitive. The caller is responsible for formatting
    /// the byte string appropriately considering such things as size, endianness,
    /// alignment and packing of data structures.
    ///
    /// The bytes stand in the order in which they lie in memory, two hex digits each, as
    /// many as the variable has. Several variables are set by several words or by
    /// repeating the parameter.
    /// Example: --global GLOBAL_u8=01 GLOBAL_u32=0A0B0C0D
    #[arg(short, long = "global", value_name = "GLOBAL", num_args = 1..)]
    #[arg(verbatim_doc_comment, value_parser = parse::global)]
    globals: Vec<Pair<Vec<u8>>>,

    /// Optional: Specify Key/Value metadata to be attached to a program when it
    /// is loaded by bpfman.
    /// Format: <KEY>=<VALUE>
    ///
    /// This can later be used to `list` a certain subset of programs which contain
    /// the specified metadata.
    /// Example: --metadata owner=acme
    #[arg(short, long, verbatim_doc_comment, value_parser = parse::metadata)]
    metadata: Vec<Pair<String>>,

    /// Optional: Program Id of loaded eBPF program this eBPF program will share a map with.
    /// Only used when multiple eBPF programs need to share a map.
    /// Example: --map-owner-id 63178
    #[arg(long, verbatim_doc_comment, value_parser = parse::program_id)]
    map_owner_id: Option<ProgramId>,

    #[command(flatten)]
    output: output::Choice,

    /// Optional: Show the verifier's whole log when it rejects the program
    #[arg(long, verbatim_doc_comment)]
    verifier_log: bool,
}

impl Common {
    /// What the manager is asked for. `path` names the command, for its usage line.
    fn request(
        &self,
        (source, registry_auth): (Source, Option<RegistryAuth>),
        program: &Program,
        path: &[&str],
    ) -> Result<LoadRequest, Failure> {
        let wrong = |why: String| usage_error(path, why);
        let of_type = |why: String| usage_error(&[path, &[program.kind().name()]].concat(), why);
        Ok(LoadRequest {
            source,
            registry_auth,
            name: self.name.clone(),
            globals: parse::unite("--global", &self.globals).map_err(wrong)?,
            metadata: parse::unite("--metadata", &self.metadata).map_err(wrong)?,
            map_owner_id: self.map_owner_id,
            attach: program.attach().map_err(of_type)?,
        })
    }

    /// Loads it and shows it.
    fn load(
        &self,
        manager: &Manager,
        request: &LoadRequest,
        progress: &manager::Progress<'_>,
    ) -> Result<(), Failure> {
        let loaded = manager.load(request, progress);
        let view = loaded.map_err(|error| Failure::Manager {
            doing: format!("cannot load {request}"),
            error: Box::new(error),
            whole_log: self.verifier_log,
        })?;
        output::program(&view, self.output.format).map_err(|error| Failure::Shown {
            id: view.kernel.id,
            error,
        })
    }
}

/// Loads one program.
pub(crate) fn run(args: &Load, quiet: bool, manager: &Manager) -> Result<(), Failure> {
    match &args.from {
        From::File(args) => file::run(args, manager),
        From::Image(args) => image::run(args, quiet, manager),
    }
}
