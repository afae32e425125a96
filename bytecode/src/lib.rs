//! From a path to object bytes, and what is in them.
//!
//! Everything here is pure: no libbpf, no kernel, no privilege. [`read_file`] fetches the bytes,
//! [`Object::parse`] checks them and makes them fit for libbpf 1 (map definitions of the old kind
//! are rewritten), and the rest of [`Object`] answers what a load wants to know beforehand: which
//! program is meant, which maps it needs, where its global variables lie.

mod btf;
pub mod build;
mod choose;
mod elf;
mod error;
mod file;
/// What the fuzzers of `fuzz/` call. Never part of what ships.
#[doc(hidden)]
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod globals;
pub mod image;
mod inventory;
mod legacy;
mod map_type;
mod object;
mod reach;
mod rewrite;

pub use error::{Endianness, Error, Machine};
pub use file::{MAX_SIZE, read_file};
pub use globals::{Global, Patch};
pub use inventory::Inventory;
pub use map_type::map_type_name;
pub use object::{Object, Program};
