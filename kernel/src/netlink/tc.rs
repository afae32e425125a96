//! clsact qdiscs and BPF filters.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use model::Direction;

use super::{
    Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, errno, find, request,
    u32_at,
};

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
/// What `tc filter show` calls our filters.
const NAME: &str = "bpfman";
/// Major of the one ingress or clsact qdisc that an interface can have.
const CLSACT_HANDLE: u32 = 0xffff_0000;
const TC_H_CLSACT: u32 = 0xffff_fff1;
const ETH_P_ALL: u16 = 3;

/// `TC_H_MIN_INGRESS`, `TC_H_MIN_EGRESS` below the clsact major.
const fn parent(direction: Direction) -> u32 {
    match direction {
        Direction::Ingress => 0xffff_fff2,
        Direction::Egress => 0xffff_fff3,
    }
}

/// `struct tcmsg`.
fn tcmsg(ifindex: u32, handle: u32, parent: u32, info: u32) -> [u8; 20] {
    let mut body = [0; 20];
    for (at, value) in [(4, ifindex), (8, handle), (12, parent), (16, info)] {
        body[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    body
}

/// One filter of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Its program's id; 0 for filters that are not BPF programs.
    pub program: u32,
    /// Its number below the priority.
    pub handle: u32,
    /// Lower runs first.
    pub priority: u16,
    /// It has the name that we give.
    pub named: bool,
}

impl Filter {
    fn info(self) -> u32 {
        u32::from(self.priority) << 16 | u32::from(ETH_P_ALL.to_be())
    }
}

/// What holds the filters of an interface. There is one at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Qdisc {
    /// Both sides.
    Clsact,
    /// The older kind. It has one side only, and takes filters for the other one as its own.
    Ingress,
}

/// The clsact or ingress qdisc of an interface.
pub(crate) fn qdisc(ifindex: u32) -> io::Result<Option<Qdisc>> {
    let body = tcmsg(ifindex, 0, 0, 0);
    let mut found = None;
    request(
        Message::new(RTM_GETQDISC, NLM_F_DUMP, &body),
        |kind, body| {
            let here = u32_at(body, 4) == Some(ifindex) && u32_at(body, 12) == Some(TC_H_CLSACT);
            if kind == RTM_NEWQDISC && here {
                let name = body
                    .get(20..)
                    .and_then(|attributes| find(attributes, TCA_KIND));
                let ingress = name.is_some_and(|name| name.starts_with(b"ingress"));
                found = Some(if ingress {
                    Qdisc::Ingress
                } else {
                    Qdisc::Clsact
                });
            }
        },
    )?;
    Ok(found)
}

