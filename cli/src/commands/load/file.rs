//! `bpfman load file`

use std::path::PathBuf;

use clap::Args;
use manager::{LoadRequest, Manager};
use model::Source;

use super::{Common, Program};
use crate::{parse, report::Failure};

const LONG_ABOUT: &str = "\
Load an eBPF program from a local .o file

The file is an ELF object as clang, gcc-bpf or bpf-linker write it. The parameters below come first,
then the program type, then the parameters of that type:

  bpfman load file <what to load> <program type> <where to attach it>";

const AFTER_HELP: &str = "\
Examples:
  bpfman load file --path ./xdp_pass.o --name pass xdp --iface eth0 --priority 100
  bpfman load file -p ./tc_pass.o -g GLOBAL_u8=01 GLOBAL_u32=0A0B0C0D -n pass tc -d ingress -i eth0
  bpfman load file -p ./counter.o -m owner=acme tracepoint -t syscalls/sys_enter_openat
  bpfman load file -p ./xdp_stats.o --map-owner-id 6371 -o id xdp -i eth0

See 'bpfman load file <COMMAND> --help' for the parameters of a program type.";

#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct LoadFile {
    /// Required: Location of local bytecode file
    /// Example: --path /run/bpfman/examples/go-xdp-counter/bpf_x86_bpfel.o
    #[arg(short, long, verbatim_doc_comment, value_parser = parse::absolute())]
    path: PathBuf,

    #[command(flatten)]
    common: Common,

    #[command(subcommand)]
    program: Program,
}

impl LoadFile {
    /// What the manager is asked for.
    pub(crate) fn request(&self) -> Result<LoadRequest, Failure> {
        let source = Source::File {
            path: self.path.clone(),
        };
        self.common
            .request((source, None), &self.program, &["load", "file"])
    }
}

/// Loads a program from a file.
pub(super) fn run(args: &LoadFile, manager: &Manager) -> Result<(), Failure> {
    let request = args.request()?;
    args.common.load(manager, &request, &|_| ())
}
