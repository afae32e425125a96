//! Who may do what to the store at the same time.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use model::Digest;
use rustix::fs::OFlags;

use super::{ImageError, files};

fn open(path: &Path) -> Result<File, ImageError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(files::error("open", path))
}

/// For one who adds; makes the store where there is none. One who is alone with it also clears away
/// what killed commands have left.
pub(super) fn shared(root: &Path) -> Result<File, ImageError> {
    files::create(root)?;
    let path = root.join("locks/store");
    let lock = open(&path)?;
    match lock.try_lock() {
        Ok(()) => {
            clear(&root.join("tmp"));
            uninterrupted(|| lock.unlock()).map_err(files::error("lock", &path))?;
        }
        Err(TryLockError::WouldBlock) => {}
        // The lock that follows is the one that counts.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Interrupted => {}
        Err(TryLockError::Error(source)) => return Err(files::error("lock", &path)(source)),
    }
    uninterrupted(|| lock.lock_shared()).map_err(files::error("lock", &path))?;
    Ok(lock)
}

/// For one who removes: waits until nobody adds.
pub(super) fn exclusive(root: &Path) -> Result<File, ImageError> {
    let path = root.join("locks/store");
    let lock = open(&path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            log::warn!("waiting until running pulls have ended");
            uninterrupted(|| lock.lock()).map_err(files::error("lock", &path))?;
        }
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Interrupted => {
            uninterrupted(|| lock.lock()).map_err(files::error("lock", &path))?;
        }
        Err(TryLockError::Error(source)) => return Err(files::error("lock", &path)(source)),
    }
    clear(&root.join("tmp"));
    Ok(lock)
}

/// The standard library repeats many calls that a signal interrupts, but not those for locks.
fn uninterrupted(mut lock: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match lock() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn clear(tmp: &Path) {
    for entry in fs::read_dir(tmp).into_iter().flatten().flatten() {
        let path = entry.path();
        match fs::remove_file(&path) {
            Ok(()) => log::debug!(
                "removed {}, left by a command that was killed",
                path.display()
            ),
            Err(error) => log::warn!("cannot remove {}: {error}", path.display()),
        }
    }
}

/// One fetches a digest, the others wait and find it.
pub(crate) struct DigestLock(#[expect(dead_code, reason = "held until it is dropped")] File);

impl DigestLock {
    /// The locks of digests that begin alike are one: a file that came and went with each digest
    /// would stay behind a killed command.
    pub(super) fn take(root: &Path, digest: Digest) -> Result<Self, ImageError> {
        let path = root.join("locks").join(&digest.hex()[..2]);
        let file = open(&path)?;
        uninterrupted(|| file.lock()).map_err(files::error("lock", &path))?;
        Ok(Self(file))
    }
}
