//! `bpfman image generate-build-args`

use bytecode::build::Bytecode;
use clap::Args;

use super::bytecode_files::{BytecodeFiles, TO_USE};
use crate::{
    output::{self, Format},
    report::Failure,
};

const ABOUT: &str = "Generate the OCI image labels for a given bytecode file";

const EXAMPLES: &str = "\
Examples:
  bpfman image generate-build-args --bc-amd64-el ./examples/go-xdp-counter/bpf_x86_bpfel.o";

#[derive(Debug, Args)]
#[command(long_about = format!("{ABOUT}.\n\n{TO_USE}\n\n{EXAMPLES}"))]
pub(crate) struct GenerateBuildArgs {
    #[command(flatten)]
    files: BytecodeFiles,

    /// Optional: Output format: lines for people and for --build-arg, json or yaml for programs,
    /// or only the names of the arguments.
    ///
    /// [possible values: table, json, yaml, id]
    ///
    /// [default: table]
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum)]
    #[arg(
        default_value = "table",
        hide_possible_values = true,
        hide_default_value = true
    )]
    #[arg(verbatim_doc_comment)]
    format: Format,
}

/// Prints the build arguments.
pub(super) fn run(args: &GenerateBuildArgs) -> Result<(), Failure> {
    let bytecode = Bytecode::read(&args.files.0).map_err(|error| Failure::Build {
        doing: "cannot generate build arguments".to_owned(),
        error: Box::new(error),
    })?;
    Ok(output::build_args(&bytecode.build_args(), args.format)?)
}