/// Makes a clsact qdisc. Answers false when the interface has it, or an ingress qdisc, already.
pub(crate) fn add_clsact(ifindex: u32) -> io::Result<bool> {
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let body = tcmsg(ifindex, CLSACT_HANDLE, TC_H_CLSACT, 0);
    let mut message = Message::new(RTM_NEWQDISC, flags, &body);
    message.attribute(TCA_KIND, b"clsact\0");
    match request(message, |_, _| ()) {
        Ok(()) => Ok(true),
        Err(error) if errno(&error) == Some(libc::EEXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the clsact qdisc with all that is in it.
pub(crate) fn delete_clsact(ifindex: u32) -> io::Result<()> {
    let body = tcmsg(ifindex, CLSACT_HANDLE, TC_H_CLSACT, 0);
    request(Message::new(RTM_DELQDISC, NLM_F_ACK, &body), |_, _| ())
}

/// The filters of one side, in the order in which they run. None without a qdisc to hold them.
pub(crate) fn filters(ifindex: u32, direction: Direction) -> io::Result<Vec<Filter>> {
    if direction == Direction::Egress && qdisc(ifindex)? == Some(Qdisc::Ingress) {
        return Ok(Vec::new());
    }
    let body = tcmsg(ifindex, 0, parent(direction), 0);
    let mut found = Vec::new();
    let result = request(
        Message::new(RTM_GETTFILTER, NLM_F_DUMP, &body),
        |kind, body| {
            if kind == RTM_NEWTFILTER {
                found.extend(filter(body));
            }
        },
    );
    match result {
        Err(error) if !matches!(errno(&error), Some(libc::ENOENT | libc::EINVAL)) => Err(error),
        _ => Ok(found),
    }
}

fn filter(body: &[u8]) -> Option<Filter> {
    let handle = u32_at(body, 8)?;
    // The kernel also lists the empty head of each priority.
    if handle == 0 {
        return None;
    }
    let priority = u16::try_from(u32_at(body, 16)? >> 16).ok()?;
    let program = find(body.get(20..)?, TCA_OPTIONS)
        .and_then(|options| find(options, TCA_BPF_ID))
        .and_then(|value| u32_at(value, 0))
        .unwrap_or(0);
    let name = find(body.get(20..)?, TCA_OPTIONS).and_then(|options| find(options, TCA_BPF_NAME));
    Some(Filter {
        program,
        handle,
        priority,
        named: name.is_some_and(|name| name.strip_suffix(b"\0") == Some(NAME.as_bytes())),
    })
}

/// Adds a direct-action BPF filter behind those that are there, at a priority of the kernel's
/// choice.
pub(crate) fn add_filter(
    ifindex: u32,
    direction: Direction,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    // The kernel's own choice puts a new priority in front of the others; the last one is behind
    // all that somebody else chose.
    let last = filters(ifindex, direction)?
        .iter()
        .map(|f| f.priority)
        .max()
        .unwrap_or(0);
    let priority = last.saturating_add(1).max(50);
    let filter = Filter {
        program: 0,
        handle: 1,
        priority,
        named: true,
    };
    add_filter_as(ifindex, direction, filter, program)
}

/// Adds a filter of this priority and handle.
pub(crate) fn add_filter_as(
    ifindex: u32,
    direction: Direction,
    filter: Filter,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    put(ifindex, direction, filter, program, flags)
}

/// Puts another program behind a filter in one step.
///
/// EEXIST: it is not there any more, or holds another program. The kernel does not look, so
/// somebody who changes it between our look and our step is not noticed.
pub(crate) fn replace_filter(
    ifindex: u32,
    direction: Direction,
    filter: Filter,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    expect(ifindex, direction, filter)?;
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    put(ifindex, direction, filter, program, flags)
}

fn expect(ifindex: u32, direction: Direction, filter: Filter) -> io::Result<()> {
    if filters(ifindex, direction)?.contains(&filter) {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EEXIST))
    }
}

fn put(
    ifindex: u32,
    direction: Direction,
    filter: Filter,
    program: BorrowedFd<'_>,
    flags: u16,
) -> io::Result<()> {
    let body = tcmsg(ifindex, filter.handle, parent(direction), filter.info());
    let mut message = Message::new(RTM_NEWTFILTER, NLM_F_ACK | flags, &body);
    message.attribute(TCA_KIND, b"bpf\0");
    message.nest(TCA_OPTIONS, |options| {
        options.attribute(TCA_BPF_FD, &program.as_raw_fd().to_ne_bytes());
        options.attribute(TCA_BPF_NAME, format!("{NAME}\0").as_bytes());
        options.attribute(TCA_BPF_FLAGS, &TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes());
    });
    request(message, |_, _| ())
}

/// Removes one filter. EEXIST: as in [`replace_filter`].
pub(crate) fn delete_filter(ifindex: u32, direction: Direction, filter: Filter) -> io::Result<()> {
    expect(ifindex, direction, filter)?;
    let body = tcmsg(ifindex, filter.handle, parent(direction), filter.info());
    let mut message = Message::new(RTM_DELTFILTER, NLM_F_ACK, &body);
    message.attribute(TCA_KIND, b"bpf\0");
    request(message, |_, _| ())
}
