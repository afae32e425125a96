//! The C library that this process runs with.

use std::{fs, path::PathBuf};

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};

/// Where it lies, and where its functions lie in it.
pub(crate) struct Libc {
    /// Its file.
    pub(crate) path: PathBuf,
}

impl Libc {
    /// From the map of this process.
    pub(crate) fn find() -> Self {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps
            .lines()
            .find(|line| line.ends_with("/libc.so.6"))
            .unwrap();
        Self {
            path: line.split_ascii_whitespace().last().unwrap().into(),
        }
    }

    /// File offset of a function, and the offset from there to its return instruction.
    pub(crate) fn function(&self, name: &str) -> (u64, u64) {
        const RET: u8 = 0xc3;
        let bytes = fs::read(&self.path).unwrap();
        let file = object::File::parse(bytes.as_slice()).unwrap();
        let symbol = file
            .dynamic_symbols()
            .find(|s| s.name() == Ok(name))
            .unwrap();
        let segment = file
            .segments()
            .find(|s| (s.address()..s.address() + s.size()).contains(&symbol.address()))
            .unwrap();
        let start = symbol.address() - segment.address() + segment.file_range().0;
        let code = &bytes[usize::try_from(start).unwrap()..];
        (
            start,
            code.iter().position(|byte| *byte == RET).unwrap() as u64,
        )
    }
}
