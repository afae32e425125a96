//! ELF files read in pieces: a browser has 200 MB, its symbols alone may have 100.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    ops::ControlFlow,
    os::unix::fs::FileExt,
};

use object::{
    Endianness, ReadCache, SymbolIndex,
    elf::{
        EM_ARM, PF_X, PT_LOAD, SHT_DYNSYM, SHT_GNU_VERDEF, SHT_GNU_VERNEED, SHT_GNU_VERSYM,
        SHT_SYMTAB,
    },
    pod,
    read::{
        StringTable,
        elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable},
    },
};

/// Far beyond what linkers write; keeps the tables of a forged file small.
const MAX_HEADERS: u32 = 1 << 16;
const MAX_VERSIONS: u64 = 16 << 20;
const MAX_STRINGS: u64 = 1 << 30;
const MAX_SYMBOLS: u64 = 1 << 32;
/// Of a longer name only the end is kept.
pub(super) const MAX_NAME: usize = 4096;

/// The headers of a file.
pub(super) struct Elf<'c, E: FileHeader<Endian = Endianness>> {
    file: &'c File,
    cache: &'c ReadCache<&'c File>,
    endian: Endianness,
    thumb: bool,
    sections: Vec<E::SectionHeader>,
    segments: Vec<Segment>,
}

/// Code as it lies in the file and in memory.
#[derive(Clone, Copy, Debug)]
struct Segment {
    address: u64,
    offset: u64,
    size: u64,
}

/// A symbol table with its names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    /// What the dynamic linker sees; only these symbols have versions beside their names.
    pub(super) dynamic: bool,
    symbols: Part,
    strings: Part,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    offset: u64,
    size: u64,
}

impl<'c, E: FileHeader<Endian = Endianness>> Elf<'c, E> {
    pub(super) fn parse(file: &'c File, cache: &'c ReadCache<&'c File>) -> io::Result<Self> {
        let header = E::parse(cache).map_err(damaged)?;
        let endian = header.endian().map_err(damaged)?;
        let count = header.shnum(endian, cache).map_err(damaged)?;
        if count.max(header.phnum(endian, cache).map_err(damaged)?) > MAX_HEADERS {
            return Err(damaged("too many headers"));
        }
        let segments = header.program_headers(endian, cache).map_err(damaged)?;
        let segments = segments.iter().filter(|segment| {
            segment.p_type(endian) == PT_LOAD && segment.p_flags(endian).contains(PF_X)
        });
        Ok(Self {
            file,
            cache,
            endian,
            thumb: header.e_machine(endian) == EM_ARM,
            sections: header
                .section_headers(endian, cache)
                .map_err(damaged)?
                .to_vec(),
            segments: segments
                .map(|segment| Segment {
                    address: segment.p_vaddr(endian).into(),
                    offset: segment.p_offset(endian).into(),
                    size: segment.p_filesz(endian).into(),
                })
                .collect(),
        })
    }

    pub(super) const fn endian(&self) -> Endianness {
        self.endian
    }

