//! Programs whose interface has another name by now, or is in another network namespace: they run
//! on, and the record follows.

use kernel::{Access, Hook, PinTree, Side};
use model::{Attach, NetAttach, Place, ProgramId, Record};

use crate::Result;

/// What can be asked for the programs that it runs: a chain, or a TCX hook.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) side: Side,
    pub(crate) tcx: bool,
}

impl Point {
    /// None for what hangs on no interface.
    pub(crate) fn of(record: &Record) -> Option<(Self, Place)> {
        let tcx = matches!(record.attach, Attach::Tcx { .. });
        let side = match record.attach.direction() {
            Some(direction) => Side::Tc(direction),
            None => Side::Xdp,
        };
        Some((Self { side, tcx }, record.place?))
    }

    /// The programs that run here, in their order.
    pub(crate) fn programs(self, hook: &Hook) -> kernel::Result<Vec<ProgramId>> {
        match self.side {
            Side::Tc(direction) if self.tcx => hook.tcx_programs(direction),
            _ => hook.live().map(|live| live.programs()),
        }
    }
}

/// Where a program runs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    place: Place,
    iface: String,
    netns: Option<std::path::PathBuf>,
}

impl Whereabouts {
    pub(crate) fn of(hook: &Hook) -> Self {
        Self {
            place: hook.place,
            iface: hook.iface.clone(),
            netns: hook.netns.clone(),
        }
    }

    /// Whether the record says something else.
    pub(crate) fn is_news(&self, record: &Record) -> bool {
        let said = |net: &NetAttach| net.iface == self.iface && net.netns == self.netns;
        record.place != Some(self.place) || !record.attach.net().is_some_and(said)
    }

    /// Has the record say it.
    pub(crate) fn note(&self, record: &mut Record) {
        record.place = Some(self.place);
        if let Some(net) = record.attach.net_mut() {
            net.iface.clone_from(&self.iface);
            net.netns.clone_from(&self.netns);
        }
    }
}

impl std::fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { iface, netns, .. } = self;
        match netns {
            Some(netns) => write!(f, "'{iface}' in network namespace '{}'", netns.display()),
            None => write!(f, "'{iface}'"),
        }
    }
}

/// Where these programs of one hook run now that it does not run them any more: on the interface
/// that took them along, if it can be seen from here. Answers those that do.
pub(crate) fn find(
    pins: &PinTree,
    point: Point,
    programs: &[ProgramId],
) -> Result<Option<(Whereabouts, Vec<ProgramId>)>> {
    let Some(mut hook) = Hook::search(pins, point.side, programs, Access::Write)? else {
        return Ok(None);
    };
    hook.settle()?;
    let mut running = point.programs(&hook)?;
    running.retain(|id| programs.contains(id));
    Ok((!running.is_empty()).then(|| (Whereabouts::of(&hook), running)))
}
