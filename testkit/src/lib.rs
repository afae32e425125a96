//! What the kernel tests stand on: a sandbox for each test, traffic that is counted to the packet,
//! snapshots of what the kernel holds, and the rules by which a test may skip.
//!
//! Each test runs in a process of its own (nextest on the machine, one call a test in a VM), so
//! [`Sandbox`] may take the thread of the test into namespaces of its own and never come back.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "code of tests: a surprise ends the test, and what it did is shown"
)]

mod cli;
pub mod faults;
mod lane;
mod locks;
pub mod maps;
mod netns;
pub mod oci;
mod orphans;
mod ours;
mod peers;
#[cfg(test)]
mod promises;
mod random;
mod run;
mod sandbox;
pub mod servers;
mod stranger;
mod veth;
mod world;

pub use cli::{Details, Line, Load, example, object};
pub use lane::{Feature, Lane};
pub use locks::{is_waited_for, waits_for_a_lock};
pub use netns::in_netns;
pub use ours::loaded;
pub use peers::{bpftool, json, tool, xdp_loader};
pub use random::Random;
pub use run::{Output, settles, wait_until};
pub use sandbox::{Sandbox, bpfman};
pub use stranger::Stranger;
pub use veth::{Veth, receive, send};
pub use world::World;
