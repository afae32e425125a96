//! The TC hooks: a TCX link where the kernel has it, a filter on clsact elsewhere.

use std::os::fd::{AsFd, BorrowedFd};

use model::{Direction, ProgramId};

use super::{Hold, Hook, Live, Swapped};
use crate::{
    Error, PinTree, Result, info,
    netlink::{self, Filter, Qdisc, errno},
    sys::bpf::{self, Anchor, Target},
    tcx::attach_type,
};

pub(super) const DISPATCHER: &str = "tc_dispatcher";

pub(super) fn has_tcx(ifindex: u32, direction: Direction) -> bool {
    bpf::tcx_query(ifindex, attach_type(direction)).is_ok()
}

pub(super) fn lacks_clsact(hook: &Hook, direction: Direction) -> Result<bool> {
    let ifindex = hook.place.ifindex;
    if has_tcx(ifindex, direction) {
        return Ok(false);
    }
    let query = Error::query(format!("list the qdiscs of '{}'", hook.iface));
    netlink::qdisc(ifindex)
        .map(|qdisc| qdisc.is_none())
        .map_err(query)
}

/// The program that runs there itself, and by what it is held.
pub(super) fn running(hook: &Hook, direction: Direction) -> Result<Option<(ProgramId, Hold)>> {
    if let Some(link) = PinTree::open(&hook.link_pin)? {
        let query = Error::query(format!("ask about the TCX link of '{}'", hook.iface));
        let link = bpf::link_info(link.as_fd()).map_err(query)?;
        // 0: somebody detached it, or the interface went away and another has its index.
        let runs = bpf::tcx_ifindex(&link) == hook.place.ifindex;
        return Ok(runs.then_some((ProgramId(link.prog_id), Hold::TcxLink)));
    }
    let filter = our_filter(hook, direction)?;
    Ok(filter.map(|filter| (ProgramId(filter.program), Hold::Filter(filter))))
}

/// A filter is ours when its program is pinned in our tree: as a dispatcher or by itself.
fn our_filter(hook: &Hook, direction: Direction) -> Result<Option<Filter>> {
    let filters = netlink::filters(hook.place.ifindex, direction).map_err(Error::query(
        format!("list the filters of '{}'", hook.iface),
    ))?;
    Ok(filters.into_iter().find(|filter| {
        let id = ProgramId(filter.program);
        filter.program != 0 && (hook.folder(id).exists() || hook.pins.program(id).exists())
    }))
}

/// Removes the filter of a program of ours, or of the chain that it was in, whose pins somebody has
/// taken away: the kernel keeps a filter without any.
pub(super) fn remove_stray(hook: &Hook, direction: Direction, program: ProgramId) -> Result<()> {
    let ifindex = hook.place.ifindex;
    let query = || Error::query(format!("list the filters of '{}'", hook.iface));
    for filter in netlink::filters(ifindex, direction).map_err(query())? {
        let id = ProgramId(filter.program);
        let was_ours = || -> Result<bool> {
            let dispatches = info::glance(id)?.is_some_and(|running| running.name == DISPATCHER);
            Ok(id == program || dispatches && !hook.folder(id).exists())
        };
        if filter.named && was_ours()? {
            log::warn!(
                "the pins behind the filter on {} were removed: it goes as well",
                hook.describe()
            );
            let fail = |source| Error::Swap {
                on: hook.describe(),
                source,
            };
            netlink::delete_filter(ifindex, direction, filter).map_err(fail)?;
        }
    }
    Ok(())
}

