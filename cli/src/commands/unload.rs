//! `bpfman unload`

use std::collections::BTreeSet;

use clap::Args;
use manager::Manager;
use model::ProgramId;

use crate::{parse, report::Failure};

const LONG_ABOUT: &str = "\
Unload an eBPF program using the Program Id

Detaches the program and takes it out of the kernel. The other programs of its hook go on in the
same order, and no packet misses them while one leaves. Maps that it shares stay until the last
program that uses them is unloaded. Prints nothing when all went well.

With several ids, each is tried, whatever happened to those before it.";

const AFTER_HELP: &str = "\
Examples:
  bpfman unload 6204
  bpfman unload 6204 6207 6210";

#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Unload {
    /// Required: Program Id, from the load or list command
    #[arg(value_name = "PROGRAM_ID", required = true, value_parser = parse::program_id)]
    pub(crate) ids: Vec<ProgramId>,
}

/// Unloads each program once, in the order given.
pub(crate) fn run(args: &Unload, manager: &Manager) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    let ids: Vec<ProgramId> = args
        .ids
        .iter()
        .copied()
        .filter(|id| seen.insert(*id))
        .collect();
    let failed = manager
        .unload(&ids)
        .map_err(|error| Failure::of("cannot unload", error))?;
    let failures: Vec<Failure> = failed
        .into_iter()
        .map(|(id, error)| Failure::of(format!("cannot unload {id}"), error))
        .collect();
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Failure::Several(failures))
    }
}
