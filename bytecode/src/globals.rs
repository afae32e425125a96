//! Global variables, from ELF symbols: objects without BTF have them too.

use crate::{
    Error, Object,
    elf::{Elf, Kind},
    error::similar,
};
use object::elf::{STB_LOCAL, STT_OBJECT};

/// A variable that can be set before the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Its symbol.
    pub name: String,
    /// The map that holds it, by the name of its section: `.rodata`, `.data`, `.bss`,
    /// `.rodata.foo`, ….
    pub map: String,
    /// First byte in the map's value.
    pub offset: u64,
    /// In bytes.
    pub size: u64,
}

/// Bytes that go into the initial value of a map, checked against the variable that they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The map, by the name of its section.
    pub map: String,
    /// First byte to write in the map's value; the whole patch lies within the value.
    pub offset: usize,
    /// What to write, in the byte order of the host.
    pub value: Vec<u8>,
}

impl Object {
    /// The change that sets a variable. `value` must have exactly its size.
    pub fn patch(&self, name: &str, value: &[u8]) -> Result<Patch, Error> {
        let global = self
            .globals()
            .iter()
            .find(|global| global.name == name)
            .ok_or_else(|| Error::NoSuchGlobal {
                name: name.to_owned(),
                similar: similar(
                    name,
                    self.globals().iter().map(|global| global.name.as_str()),
                ),
                globals: self
                    .globals()
                    .iter()
                    .map(|g| (g.name.clone(), g.size))
                    .collect(),
            })?;
        if value.len() as u64 != global.size {
            return Err(Error::GlobalSize {
                name: name.to_owned(),
                size: global.size,
                given: value.len(),
            });
        }
        let offset = usize::try_from(global.offset)
            .map_err(|_| Error::Damaged("a variable lies outside of its section"))?;
        Ok(Patch {
            map: global.map.clone(),
            offset,
            value: value.to_vec(),
        })
    }
}

pub(crate) fn collect(elf: &Elf<'_>) -> Result<Vec<Global>, Error> {
    let mut globals = Vec::new();
    for symbol in elf.symbols() {
        let symbol = symbol?;
        let Some(section) = symbol.section.and_then(|index| elf.section(index)) else {
            continue;
        };
        if section.kind != Kind::Data || symbol.kind != STT_OBJECT || symbol.size == 0 {
            continue;
        }
        // What is local to a function, such as format strings, has a dot in its name.
        let local = symbol.bind == STB_LOCAL;
        if local
            && !symbol
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            continue;
        }
        if symbol
            .value
            .checked_add(symbol.size)
            .is_none_or(|end| end > section.size)
        {
            return Err(Error::Damaged("a variable lies outside of its section"));
        }
        let global = Global {
            name: symbol.name.to_owned(),
            map: section.name.to_owned(),
            offset: symbol.value,
            size: symbol.size,
        };
        globals.push((local, global));
    }
    // Of two variables of one name the one that other files can see is meant.
    globals.sort_by_key(|(local, _)| *local);
    Ok(globals.into_iter().map(|(_, global)| global).collect())
}
