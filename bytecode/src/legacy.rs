//! Map definitions of the old kind, made fit for libbpf 1.
//!
//! Until 2022 a map was a `struct bpf_map_def` in the section `maps`: type, key size, value size,
//! number of entries and flags, then fields that differ between loaders (an id, a way of pinning,
//! the index of an inner map). libbpf 1 refuses such a section. Each definition becomes a variable
//! of `.maps` that BTF describes, just what clang makes of a definition of the new kind. How the
//! map was to be pinned is left out: where pins go is not the object's business.

use std::{collections::HashMap, mem::offset_of};

use object::{
    Endian as _, Endianness as Order,
    elf::{SHT_NOBITS, SHT_PROGBITS, STB_GLOBAL, STT_FILE, STT_OBJECT, SymbolInfo},
    pod::{bytes_of, from_bytes},
};

use crate::{
    Error,
    btf::{MAP_SIZE, MapDef, with_maps},
    elf::{Elf, Header, Kind, RawRel, RawSection, RawSymbol, Section, Symbol, position},
    rewrite::Rewrite,
};

/// Only objects for this host are rewritten.
const HOST: Order = if cfg!(target_endian = "little") {
    Order::Little
} else {
    Order::Big
};

/// A definition, and where it goes.
struct Definition<'a> {
    symbol: Symbol<'a>,
    section: usize,
    /// In the new section.
    offset: u64,
    numbers: [u32; 5],
}

/// Name and type number of each map, of an object for any host.
pub(crate) fn map_types<'a>(elf: &Elf<'a>) -> Result<Vec<(&'a str, u32)>, Error> {
    if !elf
        .sections()
        .iter()
        .any(|section| section.kind == Kind::LegacyMaps)
    {
        return Ok(Vec::new());
    }
    let definitions = definitions(elf, 0)?;
    let types = definitions
        .iter()
        .map(|map| (map.symbol.name, map.numbers[0]));
    Ok(types.collect())
}

/// The changes that an object needs; none when it has no definitions of the old kind.
pub(crate) fn plan(elf: &Elf<'_>) -> Result<Option<Rewrite>, Error> {
    let old: Vec<_> = elf
        .sections()
        .iter()
        .filter(|section| section.kind == Kind::LegacyMaps)
        .collect();
    let Some(first) = old.first() else {
        return Ok(None);
    };
    let modern = elf
        .sections()
        .iter()
        .find(|section| section.kind == Kind::Maps);
    let target = modern.unwrap_or(first);
    let start = modern.map_or(0, |section| section.size.next_multiple_of(8));
    let definitions = definitions(elf, start)?;

    let mut rewrite = Rewrite::of(elf.bytes.len());
    for definition in &definitions {
        move_symbol(elf, &mut rewrite, definition, target.index)?;
    }
    redirect(elf, &mut rewrite, &definitions)?;
    describe(elf, &mut rewrite, &definitions, target, &old)?;
    Ok(Some(rewrite))
}

/// All definitions, in the order of the file, placed from `start` on. Two symbols of one
/// definition share its place.
fn definitions<'a>(elf: &Elf<'a>, start: u64) -> Result<Vec<Definition<'a>>, Error> {
    let mut symbols = Vec::new();
    for symbol in elf.symbols() {
        let symbol = symbol?;
        let Some(section) = symbol.section.and_then(|index| elf.section(index)) else {
            continue;
        };
        let defines = !symbol.is_section() && symbol.kind != STT_FILE && !symbol.name.is_empty();
        if section.kind == Kind::LegacyMaps && defines {
            symbols.push((*section, symbol));
        }
    }
    symbols.sort_by_key(|(section, symbol)| (section.index, symbol.value));
    let mut definitions: Vec<Definition<'_>> = Vec::with_capacity(symbols.len());
    let mut next = start;
    for (position, (section, symbol)) in symbols.iter().enumerate() {
        let before = definitions.last().filter(|before| {
            before.section == section.index && before.symbol.value == symbol.value
        });
        let offset = before.map_or(next, |before| before.offset);
        // Handwritten objects may leave the size out.
        let end = match symbols.get(position + 1) {
            _ if symbol.size > 0 => symbol.value.saturating_add(symbol.size),
            Some((following, symbol)) if following.index == section.index => symbol.value,
            _ => section.size,
        };
        let numbers = numbers(elf, section, symbol, end)?;
        definitions.push(Definition {
            symbol: *symbol,
            section: section.index,
            offset,
            numbers,
        });
        next = offset + u64::from(MAP_SIZE);
    }
    if definitions.is_empty() {
        return Err(Error::Damaged("its section of maps names no map"));
    }
    Ok(definitions)
}

