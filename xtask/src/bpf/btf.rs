//! BTF in words: each type by what it is, and what it refers to by name. Formats:
//! `Documentation/bpf/btf.rst` of the kernel.
//!
//! A reader of its own, beside the one in `bytecode`: that one reads what a loader asks for, no
//! members and no lines, and its crate would bring registries and TLS into xtask, for whose build
//! every newcomer waits.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use object::{Endian as _, Endianness};

use super::facts::{Fact, Relocations};

const MAGIC: u16 = 0xeb9f;
/// The kinds of types by their numbers.
const KINDS: [&str; 20] = [
    "void", "int", "ptr", "array", "struct", "union", "enum", "fwd", "typedef", "volatile",
    "const", "restrict", "func", "proto", "var", "datasec", "float", "decl_tag", "type_tag",
    "enum64",
];
/// What has a name is referred to by it, save for this: a modifier, whose name is its value.
const TYPE_TAG: usize = 18;
/// By which the compiler counts the elements of every array.
const INDEX: &str = "int __ARRAY_SIZE_TYPE__";
/// The kind of relocation of an offset in a section of code.
const MOVED: &str = "kind 4";
/// Types without a name contain each other no deeper, unless they go in a circle.
const DEEP: usize = 32;

/// Numbers at offsets.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    data: &'a [u8],
    order: Endianness,
}

impl Bytes<'_> {
    fn word(&self, at: usize) -> Result<u32> {
        let bytes = self.data.get(at..).and_then(<[u8]>::first_chunk);
        Ok(self.order.read_u32(*bytes.context("it is cut off")?))
    }

    /// The length of the header, which must be one of `known`: a longer one would say more.
    fn header(&self, known: &[u32]) -> Result<usize> {
        let start = self.data.first_chunk().context("it is cut off")?;
        ensure!(
            self.order.read_u16(*start) == MAGIC,
            "it has no magic number"
        );
        ensure!(
            self.data.get(2..4) == Some(&[1, 0]),
            "it is of no known version"
        );
        let length = self.word(4)?;
        ensure!(known.contains(&length), "its header has {length} bytes");
        Ok(length as usize)
    }

    /// The parts of the section whose offsets behind the header, and lengths, stand at these
    /// places. They must be all that there is.
    fn parts(&self, header: usize, places: &[usize]) -> Result<Vec<Range<usize>>> {
        let mut parts = Vec::new();
        let mut end = header;
        for place in places {
            let start = header + self.word(*place)? as usize;
            ensure!(start == end, "something is between its parts");
            end = start + self.word(place + 4)? as usize;
            ensure!(end <= self.data.len(), "it is cut off");
            parts.push(start..end);
        }
        ensure!(end == self.data.len(), "something is behind its parts");
        Ok(parts)
    }
}

/// The section `.BTF`.
pub(super) struct Btf<'a> {
    bytes: Bytes<'a>,
    moved: &'a Relocations,
    strings: &'a [u8],
    /// By number; 0 is void.
    types: Vec<Type<'a>>,
}

#[derive(Default, Clone, Copy)]
struct Type<'a> {
    name: &'a str,
    kind: usize,
    flag: bool,
    count: usize,
    /// Size, or the number of another type.
    number: u32,
    /// Where the rest stands.
    body: usize,
}

impl<'a> Btf<'a> {
    /// `moved` are the relocations of the section.
    pub(super) fn read(data: &'a [u8], order: Endianness, moved: &'a Relocations) -> Result<Self> {
        let bytes = Bytes { data, order };
        let header = bytes.header(&[24])?;
        let parts = bytes.parts(header, &[8, 16])?;
        let [part, strings] = &parts[..] else {
            bail!("it has other parts");
        };
        let mut btf = Self {
            bytes,
            moved,
            strings: &data[strings.clone()],
            types: vec![Type::default()],
        };
        let mut at = part.start;
        while at < part.end {
            let info = bytes.word(at + 4)?;
            let ty = Type {
                name: btf.string(bytes.word(at)?)?,
                kind: (info >> 24 & 0x7f) as usize,
                flag: info >> 31 == 1,
                count: (info & 0xff_ffff) as usize,
                number: bytes.word(at + 8)?,
                body: at + 12,
            };
            let rest = ty
                .rest()
                .with_context(|| format!("type {}", btf.types.len()))?;
            at = ty.body + rest;
            btf.types.push(ty);
        }
        ensure!(at == part.end, "its types are cut off");
        Ok(btf)
    }

