//! Interfaces that come, go or change.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv,
    socket_with,
};

/// `RTMGRP_LINK`, include/uapi/linux/rtnetlink.h.
const GROUP_LINK: u32 = 1;

/// A socket that becomes readable when an interface of this network namespace comes, goes or
/// changes.
#[derive(Debug)]
pub struct LinkEvents(OwnedFd);

impl LinkEvents {
    /// Listens from now on, without privilege.
    pub fn listen() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUP_LINK))?;
        Ok(Self(socket))
    }

    /// Throws away what has come. That something happened is all that matters: events may be lost
    /// when there are many, so whoever listens has to look for himself anyway.
    pub fn clear(&self) -> io::Result<()> {
        let mut buffer = [0_u8; 8192];
        loop {
            match recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                // NOBUFS: the kernel had more to say than the socket holds.
                Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for LinkEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
