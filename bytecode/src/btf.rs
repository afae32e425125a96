//! BTF: what the kernel reads of it is read here too, and the description of rewritten map
//! definitions is added to it. Formats: `Documentation/bpf/btf.rst` of the kernel.

use std::collections::{HashMap, HashSet};

use crate::{Error, elf::Elf};

const MAGIC: u16 = 0xeb9f;

/// What the sections `.BTF` and `.BTF.ext` say of functions.
#[derive(Default)]
pub(crate) struct Debug<'a> {
    /// Section and offset in it of each function that is described.
    functions: HashSet<(&'a str, u64)>,
    /// There are CO-RE relocations.
    pub(crate) core_relocations: bool,
}

impl<'a> Debug<'a> {
    /// Damaged sections describe nothing, and are no error: libbpf goes on without them as well.
    pub(crate) fn read(elf: &Elf<'a>) -> Result<Self, Error> {
        let (Some(btf), Some(ext)) = (elf.by_name(".BTF"), elf.by_name(".BTF.ext")) else {
            return Ok(Self::default());
        };
        let (btf, ext) = (elf.data(btf)?, elf.data(ext)?);
        Ok(Btf::parse(btf)
            .and_then(|btf| Self::parse(&btf, ext))
            .unwrap_or_default())
    }

    /// Whether the function at this place is described.
    pub(crate) fn describes(&self, section: &str, offset: u64) -> bool {
        self.functions.contains(&(section, offset))
    }

    fn parse(btf: &Btf<'a>, ext: &'a [u8]) -> Option<Self> {
        if half(ext, 0)? != MAGIC {
            return None;
        }
        let header = word(ext, 4)?;
        let part = |offset: usize, len: usize| {
            slice(
                ext.get(header as usize..)?,
                word(ext, offset)?,
                word(ext, len)?,
            )
        };
        // Objects of older compilers end their header before the CO-RE relocations.
        let core_relocations = header >= 32 && word(ext, 28)? > 0;
        let mut functions = HashSet::new();
        let mut rest = part(8, 12)?;
        if !rest.is_empty() {
            let record = word(rest, 0)? as usize;
            rest = &rest[4..];
            while !rest.is_empty() {
                let section = btf.string(word(rest, 0)?)?;
                let size = (word(rest, 4)? as usize).checked_mul(record)?;
                rest = rest.get(8..)?;
                for function in rest.get(..size)?.chunks_exact(record.max(4)) {
                    functions.insert((section, u64::from(word(function, 0)?)));
                }
                rest = rest.get(size..)?;
            }
        }
        Some(Self {
            functions,
            core_relocations,
        })
    }
}

/// The two parts of a `.BTF` section.
struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Btf<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        if half(data, 0)? != MAGIC {
            return None;
        }
        let body = data.get(word(data, 4)? as usize..)?;
        let types = slice(body, word(data, 8)?, word(data, 12)?)?;
        let strings = slice(body, word(data, 16)?, word(data, 20)?)?;
        (strings.last() == Some(&0)).then_some(Self { types, strings })
    }

    fn string(&self, offset: u32) -> Option<&'a str> {
        let rest = self.strings.get(offset as usize..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        str::from_utf8(&rest[..end]).ok()
    }
}

fn half(data: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*data.get(offset..)?.first_chunk()?))
}

fn word(data: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*data.get(offset..)?.first_chunk()?))
}

fn slice(data: &[u8], offset: u32, len: u32) -> Option<&[u8]> {
    data.get(offset as usize..)?.get(..len as usize)
}

/// A map definition of the old kind, as far as libbpf goes by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MapDef {
    pub(crate) name: String,
    /// Type, key size, value size, number of entries, flags.
    pub(crate) numbers: [u32; 5],
}

/// Size of a map's variable, in bytes: one pointer for each number.
pub(crate) const MAP_SIZE: u32 = 5 * 8;

const MEMBERS: [&str; 5] = ["type", "key_size", "value_size", "max_entries", "map_flags"];

const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
/// Head of every type: name, kind and count, size or type.
const HEAD: usize = 12;

