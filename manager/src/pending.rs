//! What the last command changed, or was about to change, on a hook.
//!
//! Links go away with the process that holds them until they are pinned; what is attached over
//! netlink does not. Before such a step this note is written, and the next command that writes
//! takes the step back if it was never committed.

use kernel::{Hook, Side};
use model::{Attach, Member, NetAttach, Place, ProceedOn, ProgramId};
use serde::{Deserialize, Serialize};

/// A change of one hook.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The boot in which it happened: ids and interfaces mean something else in another.
    pub(crate) boot_id: String,
    /// The program that comes or goes.
    pub(crate) program: ProgramId,
    /// Its attach point, with the namespace by name.
    pub(crate) attach: Attach,
    /// The interface.
    pub(crate) place: Place,
    /// The program comes; otherwise it goes.
    pub(crate) coming: bool,
    /// The program whose place it takes, as it took part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) leaving: Option<Member<ProgramId>>,
    /// The dispatcher before, where there was one.
    pub(crate) old: Option<ProgramId>,
    /// The dispatcher after, where there is one.
    pub(crate) new: Option<ProgramId>,
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

/// What a note says of a hook whose program has no record.
pub(crate) fn attach(hook: &Hook) -> Attach {
    let net = NetAttach {
        iface: hook.iface.clone(),
        netns: hook.netns.clone(),
        priority: 0,
    };
    let proceed_on = ProceedOn(0);
    match hook.side {
        Side::Xdp => Attach::Xdp { net, proceed_on },
        Side::Tc(direction) => Attach::Tc {
            net,
            direction,
            proceed_on,
        },
    }
}