/// The five numbers that every loader's definition starts with.
fn numbers(
    elf: &Elf<'_>,
    section: &Section<'_>,
    symbol: &Symbol<'_>,
    end: u64,
) -> Result<[u32; 5], Error> {
    let data = elf.data(section)?;
    let size = end.saturating_sub(symbol.value);
    usize::try_from(symbol.value)
        .ok()
        .filter(|_| size >= 20)
        .and_then(|start| data.get(start..)?.first_chunk::<20>())
        .map(|bytes| {
            let mut numbers = [0; 5];
            for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks().0) {
                *number = elf.order.read_u32(*bytes);
            }
            numbers
        })
        .ok_or_else(|| Error::LegacyMap {
            map: symbol.name.to_owned(),
            section: section.name.to_owned(),
            size: size.min((data.len() as u64).saturating_sub(symbol.value)),
        })
}

/// libbpf finds a map by its symbol, which has to be one that other files can see.
fn move_symbol(
    elf: &Elf<'_>,
    rewrite: &mut Rewrite,
    definition: &Definition<'_>,
    target: usize,
) -> Result<(), Error> {
    let target = u16::try_from(target).map_err(|_| Error::Damaged("it has too many sections"))?;
    let mut entry = [0; 20];
    entry[0] = SymbolInfo::new(STB_GLOBAL, STT_OBJECT).0;
    entry[2..4].copy_from_slice(&target.to_ne_bytes());
    entry[4..12].copy_from_slice(&definition.offset.to_ne_bytes());
    entry[12..].copy_from_slice(&u64::from(MAP_SIZE).to_ne_bytes());
    let place = elf.symbol_offset(definition.symbol.index) + offset_of!(RawSymbol, st_info);
    rewrite.replace(place, entry);
    Ok(())
}