pub(super) fn swap(
    hook: &Hook,
    direction: Direction,
    live: &Live,
    new: Option<BorrowedFd<'_>>,
) -> Result<Swapped> {
    let ifindex = hook.place.ifindex;
    let fail = |source| Error::Swap {
        on: hook.describe(),
        source,
    };
    match (live.held(), new) {
        (None, None) => Ok(Swapped::default()),
        (None, Some(new)) => attach(hook, direction, new),
        (Some((old, Hold::TcxLink)), Some(new)) => {
            let link = PinTree::open(&hook.link_pin)?;
            let link = link.ok_or_else(|| fail(std::io::ErrorKind::NotFound.into()))?;
            bpf::link_update(link.as_fd(), new, old).map_err(fail)?;
            Ok(Swapped::default())
        }
        (Some((_, Hold::TcxLink)), None) => Ok(Swapped {
            released: PinTree::release(&hook.link_pin)?,
            made_clsact: false,
        }),
        (Some((_, Hold::Filter(filter))), Some(new)) => {
            netlink::replace_filter(ifindex, direction, filter, new).map_err(fail)?;
            Ok(Swapped::default())
        }
        (Some((_, Hold::Filter(filter))), None) => {
            netlink::delete_filter(ifindex, direction, filter).map_err(fail)?;
            Ok(Swapped::default())
        }
        (Some((_, Hold::Xdp(_))), _) => Err(fail(std::io::ErrorKind::InvalidInput.into())),
    }
}

/// Adds a filter that was there before, in its old place among the others.
pub(super) fn add_again(
    hook: &Hook,
    direction: Direction,
    program: BorrowedFd<'_>,
    filter: Filter,
) -> Result<()> {
    let fail = |source| Error::Swap {
        on: hook.describe(),
        source,
    };
    netlink::add_filter_as(hook.place.ifindex, direction, filter, program).map_err(fail)
}

fn attach(hook: &Hook, direction: Direction, new: BorrowedFd<'_>) -> Result<Swapped> {
    let ifindex = hook.place.ifindex;
    let fail = |source| Error::Swap {
        on: hook.describe(),
        source,
    };
    if has_tcx(ifindex, direction) {
        // What is left of a link that somebody detached.
        PinTree::unpin(&hook.link_pin)?;
        let attach_type = attach_type(direction);
        let target = Target::Tcx {
            ifindex,
            attach_type,
            anchor: Anchor::Last,
            revision: 0,
        };
        let link = bpf::link_create(new, &target).map_err(fail)?;
        fault::point("chain.tcx-linked").map_err(Error::Fault)?;
        PinTree::pin(&link, &hook.link_pin)?;
        return Ok(Swapped::default());
    }
    let made = netlink::add_clsact(ifindex).map_err(fail)?;
    let added = add_filter(hook, direction, new);
    if made
        && added.is_err()
        && let Err(error) = remove_clsact(hook)
    {
        log::warn!("{error}: an empty clsact qdisc stays");
    }
    added.map(|()| Swapped {
        made_clsact: made,
        released: None,
    })
}

fn add_filter(hook: &Hook, direction: Direction, new: BorrowedFd<'_>) -> Result<()> {
    let ifindex = hook.place.ifindex;
    let fail = |source| Error::Swap {
        on: hook.describe(),
        source,
    };
    fault::point("chain.clsact-made").map_err(Error::Fault)?;
    // The kernel would put it on the other side.
    if direction == Direction::Egress
        && netlink::qdisc(ifindex).map_err(fail)? == Some(Qdisc::Ingress)
    {
        return Err(Error::IngressQdisc {
            iface: hook.iface.clone(),
            direction,
        });
    }
    netlink::add_filter(ifindex, direction, new).map_err(fail)
}

pub(super) fn remove_clsact(hook: &Hook) -> Result<()> {
    for direction in [Direction::Ingress, Direction::Egress] {
        let filters = netlink::filters(hook.place.ifindex, direction).map_err(Error::query(
            format!("list the filters of '{}'", hook.iface),
        ))?;
        if !filters.is_empty() {
            return Ok(());
        }
    }
    match netlink::delete_clsact(hook.place.ifindex) {
        Err(error)
            if !matches!(
                errno(&error),
                Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)
            ) =>
        {
            Err(Error::query(format!(
                "remove the clsact qdisc of '{}'",
                hook.iface
            ))(error))
        }
        _ => Ok(()),
    }
}
