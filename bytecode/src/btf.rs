//! BTF: what the kernel reads of it is read here too, and the description of rewritten map
//! definitions is added to it. Formats: `Documentation/bpf/btf.rst` of the kernel.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
};

use object::{Endian as _, Endianness as Order};

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

    pub(crate) fn parse(btf: &Btf<'a>, ext: &'a [u8]) -> Option<Self> {
        if byte_order(ext)? != btf.order {
            return None;
        }
        let word = |data, offset| btf.word(data, offset);
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

/// The two parts of a `.BTF` section, of an object for any host.
pub(crate) struct Btf<'a> {
    order: Order,
    types: &'a [u8],
    strings: &'a [u8],
    /// How much more of names is read, in bytes. Names may overlap, so that a forged section of a
    /// few MB could have terabytes of them.
    room: Cell<usize>,
}

/// A type, by its fields. Ids count from 1.
#[derive(Clone, Copy)]
pub(crate) struct Type<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: u32,
    /// Size in bytes, or the id of another type.
    pub(crate) number: u32,
    pub(crate) body: &'a [u8],
    /// Head and body.
    record: &'a [u8],
}

impl<'a> Btf<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Option<Self> {
        let order = byte_order(data)?;
        let word = |offset| read_word(order, data, offset);
        let body = data.get(word(4)? as usize..)?;
        let types = slice(body, word(8)?, word(12)?)?;
        let strings = slice(body, word(16)?, word(20)?)?;
        // Libbpf and the kernel refuse others: the first string is the name of what has none.
        let sound = strings.first() == Some(&0) && strings.last() == Some(&0);
        sound.then_some(Self {
            order,
            types,
            strings,
            room: Cell::new(data.len().saturating_mul(8)),
        })
    }

    pub(crate) fn word(&self, data: &[u8], offset: usize) -> Option<u32> {
        read_word(self.order, data, offset)
    }

    /// All types, in the order of their ids.
    pub(crate) fn types(&self) -> Option<Vec<Type<'a>>> {
        let mut types = Vec::new();
        let mut rest = self.types;
        while !rest.is_empty() {
            let info = self.word(rest, 4)?;
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let (record, after) = rest.split_at_checked(HEAD + body_size(kind, count)?)?;
            types.push(Type {
                name: self.string(self.word(record, 0)?)?,
                kind,
                number: self.word(record, 8)?,
                body: record.get(HEAD..)?,
                record,
            });
            rest = after;
        }
        Some(types)
    }

    /// What is added to it is written in the order of the host.
    fn is_of_host(&self) -> bool {
        self.order == Order::default()
    }

    pub(crate) fn string(&self, offset: u32) -> Option<&'a str> {
        let rest = self.strings.get(offset as usize..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        // Also where there is no name, something was looked at.
        self.room.set(self.room.get().checked_sub(end + 1)?);
        str::from_utf8(&rest[..end]).ok()
    }
}

/// The byte order in which the magic number is right.
fn byte_order(data: &[u8]) -> Option<Order> {
    let first = *data.first_chunk()?;
    [Order::Little, Order::Big]
        .into_iter()
        .find(|order| order.read_u16(first) == MAGIC)
}

fn read_word(order: Order, data: &[u8], offset: usize) -> Option<u32> {
    Some(order.read_u32(*data.get(offset..)?.first_chunk()?))
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
pub(crate) const KIND_PTR: u32 = 2;
pub(crate) const KIND_ARRAY: u32 = 3;
pub(crate) const KIND_STRUCT: u32 = 4;
pub(crate) const KIND_VAR: u32 = 14;
pub(crate) const KIND_DATASEC: u32 = 15;
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
            let btf = Btf::parse(data).filter(Btf::is_of_host).ok_or(BROKEN)?;
            writer.strings = btf.strings.to_vec();
            writer.copy_types(&btf).ok_or(BROKEN)?;
        }
        Ok(writer)
    }

    /// Copies the types in their order, which is what numbers them. Descriptions of the sections
    /// that are made anew become pointers to nothing: libbpf would look for those sections.
    fn copy_types(&mut self, btf: &Btf<'_>) -> Option<()> {
        for ty in btf.types()? {
            if ty.kind == KIND_DATASEC && is_map_section(ty.name) {
                if ty.name == ".maps" {
                    for variable in ty.body.chunks_exact(12) {
                        let of = |offset| btf.word(variable, offset);
                        self.variables.push([of(0)?, of(4)?, of(8)?]);
                    }
                }
                self.add(0, KIND_PTR, 0, 0, &[]);
            } else {
                self.types.extend_from_slice(ty.record);
                self.last_id += 1;
            }
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
        assert_eq!(after.word(section, 4), Some(KIND_DATASEC << 24 | 2));
        let old = &before.types[before.types.len() - 12..];
        assert_eq!(&section[HEAD..HEAD + 12], old);
    }

    /// Found by the fuzzer: types without a name got the first bytes of the strings for one.
    #[test]
    fn strings_must_begin_with_the_empty_one() {
        let mut data = with_maps(None, &[map("hits")]).unwrap();
        let strings = data.len() - Btf::parse(&data).unwrap().strings.len();
        data[strings] = b'x';
        assert!(Btf::parse(&data).is_none());
        let error = with_maps(Some(&data), &[map("seen")]).unwrap_err();
        assert!(matches!(error, Error::Damaged(_)), "{error}");
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