    /// Where the code at this address lies in the file.
    pub(super) fn offset_of_code(&self, address: u64) -> Option<u64> {
        // The lowest bit tells Thumb code from ARM code.
        let address = if self.thumb { address & !1 } else { address };
        self.segments.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            if inside >= segment.size {
                None
            } else {
                segment.offset.checked_add(inside)
            }
        })
    }

    /// Whether code lies there in the file.
    pub(super) fn is_code(&self, offset: u64) -> bool {
        let inside = |segment: &Segment| offset.checked_sub(segment.offset);
        self.segments
            .iter()
            .any(|segment| inside(segment).is_some_and(|at| at < segment.size))
    }

    /// The symbol tables, the dynamic linker's first.
    pub(super) fn tables(&self) -> Vec<Table> {
        let mut tables: Vec<_> = self
            .sections
            .iter()
            .filter_map(|section| self.table(section))
            .collect();
        tables.sort_by_key(|table| !table.dynamic);
        // A file has one of each kind (gABI, chapter 4). A forged one could have thousands that all
        // lie in the same place.
        tables.dedup_by_key(|table| table.dynamic);
        tables
    }

    fn table(&self, section: &E::SectionHeader) -> Option<Table> {
        let endian = self.endian;
        let kind = section.sh_type(endian);
        if kind != SHT_SYMTAB && kind != SHT_DYNSYM {
            return None;
        }
        let strings = self.sections.get(section.sh_link(endian) as usize)?;
        let part = |section: &E::SectionHeader, limit: u64| {
            let (offset, size) = section.file_range(endian)?;
            Some(Part {
                offset,
                size: size.min(limit),
            })
        };
        Some(Table {
            dynamic: kind == SHT_DYNSYM,
            symbols: part(section, MAX_SYMBOLS)?,
            strings: part(strings, MAX_STRINGS)?,
        })
    }

    /// Shows each symbol with its index.
    pub(super) fn each_symbol(
        &self,
        table: &Table,
        mut visit: impl FnMut(usize, &E::Sym),
    ) -> io::Result<()> {
        let size = size_of::<E::Sym>();
        // Words, because symbols are read in place and want to be aligned.
        let mut words = vec![0_u64; 3 * 1024];
        let mut source = Slice::new(self.file, table.symbols);
        let mut index = 0;
        loop {
            let bytes = pod::bytes_of_slice_mut(&mut words);
            let count = read_all(&mut source, bytes)? / size;
            if count == 0 {
                return Ok(());
            }
            let (symbols, _) = pod::slice_from_bytes::<E::Sym>(bytes, count)
                .map_err(|()| damaged("symbols are not aligned"))?;
            for symbol in symbols {
                visit(index, symbol);
                index += 1;
            }
        }
    }

    /// Shows each string with the place of its end in the table, until `visit` has enough.
    ///
    /// A symbol's name may be the end of a longer string.
    pub(super) fn each_string(
        &self,
        table: &Table,
        mut visit: impl FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let mut source = BufReader::with_capacity(1 << 16, Slice::new(self.file, table.strings));
        let mut text = Vec::new();
        let mut at = 0;
        loop {
            let bytes = source.fill_buf()?;
            if bytes.is_empty() {
                return Ok(());
            }
            let end = bytes.iter().position(|byte| *byte == 0);
            let piece = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            text.extend_from_slice(piece);
            at += piece.len();
            let used = piece.len() + usize::from(end.is_some());
            source.consume(used);
            if end.is_some() {
                if visit(at, &text).is_break() {
                    return Ok(());
                }
                text.clear();
                at += 1;
            } else if text.len() > 2 * MAX_NAME {
                text.drain(..text.len() - MAX_NAME);
            }
        }
    }

    /// The version of a symbol of the dynamic table, and whether an unversioned reference means
    /// another one.
    pub(super) fn version(&self, index: usize) -> Option<(Vec<u8>, bool)> {
        let endian = self.endian;
        let too_large = |section: &E::SectionHeader| {
            let kind = section.sh_type(endian);
            (kind == SHT_GNU_VERSYM || kind == SHT_GNU_VERDEF || kind == SHT_GNU_VERNEED)
                && section.sh_size(endian).into() > MAX_VERSIONS
        };
        if self.sections.iter().any(too_large) {
            return None;
        }
        let sections = SectionTable::<E, _>::new(&self.sections, StringTable::default());
        let versions = sections.versions(endian, self.cache).ok()??;
        let place = versions.version_index(endian, SymbolIndex(index));
        let version = versions.version(place.index()).ok()??;
        Some((version.name().to_vec(), place.is_hidden()))
    }
}

/// What is wrong with the file itself, in contrast to reading it.
pub(super) fn damaged(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// A part of a file, read without its cursor.
struct Slice<'f> {
    file: &'f File,
    part: Part,
}

impl<'f> Slice<'f> {
    const fn new(file: &'f File, part: Part) -> Self {
        Self { file, part }
    }
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.part.size)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = self
            .file
            .read_at(buffer.get_mut(..room).unwrap_or_default(), self.part.offset)?;
        self.part.offset += read as u64;
        self.part.size -= read as u64;
        Ok(read)
    }
}

/// Fills the buffer as far as there is anything.
fn read_all(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
