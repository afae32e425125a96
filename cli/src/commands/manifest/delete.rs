//! `bpfman delete`

use clap::Args;
use manager::{Manager, Outcome};
use manifest::Document;

use super::{Files, all, failures};
use crate::{
    output::{self, Tense},
    report::Failure,
};

const LONG_ABOUT: &str = "\
Unload the programs of manifests

Unloads every program that was loaded from a manifest of the same kind and name, on whatever
interface, whatever else the manifest says now. One that is not loaded is no failure.";

const AFTER_HELP: &str = "\
Examples:
  bpfman delete -f ./firewall.yaml
  bpfman delete -f /etc/bpfman/programs.d --dry-run";

#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Delete {
    #[command(flatten)]
    files: Files,

    /// Optional: Print what would be done, and change nothing
    #[arg(long, verbatim_doc_comment)]
    dry_run: bool,

    #[command(flatten)]
    output: output::Choice,
}

/// Unloads the programs of manifests.
pub(crate) fn run(args: &Delete, manager: &Manager) -> Result<(), Failure> {
    let mut found = args.files.read()?;
    let names: Vec<_> = found.documents.iter().filter_map(Document::name).collect();
    let fail = |error| Failure::of("cannot delete", error);
    let mut outcomes = Vec::new();
    let tense = if args.dry_run {
        let steps = manager.preview_delete(&names).map_err(fail)?;
        outcomes.extend(steps.into_iter().map(|step| {
            let result = Ok(step.action.id());
            Outcome { step, result }
        }));
        Tense::Future
    } else {
        manager
            .delete(&names, &mut |outcome| outcomes.push(outcome))
            .map_err(fail)?;
        Tense::Past
    };
    output::outcomes(&outcomes, tense, args.output.format)?;
    found.failures.extend(failures(outcomes, &[]));
    all(found.failures)
}
