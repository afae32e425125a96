//! bpfman on a real kernel. One process a test, see `testkit`.
#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

mod smoke;
mod support;
mod tc_chain;
mod testkit_itself;
mod xdp_chain;
