//! What an object says, as a list of facts in words.
//!
//! Facts name things (a symbol, a section, a type) and never number them: the numbers follow from
//! an order in the file that the compiler does not promise. What is not known here is taken byte
//! for byte, so that nothing is overlooked.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};
use object::elf::{
    SHF_EXECINSTR, SHN_UNDEF, SHT_NOBITS, SHT_REL, SHT_RELA, SHT_STRTAB, SHT_SYMTAB, STB_LOCAL,
    STT_FUNC, STT_SECTION, SectionType, SymbolType,
};
use object::read::elf::{ElfFile64, ElfSection64, ElfSymbol64, FileHeader, SectionHeader, Sym};
use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags,
    RelocationTarget,
};

use super::btf::{Btf, Ext};

type Elf<'a> = ElfFile64<'a, Endianness>;
type Section<'a, 'f> = ElfSection64<'a, 'f, Endianness>;
type Symbol<'a, 'f> = ElfSymbol64<'a, 'f, Endianness>;

/// Symbols whose address matters, by their numbers: for linkers, and no loader reads it.
const ADDRSIG: SectionType = SectionType(0x6fff_4c03);
/// Bytes of one instruction.
const INSTRUCTION: usize = 8;

/// What something is about, and what is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) what: String,
    pub(super) value: String,
}

impl Fact {
    pub(super) fn new(what: impl Into<String>, value: impl Into<String>) -> Self {
        let (what, value) = (what.into(), value.into());
        Self { what, value }
    }
}

/// What stands in a section at these offsets stands for something else, in words.
pub(super) type Relocations = BTreeMap<u64, String>;

/// Reads an object of the compiler.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Fact>> {
    let elf = Elf::parse(bytes).context("read it as an ELF object")?;
    let places = Places::read(&elf)?;
    let mut facts = Vec::new();
    facts.push(file(&elf));
    let mut names = String::new();
    for section in elf.sections() {
        let kind = section.elf_section_header().sh_type(elf.endian());
        if matches!(kind, SHT_STRTAB | SHT_SYMTAB | SHT_REL | SHT_RELA | ADDRSIG) {
            continue;
        }
        write!(names, " {}", section.name()?)?;
        facts.extend(contents(&elf, &section, &places)?);
    }
    facts.push(Fact::new("sections", names.trim_start()));
    for symbol in elf.symbols() {
        if symbol.elf_symbol().st_type() != STT_SECTION {
            facts.push(symbol_fact(&elf, &symbol)?);
        }
    }
    facts.extend(types(&elf, &places)?);
    Ok(facts)
}

fn file(elf: &Elf<'_>) -> Fact {
    let (header, endian) = (elf.elf_header(), elf.endian());
    let ident = header.e_ident();
    Fact::new(
        "file",
        format!(
            "{endian:?} endian, version {}, ABI {} {}, type {}, machine {}, flags {:#x}",
            ident.version.0,
            ident.os_abi.0,
            ident.abi_version,
            header.e_type(endian).0,
            header.e_machine(endian).0,
            header.e_flags(endian).0
        ),
    )
}

/// The section itself, its bytes, and its relocations. The sections of BTF are read elsewhere.
fn contents(elf: &Elf<'_>, section: &Section<'_, '_>, places: &Places) -> Result<Vec<Fact>> {
    let (name, header) = (section.name()?, section.elf_section_header());
    let endian = elf.endian();
    let (kind, flags) = (header.sh_type(endian), header.sh_flags(endian));
    let mut head = format!(
        "type {:#x}, flags {:#x}, alignment {}, entries of {}",
        kind.0,
        flags.0,
        section.align(),
        header.sh_entsize(endian)
    );
    let of_btf = matches!(name, ".BTF" | ".BTF.ext");
    if !of_btf {
        write!(head, ", {} bytes", section.size())?;
    }
    let mut facts = vec![Fact::new(format!("section {name}"), head)];
    if of_btf {
        return Ok(facts);
    }
    if kind != SHT_NOBITS {
        for piece in places.pieces(name, section.size()) {
            let bytes = (section.data_range(piece.start, piece.end - piece.start)?)
                .with_context(|| format!("{} has no such bytes", piece.label))?;
            if flags.contains(SHF_EXECINSTR) {
                facts.extend(bytes.chunks(INSTRUCTION).zip(0..).map(|(code, n)| {
                    Fact::new(format!("{}: instruction {n}", piece.label), hex(code))
                }));
            } else {
                facts.push(Fact::new(format!("{}: bytes", piece.label), hex(bytes)));
            }
        }
    }
    for (offset, target) in relocations(elf, section)? {
        let what = format!("{}, relocation", places.at(name, offset));
        facts.push(Fact::new(what, target));
    }
    Ok(facts)
}

fn symbol_fact(elf: &Elf<'_>, symbol: &Symbol<'_, '_>) -> Result<Fact> {
    let raw = symbol.elf_symbol();
    let place = match symbol.section_index() {
        Some(index) => elf.section_by_index(index)?.name()?.to_owned(),
        None if raw.st_shndx(elf.endian()) == SHN_UNDEF => "undefined".to_owned(),
        None => format!("{:?}", symbol.section()),
    };
    let value = format!(
        "{place} + {}, {} bytes, type {:?}, binding {:?}, other {:#x}",
        raw.st_value(elf.endian()),
        symbol.size(),
        raw.st_type(),
        raw.st_bind(),
        raw.st_other().0
    );
    Ok(Fact::new(format!("symbol {}", symbol.name()?), value))
}

