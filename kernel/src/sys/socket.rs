//! setsockopt(2) where rustix has no name for the option.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

/// Asks a netlink socket for the kernel's reasons in words. Kernel ≥ 4.12.
pub(crate) fn want_extended_ack(socket: &OwnedFd) -> io::Result<()> {
    let one: libc::c_int = 1;
    // SAFETY: the option value is a live int and its size is passed with it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_EXT_ACK,
            std::ptr::from_ref(&one).cast(),
            4,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
