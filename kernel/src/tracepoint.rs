//! Trace events of the kernel, found through tracefs.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use model::Tracepoint;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::{
    diagnose::Feature,
    probe_error::ProbeError,
    suggest::Nearest,
    sys::perf::{self, Event},
};

/// Opens a trace event; a program that is attached to it runs on every processor.
///
/// A tracefs that is not mounted is used without mounting it anywhere (kernel ≥ 5.2).
pub(crate) fn open(tracepoint: &Tracepoint) -> Result<OwnedFd, ProbeError> {
    let events = Events::find()?;
    let id = events.id(tracepoint)?;
    perf::open(Event::Tracepoint { id }, None).map_err(|source| ProbeError::OpenTracepoint {
        tracepoint: tracepoint.clone(),
        source,
    })
}

/// The folder `events` of a tracefs.
struct Events {
    folder: PathBuf,
    /// Keeps a mount alive that has no place in the file system.
    _detached: Option<OwnedFd>,
}

impl Events {
    fn find() -> Result<Self, ProbeError> {
        let mounted = [
            "/sys/kernel/tracing/events",
            "/sys/kernel/debug/tracing/events",
        ];
        if let Some(folder) = mounted
            .into_iter()
            .map(PathBuf::from)
            .find(|path| path.is_dir())
        {
            return Ok(Self {
                folder,
                _detached: None,
            });
        }
        let mount = mount_detached().map_err(|source| match source.raw_os_error() {
            Some(libc::ENODEV) => ProbeError::Missing {
                feature: Feature::TraceEvents,
            },
            _ => ProbeError::Tracefs { source },
        })?;
        let folder = PathBuf::from(format!("/proc/self/fd/{}/events", mount.as_raw_fd()));
        if !folder.is_dir() {
            return Err(ProbeError::Missing {
                feature: Feature::TraceEvents,
            });
        }
        Ok(Self {
            folder,
            _detached: Some(mount),
        })
    }

    fn id(&self, tracepoint: &Tracepoint) -> Result<u64, ProbeError> {
        let path = self
            .folder
            .join(&tracepoint.category)
            .join(&tracepoint.name)
            .join("id");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => {
                return Err(ProbeError::UnknownTracepoint {
                    tracepoint: tracepoint.clone(),
                    similar: self.similar(tracepoint),
                });
            }
            Err(source) => return Err(ProbeError::Read { path, source }),
        };
        text.trim().parse().map_err(|_| ProbeError::Read {
            path,
            source: io::Error::new(io::ErrorKind::InvalidData, text),
        })
    }

    /// The event of that name in another category, or else the one that is spelt most alike.
    fn similar(&self, wanted: &Tracepoint) -> Option<String> {
        let spelt = wanted.to_string();
        let mut nearest = Nearest::new(&spelt);
        for category in names(&self.folder) {
            let folder = self.folder.join(&category);
            if folder.join(&wanted.name).join("id").exists() {
                return Some(format!("{category}/{}", wanted.name));
            }
            for name in names(&folder) {
                nearest.offer(&format!("{category}/{name}"));
            }
        }
        nearest.finish()
    }
}

/// A tracefs that only this descriptor reaches.
fn mount_detached() -> io::Result<OwnedFd> {
    let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The folders in a folder, sorted; none where it cannot be read.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names
}
