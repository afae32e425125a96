//! Programs that a link holds: tracepoints, kprobes, uprobes, fentry and fexit.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use model::Attach;

use crate::{
    Error, PinTree, Result, kprobe,
    sys::bpf::{self, Target},
    tracepoint,
    uprobe::{self, Uprobe},
};

/// Opens the event that a program is to run on, before anything is loaded: a name that does not
/// exist is found out here. None for fentry and fexit, whose target is part of the program.
pub fn open_event(attach: &Attach) -> Result<Option<OwnedFd>> {
    match attach {
        Attach::Tracepoint { tracepoint } => Ok(Some(tracepoint::open(tracepoint)?)),
        Attach::Kprobe {
            fn_name,
            offset,
            retprobe,
        } => Ok(Some(kprobe::open(fn_name, *offset, *retprobe)?)),
        Attach::Uprobe {
            target,
            fn_name,
            offset,
            retprobe,
            pid,
            container_pid,
        } => Ok(Some(uprobe::open(&Uprobe {
            target,
            function: fn_name.as_deref(),
            offset: *offset,
            on_return: *retprobe,
            pid: *pid,
            container_pid: *container_pid,
        })?)),
        _ => Ok(None),
    }
}

/// Attaches a program by a link and names the link at `pin`. Perf events: kernel ≥ 5.15.
pub fn attach(
    program: impl AsFd,
    name: &str,
    event: Option<&impl AsFd>,
    to: String,
    pin: &Path,
) -> Result<()> {
    let link = match event {
        Some(event) => bpf::link_create(program.as_fd(), &Target::PerfEvent(event.as_fd())),
        None => bpf::tracing_open(program.as_fd()),
    };
    let link = link.map_err(|source| match source.raw_os_error() {
        Some(libc::E2BIG) => Error::EventFull { event: to, source },
        _ => Error::Attach {
            program: name.to_owned(),
            to,
            source,
        },
    })?;
    fault::point("load.linked").map_err(Error::Fault)?;
    PinTree::pin(link.as_fd(), pin)
}
