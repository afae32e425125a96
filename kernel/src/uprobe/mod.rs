//! Breakpoints in programs and libraries. Kernel ≥ 4.17.

mod elf;
#[cfg(test)]
mod forge;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod ldcache;
mod library;
mod root;
mod symbol;

use std::{ffi::CString, io, os::fd::OwnedFd, os::unix::ffi::OsStrExt, path::Path};

use crate::{
    pmu::Pmu,
    probe_error::ProbeError,
    sys::perf::{self, Event},
};
use root::Root;

/// Where a uprobe is set. See [`model::Attach::Uprobe`] for what the fields mean to the user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uprobe<'a> {
    /// Library name or absolute path.
    pub(crate) target: &'a str,
    /// Function in it; None: `offset` counts from the start of the file.
    pub(crate) function: Option<&'a str>,
    /// Bytes from the function or the start of the file.
    pub(crate) offset: u64,
    /// At the function's return.
    pub(crate) on_return: bool,
    /// Only in this process; None: in all.
    pub(crate) pid: Option<u32>,
    /// The process in whose mount namespace the target is looked up.
    pub(crate) container_pid: Option<u32>,
}

/// Opens a uprobe.
///
/// A function that the linker chooses when a program starts (an indirect one, such as `strlen`
/// in glibc) is probed where it is chosen.
pub(crate) fn open(probe: &Uprobe<'_>) -> Result<OwnedFd, ProbeError> {
    let pmu = Pmu::uprobe()?;
    let process = probe.pid.map(process).transpose()?;
    let root = Root::open(probe.container_pid)?;
    let target = find(&root, probe.target)?;
    let offset = symbol::file_offset(&target, probe.function, probe.offset)?;
    let failed = |source: io::Error| match (source.raw_os_error(), probe.pid) {
        (Some(libc::ESRCH), Some(pid)) => ProbeError::NoProcess { pid },
        _ => ProbeError::OpenUprobe {
            path: target.path.clone(),
            offset,
            source,
        },
    };
    // The kernel resolves the path once more: the open file keeps it the same one.
    let path = target.kernel_path();
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|nul| failed(nul.into()))?;
    let config = pmu.config(probe.on_return);
    perf::open(
        Event::Probe {
            source: pmu.number,
            config,
            name: &name,
            offset,
        },
        process,
    )
    .map_err(failed)
}

/// The kernel takes 0 for the caller and negative numbers for everybody.
fn process(pid: u32) -> Result<libc::pid_t, ProbeError> {
    libc::pid_t::try_from(pid)
        .ok()
        .filter(|pid| *pid > 0)
        .ok_or(ProbeError::NoProcess { pid })
}

fn find(root: &Root, target: &str) -> Result<root::Target, ProbeError> {
    if target.starts_with('/') {
        let path = Path::new(target);
        return root.target(path).map_err(|source| ProbeError::Read {
            path: root.shown(path),
            source,
        });
    }
    if target.is_empty() || target.contains('/') || target.contains('\0') {
        return Err(ProbeError::Target {
            target: target.to_owned(),
        });
    }
    library::find(root, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_that_mean_something_else_to_the_kernel() {
        for pid in [0, 1 << 31, u32::MAX] {
            assert!(matches!(process(pid), Err(ProbeError::NoProcess { pid: p }) if p == pid));
        }
        assert_eq!(process(1).ok(), Some(1));
    }

    #[test]
    fn targets_that_are_neither_path_nor_name() {
        for target in ["", "lib/libc.so", "./a.out", "a\0b"] {
            let result = find(&Root::Host, target);
            assert!(matches!(result, Err(ProbeError::Target { .. })), "{target}");
        }
        let result = find(&Root::Host, "/no/such/file");
        assert!(matches!(result, Err(ProbeError::Read { .. })));
    }
}
