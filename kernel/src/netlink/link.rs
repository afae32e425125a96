//! The XDP program of an interface.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::{Message, NLM_F_ACK, find, request, u32_at};

const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_XDP: u16 = 43;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_FLAGS: u16 = 3;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
const IFLA_XDP_HW_PROG_ID: u16 = 7;
const IFLA_XDP_EXPECTED_FD: u16 = 8;
const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1;
const XDP_FLAGS_REPLACE: u32 = 16;
const NO_PROGRAM: i32 = -1;

/// Where on the receive path an XDP program runs (`XDP_FLAGS_*_MODE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver, before an skb exists.
    Drv,
    /// After the skb was made; every interface can.
    Skb,
    /// On the card.
    Hw,
}

impl XdpMode {
    const fn flag(self) -> u32 {
        match self {
            Self::Skb => 2,
            Self::Drv => 4,
            Self::Hw => 8,
        }
    }
}

/// The XDP program that an interface runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct XdpAttachment {
    pub(crate) program: u32,
    pub(crate) mode: XdpMode,
}

/// `struct ifinfomsg` for one interface.
fn ifinfo(ifindex: u32) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    body
}

/// The XDP program of an interface of the current namespace; ENODEV when there is no such
/// interface. Where programs run in several modes at once, the fastest one is answered.
pub(crate) fn xdp(ifindex: u32) -> io::Result<Option<XdpAttachment>> {
    let mut message = Message::new(RTM_GETLINK, NLM_F_ACK, &ifinfo(ifindex));
    message.attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    let mut found = None;
    request(message, |_, body| {
        if let Some(nested) = body
            .get(16..)
            .and_then(|attributes| find(attributes, IFLA_XDP))
        {
            found = attachment(nested);
        }
    })?;
    Ok(found)
}

fn attachment(nested: &[u8]) -> Option<XdpAttachment> {
    let id = |kind| {
        find(nested, kind)
            .and_then(|value| u32_at(value, 0))
            .filter(|id| *id != 0)
    };
    let by_mode = [
        (IFLA_XDP_HW_PROG_ID, XdpMode::Hw),
        (IFLA_XDP_DRV_PROG_ID, XdpMode::Drv),
        (IFLA_XDP_SKB_PROG_ID, XdpMode::Skb),
    ]
    .into_iter()
    .find_map(|(kind, mode)| {
        Some(XdpAttachment {
            program: id(kind)?,
            mode,
        })
    });
    by_mode.or_else(|| {
        let mode = match find(nested, IFLA_XDP_ATTACHED)?.first()? {
            1 => XdpMode::Drv,
            2 => XdpMode::Skb,
            3 => XdpMode::Hw,
            _ => return None,
        };
        Some(XdpAttachment {
            program: id(IFLA_XDP_PROG_ID)?,
            mode,
        })
    })
}

/// Puts `new` (None: nothing) in the place of `old` (None: nothing) in one step.
///
/// EBUSY: a bpf_link holds the interface. EEXIST: `old` is not what runs there. Kernel ≥ 5.7.
pub(crate) fn set_xdp(
    ifindex: u32,
    mode: XdpMode,
    old: Option<BorrowedFd<'_>>,
    new: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let fd = |program: Option<BorrowedFd<'_>>| program.map_or(NO_PROGRAM, |fd| fd.as_raw_fd());
    let condition = if old.is_some() {
        XDP_FLAGS_REPLACE
    } else {
        XDP_FLAGS_UPDATE_IF_NOEXIST
    };
    let mut message = Message::new(RTM_SETLINK, NLM_F_ACK, &ifinfo(ifindex));
    message.nest(IFLA_XDP, |xdp| {
        xdp.attribute(IFLA_XDP_FD, &fd(new).to_ne_bytes());
        xdp.attribute(IFLA_XDP_FLAGS, &(mode.flag() | condition).to_ne_bytes());
        if old.is_some() {
            xdp.attribute(IFLA_XDP_EXPECTED_FD, &fd(old).to_ne_bytes());
        }
    });
    request(message, |_, _| ())
}