    fn string(&self, at: u32) -> Result<&'a str> {
        let rest = self.strings.get(at as usize..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == 0);
        let text = &rest[..end.context("a name is cut off")?];
        ensure!(at == 0 || !text.is_empty(), "a name is empty");
        std::str::from_utf8(text).context("a name is no text")
    }

    fn get(&self, number: u32) -> Result<Type<'a>> {
        let ty = self.types.get(number as usize);
        ty.copied()
            .with_context(|| format!("there is no type {number}"))
    }

    /// Every type that has a name, and every map by its properties. Types without a name are told
    /// where they are used, and counted.
    pub(super) fn facts(&self) -> Result<Vec<Fact>> {
        let mut facts = vec![Fact::new("BTF: types", self.types.len().to_string())];
        let maps = self.maps()?;
        for (ty, number) in self.types.iter().zip(0..) {
            if maps.contains(&number) {
                facts.extend(self.map(ty)?);
            } else if !ty.name.is_empty() {
                facts.push(Fact::new(format!("BTF {}", ty.title()), self.body(ty, 0)?));
            }
        }
        Ok(facts)
    }

    /// The numbers of the variables in `.maps` whose types have no name, as the macros define them.
    fn maps(&self) -> Result<BTreeSet<u32>> {
        let mut maps = BTreeSet::new();
        for section in self.types.iter().filter(|ty| ty.title() == "datasec .maps") {
            for nth in 0..section.count {
                let number = self.bytes.word(section.body + nth * 12)?;
                let of = self.get(self.get(number)?.number)?;
                if of.title() == "struct " {
                    maps.insert(number);
                }
            }
        }
        Ok(maps)
    }

    fn map(&self, variable: &Type<'_>) -> Result<Vec<Fact>> {
        let definition = self.get(variable.number)?;
        let name = variable.name;
        let linkage = self.bytes.word(variable.body)?;
        let (size, flag) = (definition.number, definition.flag);
        let mut head = format!("{size} bytes, flag {flag}, linkage {linkage}, ");
        let mut facts = Vec::new();
        for nth in 0..definition.count {
            let at = definition.body + nth * 12;
            let (member, of) = (self.string(self.bytes.word(at)?)?, self.bytes.word(at + 4)?);
            write!(head, "{member} at {:#x}; ", self.bytes.word(at + 8)?)?;
            let value = match self.length(of)? {
                Some(number) => number.to_string(),
                None => self.refer(of, 0)?,
            };
            facts.push(Fact::new(format!("map {name}: {member}"), value));
        }
        facts.push(Fact::new(format!("map {name}: definition"), head));
        Ok(facts)
    }

    /// The number that a pointer to an array of int says by the array's length.
    fn length(&self, number: u32) -> Result<Option<u32>> {
        let pointer = self.get(number)?;
        let array = self.get(pointer.number)?;
        if KINDS[pointer.kind] != "ptr" || KINDS[array.kind] != "array" {
            return Ok(None);
        }
        let (of, by) = (
            self.bytes.word(array.body)?,
            self.bytes.word(array.body + 4)?,
        );
        let usual = self.refer(of, 0)? == "int int" && self.refer(by, 0)? == INDEX;
        let length = self.bytes.word(array.body + 8)?;
        Ok(usual.then_some(length))
    }

    /// A type by its name, or, where it has none, by what it is.
    fn refer(&self, number: u32, deep: usize) -> Result<String> {
        ensure!(deep < DEEP, "its types refer to each other in a circle");
        let ty = self.get(number)?;
        if !ty.name.is_empty() && ty.kind != TYPE_TAG {
            return Ok(ty.title());
        }
        let body = self.body(&ty, deep + 1)?;
        Ok(format!("{} {body}", ty.title().trim_end())
            .trim_end()
            .to_owned())
    }

    /// What a type is, without its name.
    fn body(&self, ty: &Type<'_>, deep: usize) -> Result<String> {
        let word = |index: usize| self.bytes.word(ty.body + index * 4);
        let refer = |number| self.refer(number, deep);
        Ok(match KINDS[ty.kind] {
            "void" => String::new(),
            "int" => format!("{} bytes, encoding {:#x}", ty.number, word(0)?),
            "float" => format!("{} bytes", ty.number),
            "ptr" | "typedef" | "volatile" | "const" | "restrict" | "type_tag" => {
                format!("to {}", refer(ty.number)?)
            }
            "array" => format!(
                "[{}] of {} by {}",
                word(2)?,
                refer(word(0)?)?,
                refer(word(1)?)?
            ),
            "struct" | "union" => self.members(ty, deep)?,
            "enum" | "enum64" => self.values(ty)?,
            "fwd" if ty.flag => "of a union".to_owned(),
            "fwd" => "of a struct".to_owned(),
            "func" => format!("linkage {}, {}", ty.count, refer(ty.number)?),
            "proto" => {
                let mut text = String::from("(");
                for nth in 0..ty.count {
                    let (name, of) = (self.string(word(nth * 2)?)?, refer(word(nth * 2 + 1)?)?);
                    write!(text, "{name}: {of}, ")?;
                }
                format!("{text}) returns {}", refer(ty.number)?)
            }
            "var" => format!("linkage {}, {}", word(0)?, refer(ty.number)?),
            "datasec" => self.variables(ty)?,
            "decl_tag" => format!("on part {:#x} of {}", word(0)?, refer(ty.number)?),
            other => bail!("a type of kind {other}"),
        })
    }

    fn members(&self, ty: &Type<'_>, deep: usize) -> Result<String> {
        let mut text = format!("{} bytes, flag {}, {{", ty.number, ty.flag);
        for nth in 0..ty.count {
            let at = ty.body + nth * 12;
            let name = self.string(self.bytes.word(at)?)?;
            let of = self.refer(self.bytes.word(at + 4)?, deep)?;
            // With the flag, the upper eight bits are the width of a bit field.
            let place = self.bytes.word(at + 8)?;
            write!(text, "{name}: {of} at {place:#x}; ")?;
        }
        Ok(text + "}")
    }

    fn values(&self, ty: &Type<'_>) -> Result<String> {
        let words = if KINDS[ty.kind] == "enum" { 2 } else { 3 };
        let mut text = format!("{} bytes, flag {}, {{", ty.number, ty.flag);
        for nth in 0..ty.count {
            let at = ty.body + nth * words * 4;
            write!(text, "{} =", self.string(self.bytes.word(at)?)?)?;
            for word in 1..words {
                write!(text, " {:#x}", self.bytes.word(at + word * 4)?)?;
            }
            text.push_str("; ");
        }
        Ok(text + "}")
    }

    /// The offsets of variables are 0 until they are relocated.
    fn variables(&self, ty: &Type<'_>) -> Result<String> {
        let mut text = format!("{} bytes, {{", ty.number);
        for nth in 0..ty.count {
            let at = ty.body + nth * 12;
            let variable = self.refer(self.bytes.word(at)?, 0)?;
            let (offset, size) = (self.bytes.word(at + 4)?, self.bytes.word(at + 8)?);
            let moved = self.moved.get(&(at as u64 + 4)).map_or("", String::as_str);
            write!(text, "{variable}: {size} bytes at {offset} {moved}; ")?;
        }
        Ok(text + "}")
    }
}

