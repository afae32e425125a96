//! What libbpf can do and libbpf-rs does not wrap.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use libbpf_rs::{AsRawLibbpf, OpenMapMut, OpenObject};
use libbpf_sys::{
    BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_ARRAY_OF_MAPS, bpf_map_create, bpf_map_create_opts,
};

/// Takes back what `LIBBPF_PIN_BY_NAME` in an object asks for: nothing is pinned outside our tree.
pub(crate) fn clear_pin_path(map: &mut OpenMapMut<'_>) {
    // SAFETY: the map lives as long as the borrow; libbpf takes NULL for "no pin path" and only
    // frees its own copy of the old one.
    unsafe { libbpf_sys::bpf_map__set_pin_path(map.as_libbpf_object().as_ptr(), ptr::null()) };
}

/// Lets `RLIMIT_MEMLOCK` be as it is: libbpf loads a program to find out whether the kernel counts
/// locked memory against it, and raises it then.
pub(crate) fn leave_memlock_limit() {
    // SAFETY: takes a number, and touches nothing but libbpf's own settings. It fails only after
    // libbpf has raised the limit, when there is nothing left to save.
    unsafe { libbpf_sys::libbpf_set_memlock_rlim(0) };
}

/// BTF id of a function in an object's own BTF; None when there is no such function.
///
/// The ids of the object are those of the program in the kernel: libbpf loads its BTF unchanged.
pub(crate) fn function_btf_id(object: &OpenObject, function: &str) -> Option<u32> {
    let name = CString::new(function).ok()?;
    // SAFETY: the object is open; the BTF belongs to it and lives as long; libbpf reads the name
    // during the call only.
    let id = unsafe {
        let btf = libbpf_sys::bpf_object__btf(object.as_libbpf_object().as_ptr());
        if btf.is_null() {
            return None;
        }
        libbpf_sys::btf__find_by_name_kind(btf, name.as_ptr(), libbpf_sys::BTF_KIND_FUNC)
    };
    u32::try_from(id).ok()
}

/// Makes an array with one value of four bytes, of type `BPF_MAP_TYPE_ARRAY`, or
/// `BPF_MAP_TYPE_ARRAY_OF_MAPS` for maps like `inner`. Kernel ≥ 4.12.
pub(crate) fn array(inner: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    let mut options = bpf_map_create_opts {
        sz: size_of::<bpf_map_create_opts>() as _,
        ..Default::default()
    };
    let mut map_type = BPF_MAP_TYPE_ARRAY;
    if let Some(inner) = inner {
        map_type = BPF_MAP_TYPE_ARRAY_OF_MAPS;
        options.inner_map_fd = inner.as_raw_fd().cast_unsigned();
    }
    // SAFETY: libbpf takes NULL for "no name"; the options are live during the call.
    own(unsafe { bpf_map_create(map_type, ptr::null(), 4, 4, 1, &raw const options) })
}

/// A descriptor, or an error number with its sign turned, as libbpf answers.
pub(super) fn own(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