/// A map that only its own file can see is referred to as a place in its section. libbpf knows
/// no such references: they get the map's symbol.
fn redirect(
    elf: &Elf<'_>,
    rewrite: &mut Rewrite,
    definitions: &[Definition<'_>],
) -> Result<(), Error> {
    let by_place: HashMap<_, _> = definitions
        .iter()
        .map(|definition| {
            (
                (definition.section, definition.symbol.value),
                definition.symbol.index,
            )
        })
        .collect();
    for (relocations, changed, entries) in elf.relocations() {
        if changed.kind != Kind::Code {
            continue;
        }
        let code = elf.data(changed)?;
        let start = relocations.raw.sh_offset.get(elf.order);
        for (entry, place) in entries?.iter().zip((start..).step_by(size_of::<RawRel>())) {
            let symbol = elf.target(entry)?;
            let Some(section) = symbol.section.filter(|_| symbol.is_section()) else {
                continue;
            };
            let addend = usize::try_from(entry.r_offset.get(elf.order))
                .ok()
                .and_then(|offset| code.get(offset..)?.get(4..8)?.first_chunk())
                .map_or(0, |value| i64::from(i32::from_ne_bytes(*value)));
            let offset = symbol.value.saturating_add_signed(addend);
            if let Some(map) = by_place.get(&(section, offset)) {
                let info = (*map as u64) << 32 | (entry.r_info.get(elf.order) & 0xffff_ffff);
                let place = position(place) + offset_of!(RawRel, r_info);
                rewrite.replace(place, info.to_ne_bytes());
            }
        }
    }
    Ok(())
}

/// Makes the sections `.maps` and `.BTF` of the definitions.
fn describe(
    elf: &Elf<'_>,
    rewrite: &mut Rewrite,
    definitions: &[Definition<'_>],
    target: &Section<'_>,
    old: &[&Section<'_>],
) -> Result<(), Error> {
    let mut headers: Vec<RawSection> = elf.sections().iter().map(|section| *section.raw).collect();
    let names = SectionNames::append(elf, rewrite)?;
    for section in old {
        set(&mut headers, section.index, names.none, None);
    }

    let mut contents = if target.kind == Kind::Maps {
        elf.data(target)?.to_vec()
    } else {
        vec![]
    };
    let end = definitions
        .iter()
        .map(|definition| definition.offset + u64::from(MAP_SIZE))
        .max();
    contents.resize(position(end.unwrap_or_default()), 0);
    let place = (rewrite.append(&contents), contents.len() as u64);
    set(&mut headers, target.index, names.maps, Some(place));

    let mut maps: Vec<MapDef> = Vec::with_capacity(definitions.len());
    let mut last = None;
    for definition in definitions {
        if last.replace(definition.offset) != Some(definition.offset) {
            let name = definition.symbol.name.to_owned();
            maps.push(MapDef {
                name,
                numbers: definition.numbers,
            });
        }
    }
    let existing = elf.by_name(".BTF");
    let data = existing.map(|section| elf.data(section)).transpose()?;
    let btf = with_maps(data, &maps)?;
    let place = (rewrite.append(&btf), btf.len() as u64);
    if let Some(section) = existing {
        set(&mut headers, section.index, names.btf, Some(place));
    } else {
        // Without the BTF that it belonged to it means nothing.
        if let Some(orphan) = elf.by_name(".BTF.ext") {
            set(&mut headers, orphan.index, names.none, None);
        }
        headers.extend(
            from_bytes::<RawSection>(&[0; size_of::<RawSection>()]).map(|(header, _)| *header),
        );
        set(&mut headers, elf.sections().len(), names.btf, Some(place));
    }
    names.replace(&mut headers);
    write_headers(elf, rewrite, &headers)
}

/// Gives a section a name and contents, or takes both away.
fn set(headers: &mut [RawSection], index: usize, name: u32, place: Option<(u64, u64)>) {
    if let Some(header) = headers.get_mut(index) {
        header.sh_name.set(HOST, name);
        header.sh_type.set(
            HOST,
            if place.is_some() {
                SHT_PROGBITS
            } else {
                SHT_NOBITS
            },
        );
        let (offset, size) = place.unwrap_or_default();
        header.sh_offset.set(HOST, offset);
        header.sh_size.set(HOST, size);
        header.sh_addralign.set(HOST, 8);
    }
}

/// The section names that the rewritten object needs, and the table they are in.
struct SectionNames {
    table: usize,
    /// Offset and size of the longer table.
    place: (u64, u64),
    maps: u32,
    btf: u32,
    none: u32,
}

impl SectionNames {
    fn append(elf: &Elf<'_>, rewrite: &mut Rewrite) -> Result<Self, Error> {
        const BROKEN: Error = Error::Damaged("its table of section names cannot be extended");
        let table = elf.section_names()?;
        let mut text = elf.data(elf.section(table).ok_or(BROKEN)?)?.to_vec();
        let maps = u32::try_from(text.len()).map_err(|_| BROKEN)?;
        text.extend_from_slice(b".maps\0.BTF\0");
        let place = (rewrite.append(&text), text.len() as u64);
        // The zero behind the first name is the empty one.
        Ok(Self {
            table,
            place,
            maps,
            btf: maps + 6,
            none: maps + 5,
        })
    }

    fn replace(&self, headers: &mut [RawSection]) {
        if let Some(header) = headers.get_mut(self.table) {
            header.sh_offset.set(HOST, self.place.0);
            header.sh_size.set(HOST, self.place.1);
        }
    }
}

fn write_headers(
    elf: &Elf<'_>,
    rewrite: &mut Rewrite,
    headers: &[RawSection],
) -> Result<(), Error> {
    let table: Vec<u8> = headers.iter().flat_map(bytes_of).copied().collect();
    if headers.len() == elf.sections().len() {
        rewrite.replace(elf.header_offset(0), table);
        return Ok(());
    }
    // From this number on the count would have to be elsewhere.
    let count = u16::try_from(headers.len())
        .ok()
        .filter(|count| *count < 0xff00)
        .ok_or(Error::Damaged("it has too many sections"))?;
    let start = rewrite.append(&table);
    rewrite.replace(offset_of!(Header, e_shoff), start.to_ne_bytes());
    rewrite.replace(offset_of!(Header, e_shnum), count.to_ne_bytes());
    Ok(())
}
