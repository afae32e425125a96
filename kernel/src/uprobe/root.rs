//! The file tree in which a target is looked up: ours, or that of another process.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::probe_error::ProbeError;

/// A file tree.
#[derive(Debug)]
pub(super) enum Root {
    /// That of this process.
    Host,
    /// That of another process, which may be in a mount namespace of its own.
    Process {
        /// Its id.
        pid: u32,
        /// Its root.
        folder: OwnedFd,
    },
}

/// A file to probe. Open as long as the kernel has not resolved it by itself.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) file: File,
    /// As our namespace sees it, for messages.
    pub(super) path: PathBuf,
}

impl Root {
    pub(super) fn open(container_pid: Option<u32>) -> Result<Self, ProbeError> {
        let Some(pid) = container_pid else {
            return Ok(Self::Host);
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(CWD, process_root(pid), flags, Mode::empty()).map_err(io::Error::from) {
            Ok(folder) => Ok(Self::Process { pid, folder }),
            // Also what is left of a process that has ended has no root.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ProbeError::NoProcess { pid })
            }
            Err(source) => Err(ProbeError::ProcessDenied { pid, source }),
        }
    }

    pub(super) const fn pid(&self) -> Option<u32> {
        match self {
            Self::Host => None,
            Self::Process { pid, .. } => Some(*pid),
        }
    }

    /// A path of this tree as our namespace sees it.
    pub(super) fn shown(&self, path: &Path) -> PathBuf {
        match self {
            Self::Host => path.to_owned(),
            Self::Process { pid, .. } => below(&process_root(*pid), path),
        }
    }

    /// Opens a regular file; links in the tree of a process lead to files of that tree.
    pub(super) fn target(&self, path: &Path) -> io::Result<Target> {
        let file = self.file(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let path = match self {
            Self::Host => path.to_owned(),
            Self::Process { pid, folder } => {
                // Both as the mount namespace names them; the root may be a folder in it.
                let resolved = fs::read_link(descriptor(&file))?;
                let own = fs::read_link(descriptor(folder))?;
                below(
                    &process_root(*pid),
                    resolved.strip_prefix(own).unwrap_or(&resolved),
                )
            }
        };
        Ok(Target { file, path })
    }

    /// Reads a small file; an error when it is larger than `limit` bytes.
    pub(super) fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let target = self.target(path)?;
        let mut bytes = Vec::new();
        target.file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    /// The names in a folder, none where it cannot be read.
    pub(super) fn names(&self, folder: &Path) -> Vec<String> {
        let Ok(folder) = self.file(folder) else {
            return Vec::new();
        };
        fs::read_dir(descriptor(&folder))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }

    fn file(&self, path: &Path) -> io::Result<File> {
        // Opening a pipe would wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = match self {
            Self::Host => openat(CWD, path, flags, Mode::empty())?,
            Self::Process { folder, .. } => {
                openat2(folder, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?
            }
        };
        Ok(fd.into())
    }
}

impl Target {
    /// A path by which the kernel finds this very file: a lasting one if there is one, as others
    /// read it from the kernel.
    pub(super) fn kernel_path(&self) -> PathBuf {
        let open = self
            .file
            .metadata()
            .map(|file| (file.dev(), file.ino()))
            .ok();
        let named = fs::metadata(&self.path)
            .map(|file| (file.dev(), file.ino()))
            .ok();
        if open.is_some() && open == named {
            self.path.clone()
        } else {
            descriptor(&self.file)
        }
    }

    /// It starts as an ELF file does.
    pub(super) fn is_elf(&self) -> bool {
        let mut magic = [0; 4];
        self.file.read_exact_at(&mut magic, 0).is_ok() && magic == *b"\x7fELF"
    }
}

fn process_root(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root"))
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn descriptor(file: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_of_another_tree_stay_in_it() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("usr/lib")).unwrap();
        fs::write(tree.path().join("usr/lib/libx.so.1"), "inside").unwrap();
        symlink("/usr/lib/libx.so.1", tree.path().join("libx.so")).unwrap();
        symlink("../../../../../../etc/passwd", tree.path().join("out")).unwrap();
        let folder = File::open(tree.path()).unwrap().into();
        let root = Root::Process {
            pid: std::process::id(),
            folder,
        };

        assert_eq!(root.read(Path::new("/libx.so"), 6).unwrap(), b"inside");
        let target = root.target(Path::new("/libx.so")).unwrap();
        let shown = format!("/proc/{}/root/usr/lib/libx.so.1", std::process::id());
        assert_eq!(target.path, Path::new(&shown));
        assert_eq!(
            root.read(Path::new("/libx.so"), 5).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert_eq!(
            root.target(Path::new("/out")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert_eq!(
            root.target(Path::new("/usr")).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert_eq!(root.names(Path::new("/usr/lib")), ["libx.so.1"]);
    }

    #[test]
    fn the_kernel_gets_the_file_that_was_read() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("program");
        fs::write(&path, "old").unwrap();
        let target = Root::Host.target(&path).unwrap();
        assert_eq!(target.kernel_path(), path);
        fs::rename(&path, tree.path().join("away")).unwrap();
        fs::write(&path, "new").unwrap();
        assert_eq!(fs::read(target.kernel_path()).unwrap(), b"old");
    }

    #[test]
    fn no_such_process() {
        // Beyond PID_MAX_LIMIT of every kernel.
        let pid = (1 << 22) + 1;
        assert!(matches!(Root::open(Some(pid)), Err(ProbeError::NoProcess { pid: p }) if p == pid));
        assert!(matches!(
            Root::open(Some(std::process::id())),
            Ok(Root::Process { .. })
        ));
    }
}
