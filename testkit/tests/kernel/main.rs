//! bpfman on a real kernel. One process a test, see `testkit`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests end at the first surprise"
)]

mod concurrency;
mod errors;
mod exchange;
mod faults;
mod foreign;
mod images;
mod interplay;
mod libc;
mod manifests;
mod map_types;
mod moved;
mod objects;
mod probes;
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
