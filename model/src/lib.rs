//! What programs, attach points, chains and records are, without any I/O.
//!
//! Every other crate speaks in these types. Nothing here knows libbpf, netlink or the file system.

mod attach;
mod chain;
/// What the fuzzers of `fuzz/` call. Never part of what ships.
#[doc(hidden)]
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod globals;
mod id;
mod image;
mod kernel_type;
mod kind;
mod proceed;
mod record;
mod reference;
mod view;

pub use attach::{Attach, AttachError, Direction, MAX_PRIORITY, NetAttach, Tracepoint};
pub use chain::{Chain, ChainFull, DEFAULT_PRIORITY, Member, SLOTS};
pub use globals::{global_bytes, hex_globals};
pub use id::{LinkId, MapId, ProgramId};
pub use image::{
    AuthError, HeldImage, Holder, ImageOrigin, ImageView, Provenance, PullPolicy, Pulled,
    RegistryAuth, Runtime, UnknownPolicy,
};
pub use kernel_type::{KernelType, UnknownKernelType};
pub use kind::{Kind, Misfit, Section, UnknownKind};
pub use proceed::{ProceedOn, UnknownAction, UnknownValue};
pub use record::{Place, Record, Source};
pub use reference::{Digest, ImageReference, ReferenceError, is_loopback};
pub use view::{BpfmanState, KernelState, ProgramView, Summary};
