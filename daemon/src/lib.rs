//! The verbs of bpfman over gRPC: a thin front of the same manager that the command line uses.
//!
//! Nothing that is loaded depends on this process. It keeps no program, link or state of its own:
//! killing it changes nothing in the kernel, and the command line works beside it.

mod activity;
mod answer;
mod args;
mod calls;
mod connections;
mod error;
/// What the fuzzers of `fuzz/` call. Never part of what ships.
#[doc(hidden)]
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod logger;
mod peer;
pub mod proto;
mod remote;
mod request;
mod serve;
mod service;
mod socket;
mod status;

#[cfg(test)]
mod tests;

pub use args::Args;
pub use error::Error;
pub use serve::run;
