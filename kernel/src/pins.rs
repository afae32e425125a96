//! bpffs: the tree of names by which kernel objects outlive the command.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use model::ProgramId;
use rustix::{
    fs::{Mode, OFlags, statfs},
    mount::{MountFlags, mount},
};

use crate::{Error, Result, safe, sys::bpf};

/// `BPF_FS_MAGIC`, include/uapi/linux/magic.h.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// Where systemd and libxdp mount the machine's bpffs.
const MACHINE_BPFFS: &str = "/sys/fs/bpf";

/// Our own bpffs.
///
/// ```text
/// progs/<id>             every program of ours
/// links/<id>             its link, where it is attached by one
/// maps/<id>/<map>        the maps of the program that made them
/// tc/dispatch-<id>/…     members and links of a TC dispatcher
/// tc/hook-…              the TCX link that holds a TC chain
/// ```
#[derive(Clone, Debug)]
pub struct PinTree {
    root: PathBuf,
}

impl PinTree {
    /// The tree at `root`, mounted when there is no bpffs yet, with its folders.
    pub fn mount(root: impl Into<PathBuf>) -> Result<Self> {
        let tree = Self { root: root.into() };
        safe::folder(&tree.root)?;
        mount_bpffs(&tree.root)?;
        for folder in ["progs", "links", "maps", "tc"] {
            make_folder(&tree.root.join(folder))?;
        }
        Ok(tree)
    }

    /// The tree at `root` as it is, for readers.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Waits until nobody else changes the tree, and keeps the others waiting until it is dropped.
    /// Unlike a lock file, the root of a mount cannot be removed while somebody holds it.
    pub fn lock(&self) -> Result<OwnedFd> {
        lock(&self.root)
    }

    /// Pin of a program.
    pub fn program(&self, id: ProgramId) -> PathBuf {
        self.root.join("progs").join(id.to_string())
    }

    /// Pin of the link that attaches a program.
    pub fn link(&self, id: ProgramId) -> PathBuf {
        self.root.join("links").join(id.to_string())
    }

    /// Folder with the pins of the maps that a program made.
    pub fn maps(&self, owner: ProgramId) -> PathBuf {
        self.root.join("maps").join(owner.to_string())
    }

    /// Folder with the TC dispatchers.
    pub(crate) fn tc(&self) -> PathBuf {
        self.root.join("tc")
    }

    /// The programs that have a pin.
    pub fn programs(&self) -> Result<Vec<ProgramId>> {
        numbered(&self.root.join("progs"))
    }

    /// The programs whose link has a pin.
    pub fn links(&self) -> Result<Vec<ProgramId>> {
        numbered(&self.root.join("links"))
    }

    /// The programs with a folder of maps.
    pub fn map_folders(&self) -> Result<Vec<ProgramId>> {
        numbered(&self.root.join("maps"))
    }

    /// Makes the folder for the maps of a program.
    pub fn make_maps(&self, owner: ProgramId) -> Result<PathBuf> {
        let folder = self.maps(owner);
        make_folder(&folder)?;
        Ok(folder)
    }

    /// Makes a folder for pins, with those above it.
    pub(crate) fn make_folder(path: &Path) -> Result<()> {
        make_folder(path)
    }

    /// Names an object.
    pub fn pin(object: impl AsFd, path: &Path) -> Result<()> {
        bpf::pin(object.as_fd(), path).map_err(Error::path("pin", path))
    }

    /// Opens what a pin names; None when there is no such pin.
    pub fn open(path: &Path) -> Result<Option<OwnedFd>> {
        match bpf::open_pin(path) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::path("open", path)(error)),
        }
    }

    /// Removes a pin; one that is gone already is no error.
    pub fn unpin(path: &Path) -> Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::path("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Takes the name of a link away; what it attaches runs until the answer is dropped. None when
    /// there is no such pin.
    pub fn release(path: &Path) -> Result<Option<Released>> {
        let link = Self::open(path)?;
        Self::unpin(path)?;
        Ok(link.map(|link| Released(Some(link))))
    }

    /// Takes away the name of a link, and with it what it attaches. Links that cannot be detached
    /// (those of perf events) the kernel takes apart by itself some time later: closing the last
    /// descriptor would wait for that, a name that goes does not.
    pub fn remove_link(path: &Path) -> Result<()> {
        if let Some(link) = Self::open(path)? {
            detach(&link);
        }
        Self::unpin(path)
    }

    /// Removes a folder of pins with all that is in it; one that is gone already is no error.
    pub fn unpin_folder(path: &Path) -> Result<()> {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
                Self::unpin(&entry.path())?;
                fault::point("pins.pin-removed").map_err(Error::Fault)?;
            }
        }
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::path("remove", path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// A link without a name: what it attaches runs until this is dropped, or the process ends.
#[derive(Debug)]
pub struct Released(Option<OwnedFd>);

impl Released {
    /// Names it again.
    pub fn keep(mut self, path: &Path) -> Result<()> {
        if let Some(link) = &self.0 {
            PinTree::pin(link, path)?;
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for Released {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            detach(link);
        }
    }
}

/// So that the next packet misses it.
fn detach(link: &OwnedFd) {
    // It may be detached already, with its interface or by somebody else, and not every link knows
    // this.
    let _ = bpf::link_detach(link.as_fd());
}

/// A map's name as a pin: bpffs keeps names with dots for itself.
pub fn map_pin_name(map: &str) -> String {
    map.replace('.', "_")
}

/// The folder in which libxdp pins its dispatchers, and so do we.
pub fn libxdp_root() -> PathBuf {
    let bpffs = std::env::var_os("LIBXDP_BPFFS").filter(|value| !value.is_empty());
    bpffs
        .map_or_else(|| MACHINE_BPFFS.into(), PathBuf::from)
        .join("xdp")
}

/// The libxdp folder with an exclusive lock on it, mounted and made when it is not there.
///
/// libxdp takes the same lock around every change (protocol.org, "Locking and pinning").
pub(crate) fn lock_libxdp(folder: &Path) -> Result<OwnedFd> {
    if let Some(bpffs) = folder.parent() {
        mount_bpffs(bpffs)?;
    }
    make_folder(folder)?;
    lock(folder)
}

fn lock(folder: &Path) -> Result<OwnedFd> {
    let fail = |errno: rustix::io::Errno| Error::path("lock", folder)(errno.into());
    // The folder above it may be open to all, as the kernel mounts it.
    safe::folder(folder)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(folder, flags, Mode::empty()).map_err(fail)?;
    let lock = || rustix::fs::flock(&fd, rustix::fs::FlockOperation::LockExclusive);
    rustix::io::retry_on_intr(lock).map_err(fail)?;
    Ok(fd)
}

fn mount_bpffs(at: &Path) -> Result<()> {
    make_folder(at)?;
    let kind = statfs(at)
        .map_err(|errno| Error::path("look at", at)(errno.into()))?
        .f_type;
    if kind == BPF_FS_MAGIC {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("bpf", at, "bpf", flags, Some(c"mode=0700"))
        .map_err(|errno| Error::path("mount a bpffs on", at)(errno.into()))?;
    fault::point("pins.bpffs-mounted").map_err(Error::Fault)
}

fn make_folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::path("create", path))?;
    fault::point("pins.folder-made").map_err(Error::Fault)
}

fn numbered(folder: &Path) -> Result<Vec<ProgramId>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::path("list", folder)(error)),
    };
    // A name that is left out would be taken for a program that is gone.
    let entries: io::Result<Vec<_>> = entries.collect();
    let entries = entries.map_err(Error::path("list", folder))?.into_iter();
    Ok(entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}
