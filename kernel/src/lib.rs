//! bpf(2), netlink, perf events, pins and chains as they are in the kernel.
//!
//! This crate knows nothing of images or of the state document: it says what is, and does one
//! thing at a time.

mod chain;
mod diagnose;
mod error;
/// What the fuzzers of `fuzz/` call. Never part of what ships.
#[doc(hidden)]
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod info;
mod kallsyms;
mod kprobe;
mod link;
mod load;
mod netlink;
mod netns;
mod pins;
mod pmu;
mod probe_error;
mod release;
pub mod safe;
mod suggest;
mod sys;
mod tcx;
mod tracepoint;
mod uprobe;

pub use chain::{
    Access, Config, Dispatcher, Format, Hold, Hook, Live, LiveChain, Side, Swapped, dismantle,
    finish_removing, forget_link, slot, sweep,
};
pub use diagnose::{
    Feature, Lack, did_you_mean_function, lacks_sys_admin, memory_is_limited, missing_feature,
    missing_privilege,
};
pub use error::{Error, Result};
pub use info::{
    Glance, KernelProgram, ProgramIds, glance, id as program_id, may_open_programs, program,
    program_alive,
};
pub use link::{attach, open_event};
pub use load::{Loaded, LoadedMap, Role, Spec, Value, is_constant, load};
pub use netlink::{Filter, LinkEvents, XdpMode};
pub use netns::{NetNs, default_interface, interfaces};
pub use pins::{PinTree, Released, libxdp_root, map_pin_name};
pub use probe_error::ProbeError;
pub use tcx::Order;
