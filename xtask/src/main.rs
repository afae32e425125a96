//! The one runner of the workspace: whatever a developer or CI does with bpfman goes through
//! `cargo xtask <command>`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for developers: its terminal is its interface"
)]

mod apt;
mod bpf;
mod cpio;
mod guest;
mod initramfs;
mod kernels;
mod modules;
mod qemu;
mod setup;
mod sh;
mod vm;
mod wire;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests, measures and shows bpfman.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building and testing need on this Debian machine
    Setup(setup::Args),
    /// Run one command under another kernel, in QEMU
    Vm(vm::Args),
    /// Compile the eBPF objects in bpf/
    Bpf {
        /// Change nothing; fail when a committed object is not what its source compiles to
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    // The kernel of a test guest starts this very program as its first process.
    if std::process::id() == 1 && guest::is_guest() {
        return guest::init();
    }
    let done = match Cli::parse().command {
        Command::Setup(args) => setup::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Vm(args) => vm::run(args),
        Command::Bpf { check } => bpf::run(check).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