impl Type<'_> {
    fn title(&self) -> String {
        format!("{} {}", KINDS[self.kind], self.name)
    }

    /// How many bytes stand behind the head of a type. What says nothing in a head is 0.
    fn rest(&self) -> Result<usize> {
        let kind = *KINDS.get(self.kind).unwrap_or(&"void");
        ensure!(kind != "void", "it is of kind {}", self.kind);
        let (flag, many) = match kind {
            "struct" | "union" | "enum" | "enum64" => (true, true),
            "fwd" => (true, false),
            "func" | "proto" | "datasec" => (false, true),
            _ => (false, false),
        };
        let sound = (flag || !self.flag) && self.count <= if many { 0xffff } else { 0 };
        let nameless = matches!(
            kind,
            "ptr" | "array" | "volatile" | "const" | "restrict" | "proto"
        );
        let sound = sound && (self.name.is_empty() || !nameless);
        ensure!(sound, "it has more in its head than a {kind} has");
        ensure!(
            !matches!(kind, "array" | "fwd") || self.number == 0,
            "a {kind} has no size"
        );
        Ok(match kind {
            "int" | "var" | "decl_tag" => 4,
            "array" => 12,
            "struct" | "union" | "datasec" | "enum64" => self.count * 12,
            "enum" | "proto" => self.count * 8,
            _ => 0,
        })
    }
}

