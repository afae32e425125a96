//! `bpfman apply`

use clap::Args;
use manager::Manager;

use super::{Files, all, failures};
use crate::{
    args::usage_error,
    output::{self, Tense},
    report::Failure,
};

const LONG_ABOUT: &str = "\
Load what manifests say, and change only what differs

A manifest is a YAML document that says which program runs where. A program that is not loaded yet
is loaded; one that differs from its manifest is replaced in one step, so that no packet misses both
the old one and the new one; one that is as it should be is left alone. What fails is reported, and
the rest is done. Prints one line for each program.

A program is found again by the kind and the name of its manifest and by its interface or
tracepoint. See docs/manifests.md for the fields.";

const AFTER_HELP: &str = "\
Examples:
  bpfman apply -f ./firewall.yaml
  bpfman apply -f /etc/bpfman/programs.d --prune
  bpfman export | sed s/eth0/eth1/ | bpfman apply -f - --dry-run";

#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Apply {
    #[command(flatten)]
    files: Files,

    /// Optional: Unload programs of the same file or folder that it no longer speaks of
    #[arg(long, verbatim_doc_comment)]
    prune: bool,

    /// Optional: Print what would be done, and change nothing
    #[arg(long, verbatim_doc_comment)]
    dry_run: bool,

    /// Optional: Leave out programs whose interface is not there, and do not fail for it: 'bpfman
    /// watch' loads them when it comes
    #[arg(long, verbatim_doc_comment)]
    skip_absent: bool,

    #[command(flatten)]
    output: output::Choice,
}

/// Applies manifests.
pub(crate) fn run(args: &Apply, manager: &Manager) -> Result<(), Failure> {
    if args.prune && args.files.has_stdin() {
        let why = "--prune needs files: standard input has no name by which the programs of the \
                   last time could be known";
        return Err(usage_error(&["apply"], why));
    }
    let mut found = args.files.read()?;
    let mut target = found.target(manager, args.prune)?;
    if args.skip_absent {
        for identity in manager.leave_absent(&mut target) {
            log::info!("{identity}: the interface is not there: left out");
        }
    }
    let mut outcomes = Vec::new();
    let tense = if args.dry_run {
        outcomes = manager
            .preview(&target, &|_| ())
            .map_err(|error| Failure::of("cannot plan", error))?;
        Tense::Future
    } else {
        manager
            .apply(&target, &|_| (), &mut |outcome| outcomes.push(outcome))
            .map_err(|error| Failure::of("cannot apply", error))?;
        Tense::Past
    };
    output::outcomes(&outcomes, tense, args.output.format)?;
    found.failures.extend(failures(outcomes, &target.desired));
    all(found.failures)
}
