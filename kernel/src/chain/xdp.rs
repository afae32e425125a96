//! The XDP hook, shared with libxdp.

use std::os::fd::BorrowedFd;

use model::ProgramId;

use super::{Hold, Hook, Live};
use crate::{
    Error, Result, XdpMode,
    netlink::{self, errno},
};

/// Name by which libxdp knows a dispatcher.
pub(super) const DISPATCHER: &str = "xdp_dispatcher";

/// The program that runs there itself, and by what it is held.
pub(super) fn running(hook: &Hook) -> Result<Option<(ProgramId, Hold)>> {
    let query = Error::query(format!("read the XDP program of '{}'", hook.iface));
    let attached = netlink::xdp(hook.place.ifindex).map_err(query)?;
    Ok(attached.map(|attached| (ProgramId(attached.program), Hold::Xdp(attached.mode))))
}

pub(super) fn swap(
    hook: &Hook,
    live: &Live,
    new: Option<BorrowedFd<'_>>,
    mode: Option<XdpMode>,
) -> Result<()> {
    let set = |mode| {
        let old = live.held().map(|(fd, _)| fd);
        netlink::set_xdp(hook.place.ifindex, mode, old, new)
    };
    let result = match (live.held(), mode) {
        (Some((_, Hold::Xdp(mode))), _) | (None, Some(mode)) => set(mode),
        // Drivers without XDP answer EOPNOTSUPP; others refuse a configuration (MTU, queues)
        // that the generic hook takes.
        _ => set(XdpMode::Drv).or_else(|error| match errno(&error) {
            Some(libc::EBUSY | libc::EEXIST | libc::EPERM | libc::ENODEV) => Err(error),
            _ => set(XdpMode::Skb).map_err(|_| error),
        }),
    };
    result.map_err(|source| Error::Swap {
        on: hook.describe(),
        source,
    })
}
