//! `bpfman diff`

use clap::Args;
use manager::Manager;

use super::{Files, all, failures};
use crate::{args::usage_error, output, report::Failure};

const LONG_ABOUT: &str = "\
Show in what the loaded programs differ from manifests

Prints what 'bpfman apply' would do: '+' for a program that would be loaded, '~' for one that would
be changed, with each field that differs, '-' for one that would be unloaded. Prints nothing where
everything is as it should be. Nothing is changed.";

const AFTER_HELP: &str = "\
Examples:
  bpfman diff -f ./firewall.yaml
  bpfman diff -f /etc/bpfman/programs.d --prune --exit-code";

#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Diff {
    #[command(flatten)]
    files: Files,

    /// Optional: Count programs of the same file or folder that it no longer speaks of
    #[arg(long, verbatim_doc_comment)]
    prune: bool,

    /// Optional: End with exit status 1 when something differs
    #[arg(long, verbatim_doc_comment)]
    exit_code: bool,

    #[command(flatten)]
    output: output::Choice,
}

/// Shows differences.
pub(crate) fn run(args: &Diff, manager: &Manager) -> Result<(), Failure> {
    if args.prune && args.files.has_stdin() {
        return Err(usage_error(&["diff"], "--prune needs files"));
    }
    let mut found = args.files.read()?;
    let target = found.target(manager, args.prune)?;
    let outcomes = manager
        .preview(&target, &|_| ())
        .map_err(|error| Failure::of("cannot compare", error))?;
    output::differences(&outcomes, args.output.format)?;
    let differs = outcomes.iter().any(output::differs);
    found.failures.extend(failures(outcomes, &target.desired));
    all(found.failures)?;
    if args.exit_code && differs {
        Err(Failure::Differs)
    } else {
        Ok(())
    }
}
