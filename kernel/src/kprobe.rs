//! Breakpoints in kernel functions. Kernel ≥ 4.17.

use std::{ffi::CString, io, os::fd::OwnedFd};

use crate::{
    diagnose,
    kallsyms::{self, Function},
    pmu::Pmu,
    probe_error::ProbeError,
    sys::perf::{self, Event},
};

/// Opens a probe `offset` bytes into a kernel function, or at its return.
///
/// The name may be `module:function`.
pub(crate) fn open(function: &str, offset: u64, on_return: bool) -> Result<OwnedFd, ProbeError> {
    let pmu = Pmu::kprobe()?;
    // The kernel takes an empty name for "the address 0".
    let name = CString::new(function).ok().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| unknown(function))?;
    if offset != 0 {
        check_offset(function, offset)?;
    }
    let event = Event::Probe {
        source: pmu.number,
        config: pmu.config(on_return),
        name: &name,
        offset,
    };
    perf::open(event, None).map_err(|source| explain(function, offset, source))
}

/// The kernel would put a probe that lies behind a function into the next one.
fn check_offset(function: &str, offset: u64) -> Result<(), ProbeError> {
    let Some(size) = size_of_function(function) else {
        return Ok(());
    };
    if offset < size {
        return Ok(());
    }
    Err(ProbeError::KernelOffset {
        function: function.to_owned(),
        offset,
        size,
    })
}

/// Bytes from a function to the next one, padding included; None where the kernel doesn't say.
fn size_of_function(function: &str) -> Option<u64> {
    let start = address_of(function)?;
    let mut next = None;
    kallsyms::each_function(|other| {
        if other.address > start {
            next = Some(next.map_or(other.address, |next: u64| next.min(other.address)));
        }
    })
    .ok()?;
    next.map(|next| next - start)
}

fn address_of(function: &str) -> Option<u64> {
    let wanted = plain_name(function);
    let mut address = None;
    kallsyms::each_function(|other| {
        if other.name == wanted && other.address != 0 {
            address.get_or_insert(other.address);
        }
    })
    .ok()?;
    address
}

/// The name without its module.
fn plain_name(function: &str) -> &str {
    function.split_once(':').map_or(function, |(_, name)| name)
}

fn unknown(function: &str) -> ProbeError {
    ProbeError::UnknownKernelFunction {
        function: function.to_owned(),
        similar: diagnose::did_you_mean_function(plain_name(function)),
    }
}

/// What the kernel's number means: it uses few numbers, and other ones in other versions.
fn explain(function: &str, offset: u64, source: io::Error) -> ProbeError {
    let denied = matches!(source.raw_os_error(), Some(libc::EPERM | libc::EACCES));
    let wanted = plain_name(function);
    let mut copies = 0_usize;
    let count = |found: Function<'_>| copies += usize::from(found.name == wanted);
    if denied || kallsyms::each_function(count).is_err() {
        return ProbeError::OpenKprobe {
            function: function.to_owned(),
            offset,
            source,
        };
    }
    let function = function.to_owned();
    match (copies, source.raw_os_error()) {
        (0, _) => unknown(&function),
        (2.., Some(libc::EADDRNOTAVAIL)) => ProbeError::AmbiguousFunction { function, copies },
        (_, Some(libc::EILSEQ)) => ProbeError::InsideInstruction { function, offset },
        (_, Some(libc::EINVAL | libc::ENOENT | libc::EOPNOTSUPP)) => {
            ProbeError::NotProbeable { function, source }
        }
        _ => ProbeError::OpenKprobe {
            function,
            offset,
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::plain_name;

    #[test]
    fn a_module_is_no_part_of_the_name() {
        assert_eq!(plain_name("veth:veth_xmit"), "veth_xmit");
        assert_eq!(plain_name("vfs_read"), "vfs_read");
    }
}
