//! What a command is about to change on a hook that outlives it.
//!
//! Links go away with the process that holds them until they are pinned; what is attached over
//! netlink does not. Before such a step this note is written, and the next command that writes
//! reads it when the step was never finished.

use kernel::Side;
use model::{Attach, Place, ProgramId};
use serde::{Deserialize, Serialize};

/// A change of one hook.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The program that comes or goes.
    pub(crate) program: ProgramId,
    /// Its attach point, with the namespace by name.
    pub(crate) attach: Attach,
    /// The interface.
    pub(crate) place: Place,
    /// The dispatchers before and after, where there are such.
    pub(crate) dispatchers: Vec<ProgramId>,
    /// It may make a clsact qdisc: there was no qdisc before.
    pub(crate) made_clsact: bool,
}

/// The hook of an attachment that holds a chain; None for the others.
pub(crate) fn side(attach: &Attach) -> Option<Side> {
    match attach {
        Attach::Xdp { .. } => Some(Side::Xdp),
        Attach::Tc { direction, .. } => Some(Side::Tc(*direction)),
        _ => None,
    }
}
