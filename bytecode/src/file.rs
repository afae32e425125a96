//! Object bytes from a local file.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

use crate::Error;

/// The largest object that is read, in bytes. Real ones are below 20 MiB, debug sections included.
pub const MAX_SIZE: u64 = 64 << 20;

/// Reads an object file whole. It is opened once, so what is checked later is what was read here.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => Error::NotFound,
        ErrorKind::IsADirectory => Error::Directory,
        _ => Error::Unreadable { source },
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(Error::Directory);
    }
    if metadata.len() > MAX_SIZE {
        return Err(Error::TooLarge { limit: MAX_SIZE });
    }
    let mut bytes = Vec::new();
    // One byte more than the size lets the reader see the end without growing the buffer.
    bytes.reserve_exact(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    // A pipe has no size, and a file may grow while it is read: the limit is set again here.
    file.take(MAX_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(Error::TooLarge { limit: MAX_SIZE });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir =
            std::env::temp_dir().join(format!("bpfman-bytecode-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn reads_what_is_there() {
        let dir = scratch("read");
        let path = dir.join("a.o");
        std::fs::write(&path, b"some bytes").unwrap();
        assert_eq!(read_file(&path).unwrap(), b"some bytes");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn refuses_what_is_no_file() {
        let dir = scratch("refuse");
        assert!(matches!(
            read_file(&dir.join("absent.o")),
            Err(Error::NotFound)
        ));
        assert!(matches!(read_file(&dir), Err(Error::Directory)));
        let path = dir.join("a.o");
        std::fs::write(&path, b"x").unwrap();
        let error = read_file(&path.join("below")).unwrap_err();
        assert!(matches!(error, Error::Unreadable { .. }), "{error:?}");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn refuses_what_is_too_large() {
        let dir = scratch("large");
        let path = dir.join("a.o");
        File::create(&path).unwrap().set_len(MAX_SIZE + 1).unwrap();
        assert!(matches!(
            read_file(&path),
            Err(Error::TooLarge { limit: MAX_SIZE })
        ));
        // No size to see beforehand, and no end.
        assert!(matches!(
            read_file(Path::new("/dev/zero")),
            Err(Error::TooLarge { .. })
        ));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
