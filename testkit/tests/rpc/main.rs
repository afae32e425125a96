//! `bpfman-rpc` and its clients. One process a test, see `testkit`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests end at the first surprise"
)]

mod calls;
mod client;
mod errors;
mod kills;
mod kubernetes;
mod life;
mod limits;
mod python;
mod remote;

mod services;
mod together;
mod unix_socket;
