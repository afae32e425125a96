//! What is loaded, as the kernel tells it.

use std::{
    ffi::c_char,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, SystemTime},
};

use model::{KernelState, KernelType, MapId, ProgramId};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    Error, Result,
    sys::bpf::{self, Ids},
};

/// A loaded program, held open.
#[derive(Debug)]
pub struct KernelProgram {
    /// Keeps it loaded as long as it is open.
    pub fd: OwnedFd,
    /// What the kernel says of it.
    pub state: KernelState,
}

/// The program with this id; None when none is loaded. Kernel ≥ 4.13.
pub fn program(id: ProgramId) -> Result<Option<KernelProgram>> {
    match bpf::open_id(Ids::Programs, id.0) {
        Ok(fd) => {
            let state = state(&fd)?;
            Ok(Some(KernelProgram { fd, state }))
        }
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(Error::query(format!("open program {id}"))(error)),
    }
}

/// Whether we may open programs by their ids, without which nothing can be told of them. The kernel
/// asks for `CAP_SYS_ADMIN`.
pub fn may_open_programs() -> Result<()> {
    // No program has the id 0; the permission is looked at before the id.
    match bpf::open_id(Ids::Programs, 0) {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => {
            Err(Error::query("open programs by their ids")(error))
        }
        _ => Ok(()),
    }
}

/// What a list needs of a program: cheaper than [`program`].
#[derive(Debug)]
pub struct Glance {
    /// The kernel's name, at most 15 bytes, may be empty.
    pub name: String,
    /// The kernel's type.
    pub kind: KernelType,
    /// When it was loaded.
    pub loaded_at: SystemTime,
}

/// A glance at the program with this id; None when none is loaded. Kernel ≥ 4.13.
pub fn glance(id: ProgramId) -> Result<Option<Glance>> {
    let fd = match bpf::open_id(Ids::Programs, id.0) {
        Ok(fd) => fd,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        Err(error) => return Err(Error::query(format!("open program {id}"))(error)),
    };
    let info = bpf::prog_glance(fd.as_fd()).map_err(Error::query("ask about a program"))?;
    Ok(Some(Glance {
        name: text(&info.name),
        kind: KernelType::from(info.type_),
        loaded_at: boot_time() + Duration::from_nanos(info.load_time),
    }))
}

/// Whether a program with this id is loaded. Only the kernel's clear no counts as one.
pub fn program_alive(id: ProgramId) -> bool {
    let opened = bpf::open_id(Ids::Programs, id.0);
    !matches!(opened, Err(error) if error.raw_os_error() == Some(libc::ENOENT))
}

/// What the kernel says of an open program.
pub(crate) fn state(fd: impl AsFd) -> Result<KernelState> {
    let (info, maps) = bpf::prog_info(fd.as_fd()).map_err(Error::query("ask about a program"))?;
    Ok(KernelState {
        id: ProgramId(info.id),
        name: text(&info.name),
        kind: KernelType::from(info.type_),
        loaded_at: boot_time() + Duration::from_nanos(info.load_time),
        tag: info.tag,
        gpl_compatible: info.gpl_compatible() != 0,
        map_ids: maps.into_iter().map(MapId).collect(),
        btf_id: info.btf_id,
        bytes_xlated: info.xlated_prog_len,
        jited: info.jited_prog_len > 0,
        bytes_jited: info.jited_prog_len,
        bytes_memlock: memlock(fd)?,
        verified_insns: info.verified_insns,
    })
}

/// The id of an open program.
pub fn id(fd: impl AsFd) -> Result<ProgramId> {
    id_and_name(fd).map(|(id, _)| id)
}

/// The id of an open program, and its name as in [`Glance`].
pub(crate) fn id_and_name(fd: impl AsFd) -> Result<(ProgramId, String)> {
    let info = bpf::prog_glance(fd.as_fd()).map_err(Error::query("ask about a program"))?;
    Ok((ProgramId(info.id), text(&info.name)))
}

/// A name of the kernel: 15 bytes and a zero, or less.
pub(crate) fn text(name: &[c_char]) -> String {
    let bytes: Vec<u8> = name
        .iter()
        .take_while(|c| **c != 0)
        .map(|c| c.to_ne_bytes()[0])
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The clock of `load_time` counts from boot, sleep included; its zero as wall time.
fn boot_time() -> SystemTime {
    let since = |clock| {
        let now = clock_gettime(clock);
        Duration::new(
            now.tv_sec.unsigned_abs(),
            u32::try_from(now.tv_nsec).unwrap_or(0),
        )
    };
    SystemTime::UNIX_EPOCH + since(ClockId::Realtime).saturating_sub(since(ClockId::Boottime))
}

/// Only the descriptor's fdinfo tells how much memory is accounted to a program.
fn memlock(fd: impl AsFd) -> Result<u32> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let text = std::fs::read_to_string(&path).map_err(Error::path("read", path))?;
    let mut lines = text.lines();
    let memlock = lines.find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok());
    Ok(memlock.unwrap_or(0))
}

/// The ids of all loaded programs, in order.
#[derive(Debug, Default)]
pub struct ProgramIds {
    last: u32,
}

impl Iterator for ProgramIds {
    type Item = Result<ProgramId>;

    fn next(&mut self) -> Option<Self::Item> {
        match bpf::next_id(Ids::Programs, self.last) {
            Ok(Some(id)) => {
                self.last = id;
                Some(Ok(ProgramId(id)))
            }
            Ok(None) => None,
            Err(error) => Some(Err(Error::query("list the programs")(error))),
        }
    }
}
