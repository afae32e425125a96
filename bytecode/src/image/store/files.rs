//! Files that nobody else can have put there, and that are whole or not there at all.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io, iter,
    os::{
        fd::AsRawFd as _,
        unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags},
    io::Errno,
};

use super::ImageError;

/// Folders of the store.
pub(super) const FOLDERS: [&str; 5] = ["blobs/sha256", "images", "refs", "tmp", "locks"];

/// An error of a step on a file of the store.
pub(super) fn error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::Store {
        doing,
        path,
        source,
    }
}

fn owned_by_us(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

/// Whether a folder is there. One that others own or may write to is an error, and so is a link.
fn check(path: &Path) -> Result<bool, ImageError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(error("look at", path)(source)),
    };
    let why = if metadata.is_symlink() {
        "is a symbolic link"
    } else if !metadata.is_dir() {
        "is no folder"
    } else if !owned_by_us(&metadata) {
        "belongs to somebody else"
    } else if metadata.mode() & 0o022 != 0 {
        "may be written to by others"
    } else {
        return Ok(true);
    };
    Err(ImageError::Unsafe {
        path: path.to_owned(),
        why,
    })
}

/// Whether the store is there; its folders are checked where they are.
pub(super) fn is_safe(root: &Path) -> Result<bool, ImageError> {
    if !check(root)? {
        return Ok(false);
    }
    check(&root.join("blobs"))?;
    for folder in FOLDERS {
        check(&root.join(folder))?;
    }
    Ok(true)
}

/// Makes the store, for the owner only.
pub(super) fn create(root: &Path) -> Result<(), ImageError> {
    let folders = iter::once(&"blobs")
        .chain(&FOLDERS)
        .map(|name| root.join(name));
    for path in iter::once(root.to_owned()).chain(folders) {
        if !check(&path)? {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(error("create", &path))?;
            fault::point("store.folder-made").map_err(error("create", &path))?;
            check(&path)?;
        }
    }
    Ok(())
}

/// Opens a file of the store; None where there is none.
pub(super) fn open(path: &Path) -> Result<Option<File>, ImageError> {
    // Not waiting for a pipe that somebody put there.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            return Err(ImageError::Unsafe {
                path: path.to_owned(),
                why: "is a symbolic link",
            });
        }
        Err(source) => return Err(error("open", path)(source)),
    };
    let metadata = file.metadata().map_err(error("look at", path))?;
    let why = if !metadata.is_file() {
        "is no file"
    } else if !owned_by_us(&metadata) {
        "belongs to somebody else"
    } else {
        return Ok(Some(file));
    };
    Err(ImageError::Unsafe {
        path: path.to_owned(),
        why,
    })
}

/// A file that has no name before it is kept: killed at any moment, nothing of it stays.
pub(crate) struct Temp {
    file: File,
    folder: PathBuf,
    /// Where the file system knows no files without a name.
    name: Option<PathBuf>,
}

impl Temp {
    pub(crate) fn new(folder: &Path) -> Result<Self, ImageError> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let (file, name) = if let Ok(fd) = rustix::fs::open(folder, flags, mode) {
            (File::from(fd), None)
        } else {
            let name = fresh_name(folder);
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&name);
            (opened.map_err(error("create", &name))?, Some(name))
        };
        Ok(Self {
            file,
            folder: folder.to_owned(),
            name,
        })
    }

    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives it a name in one step, in place of what had the name before.
    pub(super) fn keep(mut self, path: &Path) -> Result<(), ImageError> {
        self.file.sync_all().map_err(error("write", path))?;
        if self.name.is_none() {
            let name = fresh_name(&self.folder);
            let fd = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            rustix::fs::linkat(CWD, fd, CWD, &name, AtFlags::SYMLINK_FOLLOW)
                .map_err(|errno| error("write", path)(errno.into()))?;
            self.name = Some(name);
            fault::point("store.file-named").map_err(error("write", path))?;
        }
        if let Some(name) = &self.name {
            fs::rename(name, path).map_err(error("write", path))?;
            self.name = None;
        }
        // It has its name: no failure takes that back.
        if let Err(error) = fault::point("store.file-kept") {
            log::warn!("{error}");
        }
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if let Some(name) = &self.name
            && let Err(error) = fs::remove_file(name)
        {
            log::warn!("cannot remove {}: {error}", name.display());
        }
    }
}

fn fresh_name(folder: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    folder.join(format!("{}-{count}", process::id()))
}
