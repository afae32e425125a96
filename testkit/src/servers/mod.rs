//! Servers that run inside a sandbox: they live in its network namespace and end with the test.

mod ca;
mod containerd;
mod daemon;
mod dockerd;
mod gate;
pub mod hostile;
mod podman;
mod registry;
mod tokens;

pub use ca::Ca;
pub use containerd::Containerd;
pub use daemon::{Daemon, run_daemon};
pub use dockerd::Dockerd;
pub use gate::Gate;
pub use hostile::Hostile;
pub use podman::{Podman, PodmanService};
pub use registry::{Options, Registry};
pub use tokens::Tokens;

/// Ends a server that may have ended on its own.
fn end(child: &mut std::process::Child) {
    let _ = child.kill();
    let _ = child.wait();
}
