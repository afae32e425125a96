//! Files of a container that a uprobe looks into: its linker's cache, and any program in it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise ends the run"
)]

use std::{
    fs::File,
    io::{Seek as _, Write as _},
};

use rustix::fs::{MemfdFlags, memfd_create};

use super::{ldcache, root::Target, symbol};

/// What is listed lies within the file, and there is no more of it than the file has room for.
pub fn ld_cache(data: &[u8]) {
    let mut count = 0;
    for entry in ldcache::entries(data) {
        for text in [entry.name, entry.path] {
            assert!(data.as_ptr_range().contains(&text.as_ptr()) && !text.contains('\0'));
        }
        let level = entry.level();
        assert!(level.is_none_or(|level| level == 0 || entry.path.contains("/glibc-hwcaps/")));
        entry.is_native();
        count += 1;
    }
    assert!(
        count <= data.len() / 24,
        "{count} entries in {} bytes",
        data.len()
    );
}

/// The name of a function, an offset in 8 bytes and a file.
pub fn uprobe_elf(data: &[u8]) {
    let Some((name, rest)) = data
        .iter()
        .position(|byte| *byte == 0)
        .map(|end| data.split_at(end))
    else {
        return;
    };
    let Some((offset, content)) = rest[1..].split_first_chunk() else {
        return;
    };
    let (Ok(name), offset) = (str::from_utf8(name), u64::from_le_bytes(*offset)) else {
        return;
    };
    let mut file = File::from(memfd_create("fuzz", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    let path = "/usr/bin/fuzz".into();
    let target = Target { file, path };
    let plain = symbol::file_offset(&target, None, offset);
    assert!(plain.is_err() || plain.is_ok_and(|found| found == offset));
    match symbol::file_offset(&target, Some(name), offset) {
        // What is probed is code: the same place is fine without the function's name.
        Ok(place) => assert_eq!(symbol::file_offset(&target, None, place).unwrap(), place),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
