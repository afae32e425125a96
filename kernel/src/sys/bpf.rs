//! bpf(2): one function a command, all through [`call`].
//!
//! Layouts and numbers are those of include/uapi/linux/bpf.h as libbpf-sys carries them.

use std::{
    ffi::CString,
    io,
    mem::size_of,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use libbpf_sys as bindings;
pub(crate) use libbpf_sys::{bpf_attach_type, bpf_link_info, bpf_map_info, bpf_prog_info};

use bindings::bpf_attr;

/// The one place where a bpf(2) command enters the kernel.
fn call(command: bindings::bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    loop {
        // SAFETY: `attr` is a live, fully initialised union of the size that is passed, and every
        // caller puts only pointers into it that outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                std::ptr::from_mut(attr),
                size_of::<bpf_attr>(),
            )
        };
        if result >= 0 {
            return Ok(result);
        }
        let error = io::Error::last_os_error();
        // The verifier answers EAGAIN when a signal interrupts it.
        if error.kind() != io::ErrorKind::Interrupted && error.kind() != io::ErrorKind::WouldBlock {
            return Err(error);
        }
    }
}

/// A command whose result is a new descriptor.
fn call_fd(command: bindings::bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = call(command, attr)?;
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn path_bytes(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// What an id counts.
#[derive(Clone, Copy)]
pub(crate) enum Ids {
    Programs,
    Maps,
}

/// The id after `id`, None at the end. Kernel ≥ 4.13.
pub(crate) fn next_id(ids: Ids, id: u32) -> io::Result<Option<u32>> {
    let mut attr = bpf_attr::default();
    attr.__bindgen_anon_6.__bindgen_anon_1.start_id = id;
    let command = match ids {
        Ids::Programs => bindings::BPF_PROG_GET_NEXT_ID,
        Ids::Maps => bindings::BPF_MAP_GET_NEXT_ID,
    };
    match call(command, &mut attr) {
        // SAFETY: the kernel has written `next_id`; any bytes are a valid u32.
        Ok(_) => Ok(Some(unsafe { attr.__bindgen_anon_6.next_id })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A descriptor of the object with this id; ENOENT when there is none.
pub(crate) fn open_id(ids: Ids, id: u32) -> io::Result<OwnedFd> {
    let mut attr = bpf_attr::default();
    attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
    let command = match ids {
        Ids::Programs => bindings::BPF_PROG_GET_FD_BY_ID,
        Ids::Maps => bindings::BPF_MAP_GET_FD_BY_ID,
    };
    call_fd(command, &mut attr)
}

fn info<T>(fd: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut attr = bpf_attr::default();
    attr.info.bpf_fd = raw(fd);
    attr.info.info_len = u32::try_from(size_of::<T>()).unwrap_or(u32::MAX);
    attr.info.info = std::ptr::from_mut(info) as u64;
    call(bindings::BPF_OBJ_GET_INFO_BY_FD, &mut attr).map(drop)
}

/// What the kernel says of a program, with the ids of its maps.
pub(crate) fn prog_info(fd: BorrowedFd<'_>) -> io::Result<(bpf_prog_info, Vec<u32>)> {
    // Room for the maps of most programs, so that one call is enough.
    let mut maps = vec![0_u32; 16];
    loop {
        let mut data = bpf_prog_info {
            nr_map_ids: u32::try_from(maps.len()).unwrap_or(u32::MAX),
            map_ids: maps.as_mut_ptr() as u64,
            ..Default::default()
        };
        info(fd, &mut data)?;
        let count = data.nr_map_ids as usize;
        if count <= maps.len() {
            maps.truncate(count);
            return Ok((data, maps));
        }
        maps.resize(count, 0);
    }
}

/// What the kernel says of a program, without its maps.
pub(crate) fn prog_glance(fd: BorrowedFd<'_>) -> io::Result<bpf_prog_info> {
    let mut data = bpf_prog_info::default();
    info(fd, &mut data)?;
    Ok(data)
}

/// What the kernel says of a map.
pub(crate) fn map_info(fd: BorrowedFd<'_>) -> io::Result<bpf_map_info> {
    let mut data = bpf_map_info::default();
    info(fd, &mut data)?;
    Ok(data)
}

/// What the kernel says of a link.
pub(crate) fn link_info(fd: BorrowedFd<'_>) -> io::Result<bpf_link_info> {
    let mut data = bpf_link_info::default();
    info(fd, &mut data)?;
    Ok(data)
}

/// Interface of a TCX link; 0 once it is detached or the interface is gone.
pub(crate) fn tcx_ifindex(info: &bpf_link_info) -> u32 {
    // SAFETY: the union is plain integers, any of its views is valid.
    unsafe { info.__bindgen_anon_1.tcx.ifindex }
}

/// Puts a map into the first place of an array of maps, and returns when no program can be at work
/// that began before (`maybe_wait_bpf_programs`, kernel/bpf/syscall.c). Kernel ≥ 4.18.
pub(crate) fn array_of_maps_update(outer: BorrowedFd<'_>, inner: BorrowedFd<'_>) -> io::Result<()> {
    let (key, value) = (0_u32, raw(inner));
    let mut attr = bpf_attr::default();
    attr.__bindgen_anon_2.map_fd = raw(outer);
    attr.__bindgen_anon_2.key = std::ptr::from_ref(&key) as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = std::ptr::from_ref(&value) as u64;
    call(bindings::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Reads the value of `key` into `value`, which must have the map's value size.
pub(crate) fn map_lookup(fd: BorrowedFd<'_>, key: u32, value: &mut [u8]) -> io::Result<()> {
    let mut attr = bpf_attr::default();
    attr.__bindgen_anon_2.map_fd = raw(fd);
    attr.__bindgen_anon_2.key = std::ptr::from_ref(&key) as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value.as_mut_ptr() as u64;
    call(bindings::BPF_MAP_LOOKUP_ELEM, &mut attr).map(drop)
}

/// Names an object in a bpffs. Kernel ≥ 4.4, links ≥ 5.7.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = path_bytes(path)?;
    let mut attr = bpf_attr::default();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = raw(fd);
    call(bindings::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// Opens a pinned object.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = path_bytes(path)?;
    let mut attr = bpf_attr::default();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    call_fd(bindings::BPF_OBJ_GET, &mut attr)
}

/// What a link is to be attached to.
pub(crate) enum Target<'a> {
    /// A function of a dispatcher, by its BTF id. Re-attachment needs kernel 5.10.
    Function {
        dispatcher: BorrowedFd<'a>,
        btf_id: u32,
    },
    /// A perf event. Kernel ≥ 5.15.
    PerfEvent(BorrowedFd<'a>),
    /// One side of an interface of the current namespace. Kernel ≥ 6.6.
    Tcx {
        ifindex: u32,
        attach_type: bpf_attach_type,
        anchor: Anchor,
        revision: u64,
    },
}

/// Where a TCX link goes among those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// Behind all.
    Last,
    /// Right before the link with this id.
    Before(u32),
    /// Right behind the link with this id.
    After(u32),
}

/// Attaches a program; it stays attached as long as the link lives.
pub(crate) fn link_create(program: BorrowedFd<'_>, target: &Target<'_>) -> io::Result<OwnedFd> {
    let mut attr = bpf_attr::default();
    attr.link_create.__bindgen_anon_1.prog_fd = raw(program);
    match *target {
        Target::Function { dispatcher, btf_id } => {
            attr.link_create.__bindgen_anon_2.target_fd = raw(dispatcher);
            attr.link_create.__bindgen_anon_3.target_btf_id = btf_id;
        }
        Target::PerfEvent(event) => {
            attr.link_create.__bindgen_anon_2.target_fd = raw(event);
            attr.link_create.attach_type = bindings::BPF_PERF_EVENT;
        }
        Target::Tcx {
            ifindex,
            attach_type,
            anchor,
            revision,
        } => {
            attr.link_create.__bindgen_anon_2.target_ifindex = ifindex;
            attr.link_create.attach_type = attach_type;
            let (flags, relative) = match anchor {
                Anchor::Last => (0, 0),
                Anchor::Before(link) => (bindings::BPF_F_BEFORE, link),
                Anchor::After(link) => (bindings::BPF_F_AFTER, link),
            };
            if flags != 0 {
                attr.link_create.flags = flags | bindings::BPF_F_ID | bindings::BPF_F_LINK;
                attr.link_create
                    .__bindgen_anon_3
                    .tcx
                    .__bindgen_anon_1
                    .relative_id = relative;
            }
            attr.link_create.__bindgen_anon_3.tcx.expected_revision = revision;
        }
    }
    call_fd(bindings::BPF_LINK_CREATE, &mut attr)
}

/// Puts another program behind a link in one step, only if `old` is still there. Kernel ≥ 5.7.
pub(crate) fn link_update(
    link: BorrowedFd<'_>,
    new: BorrowedFd<'_>,
    old: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut attr = bpf_attr::default();
    attr.link_update.link_fd = raw(link);
    attr.link_update.__bindgen_anon_1.new_prog_fd = raw(new);
    attr.link_update.flags = bindings::BPF_F_REPLACE;
    attr.link_update.__bindgen_anon_2.old_prog_fd = raw(old);
    call(bindings::BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Takes what a link holds off its hook at once; without it the kernel does so some time after the
/// link's last reference is gone. Kernel ≥ 5.9, not for every type of link.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = bpf_attr::default();
    attr.link_detach.link_fd = raw(link);
    call(bindings::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// Attaches a tracing program to the function it was loaded for.
pub(crate) fn tracing_open(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = bpf_attr::default();
    attr.raw_tracepoint.prog_fd = raw(program);
    call_fd(bindings::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
}

/// One program of a TCX hook. `link` is 0 when it was attached without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) program: u32,
    pub(crate) link: u32,
}

/// The programs of a TCX hook in the order in which they run, with the revision that
/// [`Target::Tcx`] takes. Kernel ≥ 6.6; older ones answer EINVAL.
pub(crate) fn tcx_query(ifindex: u32, side: bpf_attach_type) -> io::Result<(u64, Vec<Attached>)> {
    let mut capacity = 64_usize;
    loop {
        let (mut programs, mut links) = (vec![0_u32; capacity], vec![0_u32; capacity]);
        let mut attr = bpf_attr::default();
        attr.query.__bindgen_anon_1.target_ifindex = ifindex;
        attr.query.attach_type = side;
        attr.query.prog_ids = programs.as_mut_ptr() as u64;
        attr.query.link_ids = links.as_mut_ptr() as u64;
        attr.query.__bindgen_anon_2.count = u32::try_from(capacity).unwrap_or(u32::MAX);
        match call(bindings::BPF_PROG_QUERY, &mut attr) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => capacity *= 4,
            Err(error) => return Err(error),
            Ok(_) => {
                // SAFETY: the kernel has written both; any bytes are valid integers.
                let (count, revision) =
                    unsafe { (attr.query.__bindgen_anon_2.count, attr.query.revision) };
                let attached = programs
                    .into_iter()
                    .zip(links)
                    .take(count as usize)
                    .map(|(program, link)| Attached { program, link });
                return Ok((revision, attached.collect()));
            }
        }
    }
}
