//! Loads that only ask whether the kernel knows a thing. Nothing of them stays.

use std::{ffi::CStr, io, mem::size_of, os::fd::OwnedFd, ptr};

use libbpf_sys::{
    BPF_MAP_TYPE_RINGBUF, bpf_attach_type, bpf_insn, bpf_map_create, bpf_prog_load,
    bpf_prog_load_opts, bpf_prog_type,
};

use super::libbpf::own;

/// A program to try: it does nothing but return 0.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trial {
    pub(crate) program_type: bpf_prog_type,
    pub(crate) attach_type: bpf_attach_type,
    /// Type of the kernel's BTF that it is to be attached to; 0 for none.
    pub(crate) btf_id: u32,
    pub(crate) flags: u32,
}

/// Why a trial was not loaded.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub(crate) error: io::Error,
    /// The verifier looked at it: the kernel knows this type and lets us load it.
    pub(crate) verified: bool,
}

/// Loads a program that does nothing.
pub(crate) fn load(trial: Trial) -> Result<OwnedFd, Rejection> {
    const LICENSE: &CStr = c"GPL";
    // r0 = 0; exit
    let code = [
        bpf_insn {
            code: 0xb7,
            ..Default::default()
        },
        bpf_insn {
            code: 0x95,
            ..Default::default()
        },
    ];
    let mut log = [0_u8; 256];
    let mut options = bpf_prog_load_opts {
        sz: size_of::<bpf_prog_load_opts>() as _,
        // libbpf repeats what a signal interrupted.
        attempts: 5,
        expected_attach_type: trial.attach_type,
        attach_btf_id: trial.btf_id,
        prog_flags: trial.flags,
        log_level: 1,
        log_size: 256,
        log_buf: log.as_mut_ptr().cast(),
        ..Default::default()
    };
    // SAFETY: the code, the license, the options and the log that they point to are live during
    // the call, with the sizes that are passed; a program may have no name.
    let fd = unsafe {
        bpf_prog_load(
            trial.program_type,
            ptr::null(),
            LICENSE.as_ptr(),
            code.as_ptr(),
            code.len() as _,
            &raw mut options,
        )
    };
    own(fd).map_err(|error| Rejection {
        error,
        verified: log[0] != 0,
    })
}

/// Makes a ring buffer of one page.
pub(crate) fn ring_buffer() -> io::Result<OwnedFd> {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(1 << 16);
    // SAFETY: libbpf takes NULL for "no name" and for "no options".
    own(unsafe { bpf_map_create(BPF_MAP_TYPE_RINGBUF, ptr::null(), 0, 0, page, ptr::null()) })
}
