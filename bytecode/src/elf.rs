//! The one view of an ELF object that the rest of the crate reads through.

use std::ops::Range;

use object::{
    Endianness as Order, SymbolIndex,
    elf::{
        EM_BPF, EM_NONE, ET_REL, FileHeader64, Rel64, SHF_EXECINSTR, SHT_NOBITS, SHT_NULL,
        SHT_PROGBITS, SHT_REL, SHT_SYMTAB, STB_GLOBAL, STT_NOTYPE, STT_SECTION, SectionHeader64,
        Sym64, SymbolBind, SymbolType,
    },
    read::elf::{FileHeader, SectionHeader, SectionTable, Sym, SymbolTable},
};

use crate::{Endianness, Error, Machine};

pub(crate) type Header = FileHeader64<Order>;
pub(crate) type RawSection = SectionHeader64<Order>;
pub(crate) type RawSymbol = Sym64<Order>;
pub(crate) type RawRel = Rel64<Order>;

/// What libbpf makes of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Instructions: entry programs, or subprograms when it is `.text`.
    Code,
    /// BTF-defined maps, section `.maps`.
    Maps,
    /// Map definitions of the old kind, section `maps` or `maps/NAME`.
    LegacyMaps,
    /// Becomes a map of its own: `.data`, `.rodata`, `.bss` and what begins so.
    Data,
    /// Variables that live in the arena map.
    Arena,
    Other,
}

#[derive(Clone, Copy)]
pub(crate) struct Section<'a> {
    pub(crate) index: usize,
    pub(crate) name: &'a str,
    pub(crate) kind: Kind,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) raw: &'a RawSection,
}

#[derive(Clone, Copy)]
pub(crate) struct Symbol<'a> {
    pub(crate) index: usize,
    /// A section's symbol has an empty one.
    pub(crate) name: &'a str,
    /// None: undefined, absolute or common.
    pub(crate) section: Option<usize>,
    /// It stands for something of the kernel.
    pub(crate) undefined: bool,
    pub(crate) kind: SymbolType,
    pub(crate) bind: SymbolBind,
    pub(crate) value: u64,
    pub(crate) size: u64,
}

impl Symbol<'_> {
    pub(crate) fn is_section(&self) -> bool {
        self.kind == STT_SECTION
    }

    /// Something of the kernel without which libbpf loads nothing.
    pub(crate) fn is_strong_extern(&self) -> bool {
        self.undefined && self.kind == STT_NOTYPE && self.bind == STB_GLOBAL
    }
}

pub(crate) struct Elf<'a> {
    pub(crate) bytes: &'a [u8],
    /// Of the object; that of the host where [`Elf::parse`] made it.
    pub(crate) order: Order,
    header: &'a Header,
    sections: Vec<Section<'a>>,
    symbols: SymbolTable<'a, Header>,
}