/// The section `.BTF.ext`: what is so at instructions.
pub(super) struct Ext<'a> {
    bytes: Bytes<'a>,
    btf: &'a Btf<'a>,
    moved: &'a Relocations,
}

impl<'a> Ext<'a> {
    /// `moved` are the relocations of the section.
    pub(super) fn new(data: &'a [u8], btf: &'a Btf<'a>, moved: &'a Relocations) -> Self {
        let order = btf.bytes.order;
        let bytes = Bytes { data, order };
        Self { bytes, btf, moved }
    }

    /// `at` has words for an offset in a section.
    pub(super) fn facts(&self, at: &dyn Fn(&str, u64) -> String) -> Result<Vec<Fact>> {
        // Without CO-RE, the header may end before its place.
        let header = self.bytes.header(&[24, 32])?;
        let places: &[usize] = if header == 24 { &[8, 16] } else { &[8, 16, 24] };
        let parts = self.bytes.parts(header, places)?;
        let mut facts = Vec::new();
        for (part, (what, words)) in parts
            .iter()
            .zip([("function", 2), ("line", 4), ("CO-RE", 4)])
        {
            if !part.is_empty() {
                facts.extend(self.records(part, what, words * 4, at)?);
            }
        }
        Ok(facts)
    }

    /// Reads records of so many bytes.
    fn records(
        &self,
        part: &Range<usize>,
        what: &str,
        size: usize,
        at: &dyn Fn(&str, u64) -> String,
    ) -> Result<Vec<Fact>> {
        let mut facts = Vec::new();
        let says = self.bytes.word(part.start)? as usize;
        ensure!(says == size, "its records of a {what} have {says} bytes");
        let mut next = part.start + 4;
        while next < part.end {
            let section = self.btf.string(self.bytes.word(next)?)?;
            let count = self.bytes.word(next + 4)? as usize;
            next += 8;
            for record in (next..next + count * size).step_by(size) {
                let offset = self.bytes.word(record)?;
                let mut value = self.value(what, record)?;
                let moved = self.moved.get(&(record as u64));
                let moved = moved.map_or("", String::as_str);
                if moved != format!("{MOVED} section {section}") {
                    write!(value, " in {moved}")?;
                }
                let place = at(section, offset.into());
                facts.push(Fact::new(format!("{place}, {what}"), value));
            }
            next += count * size;
        }
        ensure!(next == part.end, "its records of a {what} are cut off");
        Ok(facts)
    }

    fn value(&self, what: &str, record: usize) -> Result<String> {
        let word = |index: usize| self.bytes.word(record + index * 4);
        let text = |index| self.btf.string(word(index)?);
        Ok(match what {
            "function" => self.btf.refer(word(1)?, 0)?,
            "line" => {
                let (line, column) = (word(3)? >> 10, word(3)? & 0x3ff);
                format!("{}:{line}:{column} {}", text(1)?, text(2)?)
            }
            _ => format!(
                "{} of {}, kind {}",
                text(2)?,
                self.btf.refer(word(1)?, 0)?,
                word(3)?
            ),
        })
    }
}
