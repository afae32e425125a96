//! perf_event_open(2): the events that a probe program is attached to.

use std::{
    ffi::CStr,
    io,
    mem::size_of,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

use libbpf_sys::{PERF_TYPE_TRACEPOINT, perf_event_attr};

/// `PERF_FLAG_FD_CLOEXEC` of include/uapi/linux/perf_event.h.
const FD_CLOEXEC: libc::c_ulong = 1 << 3;

/// What happens when the event fires is up to the program; this says where it fires.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// A trace event by its id in tracefs.
    Tracepoint { id: u64 },
    /// A breakpoint. Kernel ≥ 4.17.
    Probe {
        /// Number of the kprobe or uprobe event source.
        source: u32,
        /// Its configuration bits (entry or return).
        config: u64,
        /// Kernel function or path of a file. The kernel resolves it during the call.
        name: &'a CStr,
        /// Bytes from the function or the start of the file.
        offset: u64,
    },
}

/// Opens an event for one process, or for all of them.
///
/// The processor is only a place to hang the event on: a program that is attached to it runs
/// wherever the event fires.
pub(crate) fn open(event: Event<'_>, process: Option<libc::pid_t>) -> io::Result<OwnedFd> {
    let mut attr = perf_event_attr {
        size: u32::try_from(size_of::<perf_event_attr>()).unwrap_or(0),
        ..Default::default()
    };
    match event {
        Event::Tracepoint { id } => {
            attr.type_ = PERF_TYPE_TRACEPOINT;
            attr.config = id;
        }
        Event::Probe {
            source,
            config,
            name,
            offset,
        } => {
            attr.type_ = source;
            attr.config = config;
            attr.__bindgen_anon_3.config1 = name.as_ptr() as u64;
            attr.__bindgen_anon_4.config2 = offset;
        }
    }
    let (pid, cpu) = process.map_or((-1, 0), |pid| (pid, -1));
    perf_event_open(&attr, pid, cpu)
}

fn perf_event_open(
    attr: &perf_event_attr,
    pid: libc::pid_t,
    cpu: libc::c_int,
) -> io::Result<OwnedFd> {
    const NO_GROUP: libc::c_int = -1;
    let fd = loop {
        // SAFETY: `attr` is live, fully initialised and carries its own size; the one pointer in
        // it (`Event::Probe::name`) is a C string that the caller borrows for longer than the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                std::ptr::from_ref(attr),
                pid,
                cpu,
                NO_GROUP,
                FD_CLOEXEC,
            )
        };
        if fd >= 0 {
            break fd;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