/// The contents of a `.BTF` section that has everything of `existing` under the same ids, and
/// describes `maps` as variables of the section `.maps`.
pub(crate) fn with_maps(existing: Option<&[u8]>, maps: &[MapDef]) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::start(existing)?;
    let byte = writer.string("unsigned char");
    let byte = writer.add(byte, KIND_INT, 0, 1, &[8]);
    let members = MEMBERS.map(|name| writer.string(name));
    let mut numbers = HashMap::new();
    let mut variables = std::mem::take(&mut writer.variables);
    for map in maps {
        let mut body = Vec::with_capacity(members.len() * 3);
        for ((name, number), bit) in members.iter().zip(map.numbers).zip((0..).step_by(64)) {
            let pointer = *numbers
                .entry(number)
                .or_insert_with(|| writer.number(byte, number));
            body.extend([*name, pointer, bit]);
        }
        let definition = writer.add(0, KIND_STRUCT, 5, MAP_SIZE, &body);
        let name = writer.string(&map.name);
        // 1: a global variable.
        let variable = writer.add(name, KIND_VAR, 0, definition, &[1]);
        variables.push([variable, 0, MAP_SIZE]);
    }
    // A size of 0 makes libbpf take size and offsets from the ELF symbols, as it does with what
    // clang makes.
    let section = writer.string(".maps");
    let count =
        u16::try_from(variables.len()).map_err(|_| Error::Damaged("it has too many maps"))?;
    writer.add(section, KIND_DATASEC, count, 0, &variables.concat());
    writer.finish()
}

struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
    last_id: u32,
    /// The variables that `.maps` had before: type, offset, size of each.
    variables: Vec<[u32; 3]>,
}

impl Writer {
    fn start(existing: Option<&[u8]>) -> Result<Self, Error> {
        let mut writer = Self {
            types: Vec::new(),
            strings: vec![0],
            last_id: 0,
            variables: Vec::new(),
        };
        if let Some(data) = existing {
            const BROKEN: Error = Error::Damaged("its BTF contradicts itself");
            let btf = Btf::parse(data).ok_or(BROKEN)?;
            writer.strings = btf.strings.to_vec();
            writer.copy_types(&btf).ok_or(BROKEN)?;
        }
        Ok(writer)
    }

    /// Copies the types in their order, which is what numbers them. Descriptions of the sections
    /// that are made anew become pointers to nothing: libbpf would look for those sections.
    fn copy_types(&mut self, btf: &Btf<'_>) -> Option<()> {
        let mut rest = btf.types;
        while !rest.is_empty() {
            let info = word(rest, 4)?;
            let (kind, count) = (info >> 24 & 0x1f, info & 0xffff);
            let (record, after) = rest.split_at_checked(HEAD + body_size(kind, count as usize)?)?;
            let name = btf.string(word(record, 0)?)?;
            if kind == KIND_DATASEC && is_map_section(name) {
                if name == ".maps" {
                    for variable in record.get(HEAD..)?.chunks_exact(12) {
                        let of = |offset| word(variable, offset);
                        self.variables.push([of(0)?, of(4)?, of(8)?]);
                    }
                }
                self.add(0, KIND_PTR, 0, 0, &[]);
            } else {
                self.types.extend_from_slice(record);
                self.last_id += 1;
            }
            rest = after;
        }
        Some(())
    }

    /// What `__uint(name, number)` of bpf_helpers.h makes: a pointer to an array of that length.
    fn number(&mut self, byte: u32, number: u32) -> u32 {
        // Elements of one byte, since the kernel limits an array to 4 GiB.
        let array = self.add(0, KIND_ARRAY, 0, 0, &[byte, byte, number]);
        self.add(0, KIND_PTR, 0, array, &[])
    }

