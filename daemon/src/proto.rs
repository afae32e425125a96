//! What `build.rs` makes of `proto/bpfman.proto`.
#![allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]

tonic::include_proto!("bpfman.v1");

/// The same as a set of descriptors, for reflection.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bpfman.bin"));
