//! `bpfman`: arguments become requests, answers become tables, errors become messages.

mod args;
mod commands;
mod logger;
mod output;
mod parse;
mod progress;
mod report;
mod words;

#[cfg(test)]
mod tests;

use std::{io, process::ExitCode};

use args::{Cli, Command};
use commands::{completions, get, image, list, load, manifest, manpages, unload};
use report::Failure;

fn main() -> ExitCode {
    match Cli::read(std::env::args_os()).and_then(|cli| run(&cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell when stderr is closed.
            let _ = failure.print(&mut io::stderr().lock());
            failure.exit_code()
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let globals = &cli.globals;
    // What a watch does is in its log and nowhere else.
    let watches = matches!(cli.command, Command::Watch(_));
    logger::start(globals.verbose.max(u8::from(watches)), globals.quiet);
    let manager = cli.globals.open();
    match &cli.command {
        Command::Load(args) => load::run(args, cli.globals.quiet, &manager),
        Command::Unload(args) => unload::run(args, &manager),
        Command::List(args) => list::run(args, &manager),
        Command::Get(args) => get::run(args, &manager),
        Command::Image(args) => image::run(args, cli.globals.quiet, &manager),
        Command::Apply(args) => manifest::apply::run(args, &manager),
        Command::Diff(args) => manifest::diff::run(args, &manager),
        Command::Delete(args) => manifest::delete::run(args, &manager),
        Command::Export(_) => manifest::export::run(&manager),
        Command::Watch(args) => manifest::watch::run(args, &manager),
        Command::Completions(args) => completions::run(args),
        Command::Manpages(args) => manpages::run(args),
        Command::Complete(args) => completions::words(args, &manager),
    }
}
