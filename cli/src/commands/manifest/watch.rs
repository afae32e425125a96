//! `bpfman watch`

use std::{os::unix::net::UnixStream, path::PathBuf, time::Duration};

use clap::Args;
use manager::{Manager, Watch};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level::pipe,
};

use crate::{parse, report::Failure};

const LONG_ABOUT: &str = "\
Keep what is loaded the same as a folder of manifests

Applies the manifests, then waits. When a manifest changes, an interface comes or somebody removes a
program, it brings everything back to what the manifests say, and says so on stderr. Programs that
the folder no longer speaks of are unloaded, and those of an interface that is not there yet wait
for it. Where nothing tells that a program was detached, it is found out within --interval.

It runs until SIGTERM or SIGINT. The programs stay then.";

const AFTER_HELP: &str = "\
Examples:
  bpfman watch
  bpfman watch ./manifests --interval 60";

#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct WatchArgs {
    /// Optional: Folder of the manifests, or one file
    ///
    /// [default: /etc/bpfman/programs.d]
    #[arg(value_name = "DIR", verbatim_doc_comment, value_parser = parse::absolute())]
    #[arg(default_value = "/etc/bpfman/programs.d", hide_default_value = true)]
    folder: PathBuf,

    /// Optional: Seconds from one look at everything to the next, when nothing happens
    ///
    /// [default: 10]
    #[arg(long, value_name = "SECONDS", verbatim_doc_comment)]
    #[arg(default_value_t = 10, hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86_400))]
    interval: u32,
}

/// Watches until a signal comes.
pub(crate) fn run(args: &WatchArgs, manager: &Manager) -> Result<(), Failure> {
    let stop = stopping().map_err(|error| Failure::Input {
        what: "cannot listen for signals".to_owned(),
        error,
    })?;
    let watch = Watch {
        folder: args.folder.clone(),
        interval: Duration::from_secs(args.interval.into()),
    };
    manager
        .watch(&watch, stop)
        .map_err(|error| Failure::of("cannot watch", error))
}

/// Becomes readable when it is time to end.
fn stopping() -> std::io::Result<UnixStream> {
    let (stop, signals) = UnixStream::pair()?;
    pipe::register(SIGTERM, signals.try_clone()?)?;
    pipe::register(SIGINT, signals)?;
    Ok(stop)
}
