//! The one runner of the workspace: whatever a developer or CI does with bpfman goes through
//! `cargo xtask <command>`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for developers: its terminal is its interface"
)]

mod apt;
mod bench;
mod bpf;
mod cache;
mod cpio;
mod demo;
mod disk;
mod fuzz;
mod grpcio;
mod guest;
mod initramfs;
mod kernels;
mod modules;
mod package;
mod patience;
mod qemu;
mod screen;
mod setup;
mod sh;
mod stage;
mod test;
mod tools;
mod vm;
mod watch;
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
    /// Show the main job on real packets: load, chain, list, get, count, unload
    Demo(demo::Args),
    /// Run the checks and the tests, on this machine and under other kernels
    Test(test::Args),
    /// Run one command under another kernel, in QEMU
    Vm(vm::Args),
    /// Measure load, list, chains and memory beside bpftool and xdp-loader
    Bench(bench::Args),
    /// Run the fuzz targets, and show what they found
    Fuzz(fuzz::Args),
    /// Compile the eBPF objects in bpf/
    Bpf {
        /// Change nothing; fail when a committed object is not what its source compiles to
        #[arg(long)]
        check: bool,
    },
    /// Run the job of a guest that was started from a disk
    #[command(hide = true)]
    GuestAgent,
    /// Make the Debian package
    Package(package::Args),
    /// Run the kernel tests inside a guest
    #[command(hide = true)]
    GuestTests(test::guest::Args),
}

fn main() -> ExitCode {
    // The kernel of a test guest starts this very program as its first process.
    if std::process::id() == 1 && guest::is_guest() {
        return guest::init();
    }
    let done = match Cli::parse().command {
        Command::Setup(args) => setup::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Vm(args) => vm::run(args),
        Command::Bench(args) => bench::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Bpf { check } => bpf::run(check).map(|()| ExitCode::SUCCESS),
        Command::GuestAgent => guest::agent().map(|()| ExitCode::SUCCESS),
        Command::Package(args) => package::run(&args).map(|()| ExitCode::SUCCESS),
        Command::GuestTests(args) => test::guest::run(&args).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
