//! The XDP hook, shared with libxdp.

use std::os::fd::BorrowedFd;

use model::ProgramId;

use super::{Hold, Hook, Live, LiveChain, dispatcher};
use crate::{
    Error, Result, XdpMode, info,
    netlink::{self, errno},
};

/// Name by which libxdp knows a dispatcher.
const DISPATCHER: &str = "xdp_dispatcher";

pub(super) fn live(hook: &Hook) -> Result<Live> {
    let query = || Error::query(format!("read the XDP program of '{}'", hook.iface));
    let Some(attached) = netlink::xdp(hook.place.ifindex).map_err(query())? else {
        return Ok(Live::Empty);
    };
    let program = ProgramId(attached.program);
    let hold = Hold::Xdp(attached.mode);
    let Some(running) = info::program(program)? else {
        return Ok(Live::Empty);
    };
    match dispatcher::read_config(&running, DISPATCHER)? {
        None => Ok(Live::Single {
            program,
            fd: running.fd,
            hold,
        }),
        Some(config) => Ok(Live::Chain(LiveChain {
            dispatcher: program,
            chain: hook.members(program, &config)?,
            fd: running.fd,
            format: config.format,
            hold,
        })),
    }
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
