//! Images made of local objects: what they say of themselves, and the ways to build them.
//!
//! [`Bytecode::read`] finds the objects and what is in them. Then either a container runtime
//! builds the image from a Containerfile ([`docker`], [`podman`]), or it is put together here
//! ([`Image::assemble`]) and written as an OCI layout ([`write_layout`]) or pushed ([`push`]).
//! Labels and loading are the same for all of them.

mod arch;
mod assemble;
mod error;
mod hold;
mod input;
mod labels;
mod layout;
mod push;
mod runtime;

pub use arch::Arch;
pub use assemble::{Image, Part};
pub use error::Error;
pub use input::{Bytecode, Entry, Input};
pub use labels::Labels;
pub use layout::write as write_layout;
pub use push::push;
pub use runtime::{Job, docker, podman};
