//! `bpfman list`

use clap::Args;
use manager::{ListFilter, Manager};
use model::KernelType;

use crate::{
    args::usage_error,
    output,
    parse::{self, Pair},
    report::Failure,
};

const LONG_ABOUT: &str = "\
List all eBPF programs loaded via bpfman

Shows one program a line, by id. The type is the one the program was attached as: kprobes and
uprobes are of type 'probe', fentry and fexit programs of type 'tracing', tcx programs of type 'tc'.
Filters add up: a program is listed when it passes all of them. Nothing is changed.";

const AFTER_HELP: &str = "\
Examples:
  bpfman list
  bpfman list --all --program-type tc
  bpfman list --metadata-selector owner=acme
  bpfman list --output id | xargs bpfman unload";

#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct List {
    /// Optional: List a specific program type
    /// Example: --program-type xdp
    ///
    /// [possible values: unspec, socket-filter, probe, tc, sched-act, tracepoint, xdp,
    ///                   perf-event, cgroup-skb, cgroup-sock, lwt-in, lwt-out, lwt-xmit,
    ///                   sock-ops, sk-skb, cgroup-device, sk-msg, raw-tracepoint,
    ///                   cgroup-sock-addr, lwt-seg6-local, lirc-mode2, sk-reuseport,
    ///                   flow-dissector, cgroup-sysctl, raw-tracepoint-writable,
    ///                   cgroup-sockopt, tracing, struct-ops, ext, lsm, sk-lookup, syscall,
    ///                   netfilter]
    #[arg(short, long, verbatim_doc_comment, hide_possible_values = true)]
    #[arg(value_parser = parse::program_type())]
    program_type: Option<KernelType>,

    /// Optional: List the programs that carry this metadata.
    /// Format: <KEY>=<VALUE>
    ///
    /// With several, only programs that carry all of them are listed.
    /// Example: --metadata-selector owner=acme
    #[arg(short, long, verbatim_doc_comment, value_parser = parse::metadata)]
    metadata_selector: Vec<Pair<String>>,

    /// Optional: List all eBPF programs loaded on the system, not only those of bpfman
    #[arg(short, long, verbatim_doc_comment)]
    all: bool,

    #[command(flatten)]
    output: output::Choice,
}

impl List {
    /// What the manager is asked for.
    pub(crate) fn filter(&self) -> Result<ListFilter, Failure> {
        let metadata = parse::unite("--metadata-selector", &self.metadata_selector)
            .map_err(|why| usage_error(&["list"], why))?;
        Ok(ListFilter {
            all: self.all,
            kind: self.program_type,
            metadata,
        })
    }
}

/// Lists programs.
pub(crate) fn run(args: &List, manager: &Manager) -> Result<(), Failure> {
    let filter = args.filter()?;
    let programs = manager
        .list(&filter)
        .map_err(|error| Failure::of("cannot list programs", error))?;
    output::list(&programs, args.output.format)?;
    Ok(())
}
