//! What container runtimes hand out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise ends the run"
)]

use std::{
    io::{self, Read as _, Write as _},
    path::Path,
};

use super::{
    super::{
        Limits, digest,
        fuzz::{file, repair},
        store::Temp,
    },
    archive::Archive,
    tar_split::TarSplit,
};

/// The recipe of a layer. No more is read of it than allowed, and it opens no file by an absolute
/// name.
pub fn tar_split(data: &[u8]) {
    const LIMIT: u64 = 16 << 10;
    let open = |path: &Path| {
        assert!(!path.is_absolute(), "{}", path.display());
        match path.to_str() {
            Some("object.o") => Ok(file(b"an object")),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    };
    let Ok(mut tar) = TarSplit::new(file(data), LIMIT, open) else {
        return;
    };
    let mut bytes = Vec::new();
    let read = tar.read_to_end(&mut bytes);
    assert!(bytes.len() as u64 <= LIMIT);
    assert!(read.is_err() || !tar.is_too_large());
}

/// Which file of the archive the image is called by, and the archive. What is taken out of it is
/// within the limits.
pub fn docker_archive(data: &[u8]) {
    let Some((which, tar)) = data.split_first() else {
        return;
    };
    let mut tar = tar.to_vec();
    repair(&mut tar);
    let mut files = tar::Archive::new(&tar[..]);
    let files = files.entries().unwrap().filter_map(|entry| {
        let mut bytes = Vec::new();
        entry.ok()?.read_to_end(&mut bytes).ok()?;
        Some(digest::of(&bytes))
    });
    let Some(id) = files.take(256).nth((*which).into()) else {
        return;
    };
    let limits = Limits {
        manifest: 8 << 10,
        layer: 8 << 10,
        object: 4 << 10,
    };
    let folder = Path::new("/dev/shm");
    let mut temp = Temp::new(folder).unwrap();
    temp.file().write_all(&tar).unwrap();
    let taken = Archive::open(temp, limits).and_then(|archive| archive.take(id));
    match taken {
        Ok((_, layer)) => assert!(layer.start + layer.size <= tar.len() as u64),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
