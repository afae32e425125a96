//! bpfman on a real kernel. One process a test, see `testkit`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests end at the first surprise"
)]

mod concurrency;
mod crowd;
mod errors;
mod exchange;
mod faults;
mod flow;
mod images;
mod interplay;
mod kill_scene;
mod kills;
mod libc;
mod manifests;
mod map_types;
mod objects;
mod probes;
mod recovering;
mod recovery;
mod refusal;
mod sections;
mod sharing;
mod smoke;
mod support;
mod swap;
mod tc_chain;
mod tcx;
mod testkit_itself;
mod views;
mod watch;
mod xdp_chain;
