//! bpfman and images, against real registries and real tools. One process a test, see `testkit`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests end at the first surprise"
)]

mod build;
mod credentials;
mod faults;
mod hostile;
mod load;
mod policy;
mod progress;
mod pull;
mod runtimes;
mod store;
mod support;
mod transport;