impl<'a> Elf<'a> {
    /// An object that this host can run.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        check_host(bytes)?;
        Self::parse_foreign(bytes)
    }

    /// An object for any host.
    pub(crate) fn parse_foreign(bytes: &'a [u8]) -> Result<Self, Error> {
        let order = match byte_order(bytes)? {
            Endianness::Little => Order::Little,
            Endianness::Big => Order::Big,
        };
        let header = Header::parse(bytes).map_err(Error::Elf)?;
        if header.e_type(order) != ET_REL {
            return Err(Error::NotRelocatable);
        }
        let table = section_table(header, order, bytes)?;
        let mut sections = Vec::with_capacity(table.len());
        let mut room = Room::of(bytes);
        let headers = (table.len() * size_of::<RawSection>()) as u64;
        let mut taken = vec![
            extent(0, HEADER_SIZE),
            extent(header.e_shoff.get(order), headers),
        ];
        for (index, raw) in table.enumerate() {
            taken.extend(contents(raw, order, bytes)?);
            let name = table.section_name(order, raw).map_err(Error::Elf)?;
            room.take(name.len() as u64, NAMES)?;
            let name = str::from_utf8(name)
                .map_err(|_| Error::Damaged("the name of a section is not UTF-8"))?;
            sections.push(Section {
                index: index.0,
                name,
                kind: section_kind(name, raw, order),
                size: raw.sh_size.get(order),
                raw,
            });
        }
        check_apart(taken)?;
        let symbols = table
            .symbols(order, bytes, SHT_SYMTAB)
            .map_err(Error::Elf)?;
        if symbols.is_empty() {
            return Err(Error::Stripped);
        }
        let elf = Self {
            bytes,
            order,
            header,
            sections,
            symbols,
        };
        elf.check_names()?;
        Ok(elf)
    }

    /// Whoever keeps a symbol keeps its name and that of its section.
    fn check_names(&self) -> Result<(), Error> {
        let mut room = Room::of(self.bytes);
        for (index, raw) in self.symbols.enumerate() {
            let name = self.symbols.symbol_name(self.order, raw).unwrap_or(b"");
            room.take(name.len() as u64, NAMES)?;
            let section = self.symbols.symbol_section(self.order, raw, index);
            let section = section.ok().flatten().and_then(|of| self.section(of.0));
            let name = section.map_or("", |section| section.name);
            room.take(name.len() as u64, NAMES)?;
        }
        Ok(())
    }

    pub(crate) fn endianness(&self) -> Endianness {
        match self.order {
            Order::Little => Endianness::Little,
            Order::Big => Endianness::Big,
        }
    }

    pub(crate) fn sections(&self) -> &[Section<'a>] {
        &self.sections
    }

    pub(crate) fn section(&self, index: usize) -> Option<&Section<'a>> {
        self.sections.get(index)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Section<'a>> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// Contents; empty for what takes no room in the file.
    pub(crate) fn data(&self, section: &Section<'a>) -> Result<&'a [u8], Error> {
        section.raw.data(self.order, self.bytes).map_err(Error::Elf)
    }

    /// Index of the section that holds the names of sections.
    pub(crate) fn section_names(&self) -> Result<usize, Error> {
        Ok(self
            .header
            .shstrndx(self.order, self.bytes)
            .map_err(Error::Elf)? as usize)
    }

    /// Where a section's header lies in the file.
    pub(crate) fn header_offset(&self, section: usize) -> usize {
        // Within the file, as parsing the section table has shown.
        position(self.header.e_shoff.get(self.order)) + section * size_of::<RawSection>()
    }

    /// Where a symbol lies in the file.
    pub(crate) fn symbol_offset(&self, symbol: usize) -> usize {
        let table = self.section(self.symbols.section().0);
        // Within the file, as parsing the symbol table has shown.
        table.map_or(0, |table| position(table.raw.sh_offset.get(self.order)))
            + symbol * size_of::<RawSymbol>()
    }

    pub(crate) fn symbols(&self) -> impl Iterator<Item = Result<Symbol<'a>, Error>> {
        self.symbols
            .enumerate()
            .map(|(index, raw)| self.read_symbol(index, raw))
    }

    /// The symbol that a relocation refers to.
    pub(crate) fn target(&self, entry: &RawRel) -> Result<Symbol<'a>, Error> {
        let index = SymbolIndex(entry.r_sym(self.order) as usize);
        self.read_symbol(index, self.symbols.symbol(index).map_err(Error::Elf)?)
    }

    pub(crate) fn refers_to_code(&self, entry: &RawRel) -> Result<bool, Error> {
        let section = self
            .target(entry)?
            .section
            .and_then(|index| self.section(index));
        Ok(section.is_some_and(|section| section.kind == Kind::Code))
    }

    fn read_symbol(&self, index: SymbolIndex, raw: &'a RawSymbol) -> Result<Symbol<'a>, Error> {
        let name = self
            .symbols
            .symbol_name(self.order, raw)
            .map_err(Error::Elf)?;
        Ok(Symbol {
            index: index.0,
            name: str::from_utf8(name)
                .map_err(|_| Error::Damaged("the name of a symbol is not UTF-8"))?,
            section: self
                .symbols
                .symbol_section(self.order, raw, index)
                .map_err(Error::Elf)?
                .map(|section| section.0),
            undefined: raw.is_undefined(self.order),
            kind: raw.st_type(),
            bind: raw.st_bind(),
            value: raw.st_value.get(self.order),
            size: raw.st_size.get(self.order),
        })
    }

    /// Each relocation section with the section that it changes.
    pub(crate) fn relocations(
        &self,
    ) -> impl Iterator<Item = (&Section<'a>, &Section<'a>, Result<&'a [RawRel], Error>)> {
        self.sections
            .iter()
            .filter(|section| section.raw.sh_type(self.order) == SHT_REL)
            .filter_map(|section| {
                let changed = self.section(section.raw.sh_info.get(self.order) as usize)?;
                let entries = section
                    .raw
                    .data_as_array(self.order, self.bytes)
                    .map_err(Error::Elf);
                Some((section, changed, entries))
            })
    }
}

/// The same bytes may stand for several names, which share their ends. But a forged file of a few
/// MB could have terabytes of names that way, and whatever looks at each of them would never end.
struct Room(u64);

const NAMES: &str = "its names overlap";

impl Room {
    /// Four times what an object has: none that a compiler makes shares more.
    fn of(bytes: &[u8]) -> Self {
        Self(bytes.len() as u64 * 4)
    }

    fn take(&mut self, size: u64, complaint: &'static str) -> Result<(), Error> {
        self.0 = self.0.checked_sub(size).ok_or(Error::Damaged(complaint))?;
        Ok(())
    }
}

/// An offset as an index. One that no slice can have stays out of every slice.
pub(crate) fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// Refuses what is no eBPF object, whatever its byte order.
/// Size of the header that [`check_host`] needs, in bytes.
pub(crate) const HEADER_SIZE: u64 = size_of::<Header>() as u64;