    /// Adds a type and tells its id.
    fn add(&mut self, name: u32, kind: u32, count: u16, size_or_type: u32, body: &[u32]) -> u32 {
        let info = kind << 24 | u32::from(count);
        for word in [name, info, size_or_type].iter().chain(body) {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
        self.last_id += 1;
        self.last_id
    }

    /// Adds a string and tells its offset. Offsets past 4 GiB are refused in [`Self::finish`].
    fn string(&mut self, text: &str) -> u32 {
        let offset = u32::try_from(self.strings.len()).unwrap_or(u32::MAX);
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        offset
    }

    fn finish(self) -> Result<Vec<u8>, Error> {
        const TOO_LARGE: Error = Error::Damaged("its BTF is too large");
        let types = u32::try_from(self.types.len()).map_err(|_| TOO_LARGE)?;
        let strings = u32::try_from(self.strings.len()).map_err(|_| TOO_LARGE)?;
        let mut data = Vec::with_capacity(24 + self.types.len() + self.strings.len());
        data.extend_from_slice(&MAGIC.to_ne_bytes());
        // Version 1, no flags; then the header's own size, and offset and size of both parts.
        data.extend_from_slice(&[1, 0]);
        for word in [24, 0, types, types, strings] {
            data.extend_from_slice(&u32::to_ne_bytes(word));
        }
        data.extend_from_slice(&self.types);
        data.extend_from_slice(&self.strings);
        Ok(data)
    }
}

fn is_map_section(name: &str) -> bool {
    name == ".maps" || name == "maps" || name.starts_with("maps/")
}

/// What follows the head of a type, in bytes; none for kinds that did not exist in 2025.
fn body_size(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
        KIND_PTR | 7..=12 | 16 | 18 => 0,
        // Integer, variable, declaration tag.
        KIND_INT | KIND_VAR | 17 => 4,
        KIND_ARRAY => 12,
        // Struct, union, section, 64-bit enum.
        KIND_STRUCT | 5 | KIND_DATASEC | 19 => count * 12,
        // Enum, prototype.
        6 | 13 => count * 8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(name: &str) -> MapDef {
        MapDef {
            name: name.to_owned(),
            numbers: [1, 4, 8, 16, 0],
        }
    }

    fn strings(data: &[u8]) -> Vec<String> {
        let btf = Btf::parse(data).unwrap();
        btf.strings
            .split(|byte| *byte == 0)
            .filter(|text| !text.is_empty())
            .map(|text| String::from_utf8(text.to_vec()).unwrap())
            .collect()
    }

    /// A way of pinning above all is none of the members.
    #[test]
    fn a_definition_has_these_members_and_no_others() {
        let data = with_maps(None, &[map("hits")]).unwrap();
        assert_eq!(
            strings(&data),
            [
                "unsigned char",
                "type",
                "key_size",
                "value_size",
                "max_entries",
                "map_flags",
                "hits",
                ".maps"
            ]
        );
    }

    #[test]
    fn what_was_there_keeps_its_ids_and_strings() {
        let before = with_maps(None, &[map("hits")]).unwrap();
        let after = with_maps(Some(&before), &[map("seen")]).unwrap();
        let (before, after) = (Btf::parse(&before).unwrap(), Btf::parse(&after).unwrap());
        assert!(after.strings.starts_with(before.strings));
        // All but the description of `.maps` itself, which comes last: a head and one variable.
        let kept = &before.types[..before.types.len() - HEAD - 12];
        assert!(after.types.starts_with(kept));
        let section = &after.types[after.types.len() - HEAD - 2 * 12..];
        assert_eq!(word(section, 4), Some(KIND_DATASEC << 24 | 2));
        let old = &before.types[before.types.len() - 12..];
        assert_eq!(&section[HEAD..HEAD + 12], old);
    }

    #[test]
    fn damaged_btf_is_refused() {
        let whole = with_maps(None, &[map("hits")]).unwrap();
        for length in 0..whole.len() {
            let error = with_maps(Some(&whole[..length]), &[map("seen")]).unwrap_err();
            assert!(matches!(error, Error::Damaged(_)), "{length}: {error}");
        }
        let mut unknown = whole;
        unknown[24 + 7] = 31;
        assert!(with_maps(Some(&unknown), &[]).is_err());
    }
}
