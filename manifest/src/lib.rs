//! Manifests: what should be loaded on a host, written down.
//!
//! Text becomes documents ([`read`]), documents become one [`Desired`] program for each interface or
//! event that they name ([`expand`]), and [`plan`] tells what leads from the programs that are
//! loaded to those. The last two are pure: they ask nobody.

mod desired;
mod document;
mod error;
mod expand;
mod export;
mod field;
/// What the fuzzers of `fuzz/` call. Never part of what ships.
#[doc(hidden)]
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod identity;
mod plan;
mod read;
mod selector;

#[cfg(test)]
mod tests;

pub use desired::{Desired, Origin};
pub use document::Document;
pub use error::Error;
pub use expand::{Host, expand};
pub use export::export;
pub use identity::{Identity, Of, is_reserved, kind_name};
pub use plan::{Action, Difference, Owner, Step, Wish, deletion, needs_digest, plan};
pub use read::{Set, read, read_text, unite};
pub use selector::Selector;
