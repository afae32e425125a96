//! Small ELF files for tests: of both classes and byte orders, with versions and shared names.

use std::{fs::File, io::Write as _};

/// Class and byte order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forge {
    pub(super) wide: bool,
    pub(super) big: bool,
    /// Where the code lies in memory; in the file it lies at [`CODE`].
    pub(super) address: u64,
}

/// Bytes from the start of the file to its code.
pub(super) const CODE: u64 = 0x1000;
pub(super) const CODE_SIZE: u64 = 0x100;

pub(super) const FUNC: u8 = 2;
pub(super) const OBJECT: u8 = 1;
pub(super) const IFUNC: u8 = 10;

/// A symbol: name (found at the end of a longer one where there is one), type, bytes from the
/// start of the code (None: defined elsewhere), size, version (bit 15: not the default one).
pub(super) type Symbol<'a> = (&'a str, u8, Option<u64>, u64, u16);

struct Writer {
    forge: Forge,
    bytes: Vec<u8>,
}

impl Writer {
    fn half(&mut self, value: u16) {
        let bytes = if self.forge.big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        };
        self.bytes.extend(bytes);
    }

    fn word(&mut self, value: u32) {
        let bytes = if self.forge.big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        };
        self.bytes.extend(bytes);
    }

    /// A number as wide as an address.
    fn address(&mut self, value: u64) {
        if !self.forge.wide {
            return self.word(u32::try_from(value).unwrap());
        }
        let bytes = if self.forge.big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        };
        self.bytes.extend(bytes);
    }

    fn align(&mut self) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.bytes.len() as u64
    }
}

/// Adds a name, or finds it at the end of one that is there.
fn place(strings: &mut Vec<u8>, name: &str) -> u32 {
    let wanted: Vec<u8> = name.bytes().chain([0]).collect();
    let at = strings
        .windows(wanted.len())
        .position(|window| window == wanted);
    let at = at.unwrap_or_else(|| {
        strings.extend(&wanted);
        strings.len() - wanted.len()
    });
    u32::try_from(at).unwrap()
}

impl Forge {
    /// A file with these symbols for the dynamic linker, and, unless stripped, those for debuggers.
    /// The versions are V2, V3, …
    pub(super) fn file(self, exported: &[Symbol<'_>], local: Option<&[Symbol<'_>]>) -> Vec<u8> {
        let mut out = Writer {
            forge: self,
            bytes: vec![0; 0x400],
        };
        out.bytes
            .resize(usize::try_from(CODE + CODE_SIZE).unwrap(), 0x90);
        // type, offset, size, link, entry size
        let mut sections: Vec<(u32, u64, u64, u32, u64)> = vec![(0, 0, 0, 0, 0)];
        let mut names = vec![0];
        let symbols = self.symbols(&mut out, exported, &mut names);
        let versions = Self::versions(&mut out, exported, &mut names);
        sections.push((11, symbols.0, symbols.1, 2, self.symbol_size()));
        sections.push((3, out.align(), names.len() as u64, 0, 0));
        out.bytes.extend(&names);
        sections.push((0x6fff_ffff, versions[0].0, versions[0].1, 1, 2));
        sections.push((0x6fff_fffd, versions[1].0, versions[1].1, 2, 0));
        if let Some(local) = local {
            let mut names = vec![0];
            let symbols = self.symbols(&mut out, local, &mut names);
            sections.push((2, symbols.0, symbols.1, 6, self.symbol_size()));
            sections.push((3, out.align(), names.len() as u64, 0, 0));
            out.bytes.extend(&names);
        }
        let headers = out.align();
        for (kind, offset, size, link, entry) in &sections {
            Self::section(&mut out, [*kind, *link], [*offset, *size, *entry]);
        }
        let count = u16::try_from(sections.len()).unwrap();
        let start = self.header(headers, count);
        out.bytes.splice(..start.len(), start);
        out.bytes
    }

    /// The file on disk, as [`super::root::Target`] has it.
    pub(super) fn target(bytes: &[u8]) -> super::root::Target {
        let mut file: File = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        super::root::Target {
            file,
            path: "/forged".into(),
        }
    }

    const fn symbol_size(self) -> u64 {
        if self.wide { 24 } else { 16 }
    }

    fn symbols(self, out: &mut Writer, all: &[Symbol<'_>], names: &mut Vec<u8>) -> (u64, u64) {
        let start = out.align();
        out.bytes.resize(
            out.bytes.len() + usize::try_from(self.symbol_size()).unwrap(),
            0,
        );
        for (name, kind, at, size, _) in all {
            let info = 0x10 | *kind;
            let section = u16::from(at.is_some());
            let value = at.map_or(0, |at| self.address + at);
            out.word(place(names, name));
            if self.wide {
                out.bytes.extend([info, 0]);
                out.half(section);
            }
            out.address(value);
            out.address(*size);
            if !self.wide {
                out.bytes.extend([info, 0]);
                out.half(section);
            }
        }
        (start, out.bytes.len() as u64 - start)
    }

    /// The versions of the symbols, and their names: V2 and V3.
    fn versions(out: &mut Writer, all: &[Symbol<'_>], names: &mut Vec<u8>) -> [(u64, u64); 2] {
        let of_symbols = out.align();
        out.half(0);
        for symbol in all {
            out.half(symbol.4);
        }
        let of_symbols = (of_symbols, out.bytes.len() as u64 - of_symbols);
        let start = out.align();
        for index in [2_u16, 3] {
            for half in [1, 0, index, 1] {
                out.half(half);
            }
            let next = if index == 3 { 0 } else { 28 };
            let name = place(names, &format!("V{index}"));
            for word in [0, 20, next, name, 0] {
                out.word(word);
            }
        }
        [of_symbols, (start, out.bytes.len() as u64 - start)]
    }

    fn section(out: &mut Writer, [kind, link]: [u32; 2], [offset, size, entry]: [u64; 3]) {
        out.word(0);
        out.word(kind);
        for value in [0, 0, offset, size] {
            out.address(value);
        }
        out.word(link);
        // Of the names of versions: how many.
        out.word(if kind == 0x6fff_fffd { 2 } else { 0 });
        for value in [8, entry] {
            out.address(value);
        }
    }

    fn header(self, sections: u64, count: u16) -> Vec<u8> {
        let class = if self.wide { 2 } else { 1 };
        let order = if self.big { 2 } else { 1 };
        let mut out = Writer {
            forge: self,
            bytes: b"\x7fELF".to_vec(),
        };
        out.bytes
            .extend([class, order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let (own, program, section) = if self.wide {
            (64, 56, 64)
        } else {
            (52, 32, 40)
        };
        out.half(3);
        out.half(0);
        out.word(1);
        for value in [0, u64::from(own), sections] {
            out.address(value);
        }
        out.word(0);
        for half in [own, program, 1, section, count, 0] {
            out.half(half);
        }
        // One segment: code.
        out.word(1);
        if self.wide {
            out.word(5);
        }
        for value in [CODE, self.address, self.address, CODE_SIZE, CODE_SIZE] {
            out.address(value);
        }
        if !self.wide {
            out.word(5);
        }
        out.address(0x1000);
        out.bytes
    }
}
