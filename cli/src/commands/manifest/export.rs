//! `bpfman export`

use clap::Args;
use manager::Manager;

use crate::{output, report::Failure};

const LONG_ABOUT: &str = "\
Write what is loaded as manifests

Prints a YAML document for each program of bpfman, whether it was loaded from a manifest or from the
command line. Applied on the same host, they change nothing; applied after a restart or on another
host, they load the same programs. Credentials and the contents of maps are not part of it.";

const AFTER_HELP: &str = "\
Examples:
  bpfman export > /etc/bpfman/programs.d/all.yaml
  bpfman export | ssh other-host bpfman apply -f -";

#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Export {}

/// Writes manifests.
pub(crate) fn run(manager: &Manager) -> Result<(), Failure> {
    let text = manager
        .export()
        .map_err(|error| Failure::of("cannot export", error))?;
    output::text(&text)?;
    Ok(())
}