/// Relocations by what they name: a symbol, or the section that a section's symbol stands for.
fn relocations(elf: &Elf<'_>, section: &Section<'_, '_>) -> Result<Relocations> {
    let mut found = Relocations::new();
    for (offset, relocation) in section.relocations() {
        let RelocationFlags::Elf { r_type } = relocation.flags() else {
            bail!("a relocation of no kind");
        };
        let RelocationTarget::Symbol(index) = relocation.target() else {
            bail!("a relocation of kind {} names nothing", r_type.0);
        };
        let symbol = elf.symbol_by_index(index)?;
        let mut text = format!("kind {} ", r_type.0);
        let raw = symbol.elf_symbol();
        if raw.st_type() == STT_SECTION {
            let index = symbol.section_index().context("a section of no number")?;
            write!(text, "section {}", elf.section_by_index(index)?.name()?)?;
        } else {
            text.push_str(symbol.name()?);
            // Names of the file itself need not be its only ones.
            if raw.st_bind() == STB_LOCAL {
                write!(text, " + {}", symbol.address())?;
            }
        }
        if !relocation.has_implicit_addend() {
            write!(text, " + {}", relocation.addend())?;
        }
        let twice = found.insert(offset, text).is_some();
        ensure!(
            !twice,
            "two relocations at byte {offset} of {}",
            section.name()?
        );
    }
    Ok(found)
}

fn types(elf: &Elf<'_>, places: &Places) -> Result<Vec<Fact>> {
    let Some(section) = elf.section_by_name(".BTF") else {
        return Ok(Vec::new());
    };
    let moved = relocations(elf, &section)?;
    let btf = Btf::read(section.data()?, elf.endian(), &moved).context("read its BTF")?;
    let mut facts = btf.facts()?;
    facts.push(Fact::new("BTF: relocations", moved.len().to_string()));
    if let Some(section) = elf.section_by_name(".BTF.ext") {
        let moved = relocations(elf, &section)?;
        let ext = Ext::new(section.data()?, &btf, &moved);
        let at = |section: &str, offset| places.at(section, offset);
        facts.extend(ext.facts(&at).context("read its .BTF.ext")?);
        facts.push(Fact::new("BTF.ext: relocations", moved.len().to_string()));
    }
    Ok(facts)
}

/// Which symbol covers which bytes of a section.
struct Places(BTreeMap<String, Vec<Piece>>);

struct Piece {
    start: u64,
    end: u64,
    label: String,
    code: bool,
}

impl Places {
    fn read(elf: &Elf<'_>) -> Result<Self> {
        let mut places: BTreeMap<String, Vec<Piece>> = BTreeMap::new();
        for symbol in elf.symbols().filter(|symbol| symbol.size() > 0) {
            let Some(index) = symbol.section_index() else {
                continue;
            };
            let section = elf.section_by_index(index)?.name()?;
            let kind = symbol.elf_symbol().st_type();
            let start = symbol.address();
            places.entry(section.to_owned()).or_default().push(Piece {
                start,
                end: start.saturating_add(symbol.size()),
                label: format!("{} {}", noun(kind, section), symbol.name()?),
                code: kind == STT_FUNC,
            });
        }
        for pieces in places.values_mut() {
            pieces.sort_by(|one, other| (one.start, &one.label).cmp(&(other.start, &other.label)));
        }
        Ok(Self(places))
    }

    /// The whole section in pieces: what a symbol covers, and what lies between.
    fn pieces(&self, section: &str, size: u64) -> Vec<Piece> {
        let mut whole = Vec::new();
        let mut at = 0;
        let between = |start, end| Piece {
            start,
            end,
            label: format!("section {section} from byte {start}"),
            code: false,
        };
        for piece in self.0.get(section).into_iter().flatten() {
            if piece.start < at || piece.end > size {
                continue;
            }
            if at < piece.start {
                whole.push(between(at, piece.start));
            }
            whole.push(Piece {
                label: piece.label.clone(),
                ..*piece
            });
            at = piece.end;
        }
        if at < size {
            whole.push(between(at, size));
        }
        whole
    }

    /// Words for a place.
    fn at(&self, section: &str, offset: u64) -> String {
        let pieces = self.0.get(section).into_iter().flatten();
        let covers = |piece: &&Piece| (piece.start..piece.end).contains(&offset);
        let Some(piece) = pieces.into_iter().find(covers) else {
            return format!("section {section}: byte {offset}");
        };
        let (label, within) = (&piece.label, offset - piece.start);
        let instruction = INSTRUCTION as u64;
        if piece.code && within.is_multiple_of(instruction) {
            format!("{label}: instruction {}", within / instruction)
        } else {
            format!("{label}: byte {within}")
        }
    }
}

fn noun(kind: SymbolType, section: &str) -> &'static str {
    match section {
        ".maps" | "maps" => "map",
        _ if kind != STT_FUNC => "variable",
        ".text" => "function",
        _ => "program",
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
