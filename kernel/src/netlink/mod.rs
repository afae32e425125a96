//! rtnetlink: XDP attachments, qdiscs and filters of one interface.
//!
//! Message layouts: include/uapi/linux/{netlink,rtnetlink,if_link,pkt_sched,pkt_cls}.h. A socket
//! speaks for the network namespace in which it was opened.

use std::{io, os::fd::OwnedFd};

use rustix::{
    io::retry_on_intr,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with},
};

mod events;
mod link;
mod tc;

pub use events::LinkEvents;
pub use link::XdpMode;
pub(crate) use link::{set_xdp, xdp};
pub use tc::Filter;
pub(crate) use tc::{
    Qdisc, add_clsact, add_filter, add_filter_as, delete_clsact, delete_filter, filters, qdisc,
    replace_filter,
};

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLA_F_NESTED: u16 = 1 << 15;
const NLA_TYPE_MASK: u16 = !(3 << 14);
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
const HEADER: usize = 16;

/// A request under construction.
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&0_u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&1_u32.to_ne_bytes());
        bytes.extend_from_slice(&0_u32.to_ne_bytes());
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        // Attributes here are names and numbers of a few bytes.
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.0.len();
        self.0.extend_from_slice(&0_u16.to_ne_bytes());
        self.0
            .extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_ne_bytes)
}

/// The attributes in `bytes`, type bits removed; stops at the first that does not fit.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & NLA_TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

fn open() -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    crate::sys::socket::want_extended_ack(&socket)?;
    Ok(socket)
}

/// Sends a request and hands every answer (type and body) to `each`, until the kernel's
/// acknowledgement. Its errors are OS errors; where the kernel gave a reason in words, that is in
/// the message.
fn request(message: Message, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
    let socket = open()?;
    let message = message.finish();
    retry_on_intr(|| send(&socket, &message, SendFlags::empty()))?;
    let mut buffer = vec![0_u8; 32 * 1024];
    loop {
        let receive = || recv(&socket, buffer.as_mut_slice(), RecvFlags::empty());
        let (length, _) = retry_on_intr(receive)?;
        let mut rest = &buffer[..length];
        while let (Some(length), Some(kind), Some(flags)) =
            (u32_at(rest, 0), u16_at(rest, 4), u16_at(rest, 6))
        {
            let length = length as usize;
            let Some(body) = rest.get(HEADER..length) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => return acknowledged(body, flags),
                _ => each(kind, body),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// An answer without acknowledgement: one message, then nothing.
fn acknowledged(body: &[u8], flags: u16) -> io::Result<()> {
    let code = u32_at(body, 0).map_or(0, u32::cast_signed);
    if code == 0 {
        return Ok(());
    }
    let error = io::Error::from_raw_os_error(-code);
    if flags & NLM_F_ACK_TLVS == 0 {
        return Err(error);
    }
    let echoed = if flags & NLM_F_CAPPED != 0 {
        HEADER
    } else {
        u32_at(body, 4).map_or(HEADER, |length| (length as usize).next_multiple_of(4))
    };
    let reason = body
        .get(4 + echoed..)
        .and_then(|tlvs| find(tlvs, NLMSGERR_ATTR_MSG))
        .map(|text| {
            String::from_utf8_lossy(text)
                .trim_end_matches('\0')
                .to_owned()
        });
    match reason {
        Some(reason) => Err(io::Error::new(error.kind(), Refused { error, reason })),
        None => Err(error),
    }
}

/// A refusal for which the kernel gave a reason in words (extended acknowledgement).
#[derive(Debug)]
struct Refused {
    error: io::Error,
    reason: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.error, self.reason)
    }
}

impl std::error::Error for Refused {}

/// The OS error number of a netlink error, with or without a reason in words.
pub(crate) fn errno(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| {
        let refused = error.get_ref()?.downcast_ref::<Refused>()?;
        refused.error.raw_os_error()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_nest_and_pad() {
        let mut message = Message::new(19, NLM_F_ACK, &[9; 4]);
        message.nest(43, |xdp| {
            xdp.attribute(1, &7_i32.to_ne_bytes()).attribute(3, b"abc");
        });
        let bytes = message.finish();
        assert_eq!(u32_at(&bytes, 0), Some(u32::try_from(bytes.len()).unwrap()));
        let nested = find(&bytes[HEADER + 4..], 43).unwrap();
        assert_eq!(find(nested, 1), Some(&7_i32.to_ne_bytes()[..]));
        assert_eq!(find(nested, 3), Some(&b"abc"[..]));
        assert_eq!(nested.len() % 4, 0);
    }

    #[test]
    fn damaged_attributes_end_the_list() {
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[0, 0, 0, 0]).count(), 0);
        assert_eq!(attributes(&[200, 0, 1, 0, 1]).count(), 0);
    }

    #[test]
    fn a_refusal_keeps_number_and_reason() {
        let mut body = (-22_i32).to_ne_bytes().to_vec();
        body.extend_from_slice(&[0; HEADER]);
        let text = b"MTU too large\0";
        body.extend_from_slice(&(4 + u16::try_from(text.len()).unwrap()).to_ne_bytes());
        body.extend_from_slice(&NLMSGERR_ATTR_MSG.to_ne_bytes());
        body.extend_from_slice(text);
        let error = acknowledged(&body, NLM_F_CAPPED | NLM_F_ACK_TLVS).unwrap_err();
        assert_eq!(errno(&error), Some(22));
        assert!(error.to_string().ends_with("MTU too large"), "{error}");
    }
}
