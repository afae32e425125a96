//! bpfman on a real kernel. One process a test, see `testkit`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests end at the first surprise"
)]

#[expect(
    dead_code,
    reason = "words of the binary `rpc`, not all of them are needed here"
)]
#[path = "../rpc/client.rs"]
mod client;
mod concurrency;
mod crowd;
mod errors;
mod exchange;
mod faults;
mod flow;
mod foreign;
mod images;
mod interplay;
mod kill_scene;
mod kills;
mod libc;
mod manifest_fields;
mod manifests;
mod map_types;
mod moved;
mod objects;
mod privilege;
mod probes;
mod recovering;
mod recovery;
mod refusal;
mod rpc;
mod sections;
mod sharing;
mod smoke;
mod support;
mod swap;
mod syscalls;
mod tc_chain;
mod tcx;
mod testkit_itself;
mod views;
mod watch;
mod xdp_chain;
