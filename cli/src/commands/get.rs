//! `bpfman get`

use clap::Args;
use manager::Manager;
use model::ProgramId;

use crate::{output, parse, report::Failure};

const LONG_ABOUT: &str = "\
Get an eBPF program using the Program Id

Shows one program in full. 'Bpfman State' is what bpfman was told when it loaded the program, and
its position among the programs of the same hook at this moment; it says NONE for a program that
somebody else loaded. 'Kernel State' is what the kernel says of it. Nothing is changed.";

const AFTER_HELP: &str = "\
Examples:
  bpfman get 6204
  bpfman get 6204 --output json";

#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Get {
    /// Required: Program Id, from the load or list command
    #[arg(value_name = "PROGRAM_ID", value_parser = parse::program_id)]
    pub(crate) id: ProgramId,

    #[command(flatten)]
    pub(crate) output: output::Choice,
}

/// Shows one program.
pub(crate) fn run(args: &Get, manager: &Manager) -> Result<(), Failure> {
    let view = manager
        .get(args.id)
        .map_err(|error| Failure::of(format!("cannot get {}", args.id), error))?;
    output::program(&view, args.output.format)?;
    Ok(())
}
