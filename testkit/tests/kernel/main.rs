//! bpfman on a real kernel. One process a test, see `testkit`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests end at the first surprise"
)]

mod libc;
mod map_types;
mod objects;
mod probes;
mod sections;
mod sharing;
mod smoke;
mod support;
mod tc_chain;
mod testkit_itself;
mod xdp_chain;