/// Refuses what is no object for this host, by its header alone.
pub(crate) fn check_host(start: &[u8]) -> Result<(), Error> {
    let object = byte_order(start)?;
    if object != Endianness::HOST {
        let host = Endianness::HOST;
        return Err(Error::Endianness { object, host });
    }
    Ok(())
}

fn byte_order(bytes: &[u8]) -> Result<Endianness, Error> {
    if bytes.is_empty() {
        return Err(Error::Empty);
    }
    if !bytes.starts_with(b"\x7fELF") {
        return Err(Error::NotElf {
            looks_like: looks_like(bytes),
        });
    }
    let size = size_of::<Header>();
    if bytes.len() < size {
        let (needs, has) = (size as u64, bytes.len() as u64);
        return Err(Error::Truncated {
            what: "ELF header",
            needs,
            has,
        });
    }
    let object = match bytes.get(5) {
        Some(1) => Endianness::Little,
        Some(2) => Endianness::Big,
        _ => return Err(Error::Damaged("it names no byte order")),
    };
    let machine = match (bytes.get(18..20), object) {
        (Some(&[a, b]), Endianness::Little) => Machine(u16::from_le_bytes([a, b])),
        (Some(&[a, b]), Endianness::Big) => Machine(u16::from_be_bytes([a, b])),
        _ => return Err(Error::Damaged("it names no machine")),
    };
    if bytes.get(4) == Some(&1) {
        return Err(Error::Bits32 { machine });
    }
    // Old compilers left the number of the machine out.
    if machine.0 != EM_BPF.0 && machine.0 != EM_NONE.0 {
        return Err(Error::NotBpf { machine });
    }
    Ok(object)
}

fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    let text = |bytes: &[u8]| {
        bytes
            .iter()
            .take(512)
            .all(|b| matches!(b, b'\t' | b'\n' | b'\r' | b' '..=b'~'))
    };
    Some(match bytes {
        [b'B', b'C', 0xc0, 0xde, ..] => "LLVM bitcode",
        [0x1f, 0x8b, ..] => "a gzip archive",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "a zstd archive",
        _ if bytes.starts_with(b"!<arch>\n") => "a static library",
        _ if bytes.get(257..262) == Some(b"ustar") => "a tar archive",
        _ if text(bytes) && bytes.windows(8).any(|w| w == b"#include") => "C source",
        _ if text(bytes) => "text",
        _ => return None,
    })
}

fn section_table<'a>(
    header: &'a Header,
    order: Order,
    bytes: &'a [u8],
) -> Result<SectionTable<'a, Header>, Error> {
    let has = bytes.len() as u64;
    let start = header.e_shoff.get(order);
    let count = u64::from(header.e_shnum.get(order)).max(1);
    let needs = start.saturating_add(count * size_of::<RawSection>() as u64);
    if needs > has {
        return Err(Error::Truncated {
            what: "section table",
            needs,
            has,
        });
    }
    if start == 0 {
        return Err(Error::Damaged("it has no sections"));
    }
    header.sections(order, bytes).map_err(Error::Elf)
}

/// The bytes of the file that are a section, if it has any there.
fn contents(raw: &RawSection, order: Order, bytes: &[u8]) -> Result<Option<Range<u64>>, Error> {
    if matches!(raw.sh_type(order), SHT_NOBITS | SHT_NULL) {
        return Ok(None);
    }
    let has = bytes.len() as u64;
    let extent = extent(raw.sh_offset.get(order), raw.sh_size.get(order));
    if extent.end > has {
        return Err(Error::Truncated {
            what: "last section",
            needs: extent.end,
            has,
        });
    }
    Ok(Some(extent).filter(|extent| !extent.is_empty()))
}

fn extent(start: u64, size: u64) -> Range<u64> {
    start..start.saturating_add(size)
}

/// What is rewritten in place must not be part of something else as well, and a forged file of a
/// few MB must not have terabytes of sections.
fn check_apart(mut taken: Vec<Range<u64>>) -> Result<(), Error> {
    taken.sort_unstable_by_key(|extent| extent.start);
    if taken.is_sorted_by(|before, after| before.end <= after.start) {
        Ok(())
    } else {
        Err(Error::Damaged("its sections overlap"))
    }
}

fn section_kind(name: &str, raw: &RawSection, order: Order) -> Kind {
    let family = |family: &str| {
        name.strip_prefix(family)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let kind = raw.sh_type(order);
    if kind == SHT_NOBITS {
        return if family(".bss") {
            Kind::Data
        } else {
            Kind::Other
        };
    }
    if kind != SHT_PROGBITS || raw.sh_size.get(order) == 0 {
        return Kind::Other;
    }
    if raw.sh_flags(order).contains(SHF_EXECINSTR) {
        return Kind::Code;
    }
    match name {
        ".maps" => Kind::Maps,
        ".addr_space.1" => Kind::Arena,
        _ if name == "maps" || name.starts_with("maps/") => Kind::LegacyMaps,
        _ if family(".data") || family(".rodata") => Kind::Data,
        _ => Kind::Other,
    }
}
