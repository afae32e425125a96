//! `bpfman-rpc`: the verbs of bpfman over gRPC.

use std::{io::Write as _, process::ExitCode};

use clap::Parser as _;
use daemon::{Args, run};

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            let _ = write!(std::io::stderr(), "{}", error.in_words());
            ExitCode::FAILURE
        }
    }
}
