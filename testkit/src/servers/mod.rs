//! Servers that run inside a sandbox: they live in its network namespace and end with the test.

mod ca;
mod registry;

pub use ca::Ca;
pub use registry::{Options, Registry};
