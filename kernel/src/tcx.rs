//! TCX: several programs on one hook in the kernel's own order. Kernel ≥ 6.6.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use model::{Direction, ProgramId};

use crate::{
    Error, PinTree, Result,
    chain::Hook,
    sys::bpf::{self, Anchor, Attached, Target, bpf_attach_type},
};

/// How often an attachment is tried again when somebody else changed the hook in between.
const TRIES: usize = 16;

pub(crate) fn attach_type(direction: Direction) -> bpf_attach_type {
    match direction {
        Direction::Ingress => libbpf_sys::BPF_TCX_INGRESS,
        Direction::Egress => libbpf_sys::BPF_TCX_EGRESS,
    }
}

/// Where among the programs of ours a new one runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By its priority; the newest of equals first.
    Priority(u32),
    /// Right before the program that it replaces; by its priority where that has gone.
    InPlaceOf(ProgramId, u32),
}

/// Where a new program goes: our own TCX programs on the hook with their priorities, in order.
/// The newest of equals runs first; all run before a TC chain of ours.
fn anchor(
    attached: &[Attached],
    ours: &[(ProgramId, u32)],
    chain: Option<u32>,
    order: Order,
) -> Anchor {
    let link = |id: ProgramId| {
        let entry = attached.iter().find(|entry| entry.program == id.0);
        entry.filter(|entry| entry.link != 0)
    };
    let priority = match order {
        Order::Priority(priority) => priority,
        Order::InPlaceOf(id, priority) => match link(id) {
            Some(entry) => return Anchor::Before(entry.link),
            None => priority,
        },
    };
    let of = |entry: &&Attached| {
        ours.iter()
            .find(|(id, _)| id.0 == entry.program && entry.link != 0)
            .map(|(_, p)| *p)
    };
    let later = attached
        .iter()
        .find(|entry| of(entry).is_some_and(|p| p >= priority));
    let earlier = attached.iter().rev().find(|entry| of(entry).is_some());
    match (later, earlier, chain) {
        (Some(entry), _, _) => Anchor::Before(entry.link),
        (None, Some(entry), _) => Anchor::After(entry.link),
        (None, None, Some(link)) => Anchor::Before(link),
        (None, None, None) => Anchor::Last,
    }
}

impl Hook {
    /// Attaches a program by itself, in its order among `ours` (program and priority), and names
    /// the link at `pin`.
    pub fn attach_tcx(
        &self,
        program: impl AsFd,
        direction: Direction,
        order: Order,
        ours: &[(ProgramId, u32)],
        pin: &Path,
    ) -> Result<()> {
        let program = program.as_fd();
        let link = self
            .ns
            .run(|| self.link_tcx(program, direction, order, ours))??;
        fault::point("load.linked").map_err(Error::Fault)?;
        PinTree::pin(&link, pin)
    }

    fn link_tcx(
        &self,
        program: BorrowedFd<'_>,
        direction: Direction,
        order: Order,
        ours: &[(ProgramId, u32)],
    ) -> Result<OwnedFd> {
        let (ifindex, attach_type) = (self.place.ifindex, attach_type(direction));
        let fail = |source| Error::Swap {
            on: self.describe(),
            source,
        };
        let chain = match PinTree::open(self.link_pin())? {
            Some(link) => bpf::link_info(link.as_fd()).ok().map(|info| info.id),
            None => None,
        };
        let mut tries = 0;
        loop {
            let (revision, attached) = bpf::tcx_query(ifindex, attach_type).map_err(fail)?;
            let chain = chain.filter(|id| attached.iter().any(|entry| entry.link == *id));
            let anchor = anchor(&attached, ours, chain, order);
            let target = Target::Tcx {
                ifindex,
                attach_type,
                anchor,
                revision,
            };
            match bpf::link_create(program, &target) {
                // ESTALE: the revision; the others: the anchor has gone in between.
                Err(error)
                    if tries < TRIES
                        && matches!(error.raw_os_error(), Some(libc::ESTALE | libc::ENOENT)) =>
                {
                    tries += 1;
                }
                result => return result.map_err(fail),
            }
        }
    }

    /// The programs of a TCX hook in the order in which they run, ours and others'.
    pub fn tcx_programs(&self, direction: Direction) -> Result<Vec<ProgramId>> {
        let (_, attached) = self
            .ns
            .run(|| bpf::tcx_query(self.place.ifindex, attach_type(direction)))?
            .map_err(Error::query(format!(
                "list the TCX programs of '{}'",
                self.iface
            )))?;
        Ok(attached
            .into_iter()
            .map(|entry| ProgramId(entry.program))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_keep_the_order() {
        let at = |program, link| Attached { program, link };
        let attached = [at(9, 90), at(1, 10), at(2, 20), at(5, 50)];
        let ours = [(ProgramId(1), 50), (ProgramId(2), 100)];
        let by = Order::Priority;
        let go = |priority| anchor(&attached, &ours, Some(50), by(priority));
        assert_eq!(go(50), Anchor::Before(10));
        assert_eq!(go(60), Anchor::Before(20));
        assert_eq!(go(101), Anchor::After(20));
        let instead = |id| Order::InPlaceOf(ProgramId(id), 101);
        let at = |order| anchor(&attached, &ours, Some(50), order);
        assert_eq!(at(instead(2)), Anchor::Before(20));
        assert_eq!(at(instead(7)), Anchor::After(20));
        assert_eq!(anchor(&attached, &[], Some(50), by(0)), Anchor::Before(50));
        assert_eq!(anchor(&attached, &[], None, by(0)), Anchor::Last);
    }
}
