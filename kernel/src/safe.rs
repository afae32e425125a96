//! Files and folders that decide what we do: nobody else may have put them there.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::{fs::OFlags, io::Errno};

use crate::{Error, Result};

/// Ours, or root's, who may do everything anyway.
fn owned(metadata: &Metadata) -> bool {
    let uid = metadata.uid();
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

fn refuse<T>(path: &Path, why: &'static str) -> Result<T> {
    Err(Error::Unsafe {
        path: path.to_owned(),
        why,
    })
}

/// What a folder is; None where there is none. One that is a symbolic link or belongs to somebody
/// else is an error.
pub fn folder(path: &Path) -> Result<Option<Metadata>> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::path("look at", path)(error)),
    };
    if metadata.is_symlink() {
        refuse(path, "is a symbolic link")
    } else if !metadata.is_dir() {
        refuse(path, "is no folder")
    } else if !owned(&metadata) {
        refuse(path, "belongs to somebody else")
    } else {
        Ok(Some(metadata))
    }
}

/// Opens a file with these options; `NotFound` is an error as any other. One that is a symbolic
/// link, no plain file, or belongs to somebody else is refused.
pub fn open(path: &Path, doing: &'static str, options: &mut OpenOptions) -> Result<File> {
    // Not waiting for a pipe that somebody put there.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match options.custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            return refuse(path, "is a symbolic link");
        }
        Err(error) => return Err(Error::path(doing, path)(error)),
    };
    let metadata = file.metadata().map_err(Error::path("look at", path))?;
    if !metadata.is_file() {
        refuse(path, "is no plain file")
    } else if !owned(&metadata) {
        refuse(path, "belongs to somebody else")
    } else {
        Ok(file)
    }
}
