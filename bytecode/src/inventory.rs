//! What an object contains, for whichever host it was compiled: enough to label an image with.

use std::collections::BTreeMap;

use object::elf::STT_FUNC;

use crate::{
    Endianness, Error,
    btf::Btf,
    elf::{Elf, Kind, Section, Symbol},
    legacy, map_type,
};

/// What an object declares. Unlike [`Object`](crate::Object) it can be had of an object that this
/// host cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// Of the hosts that can run it.
    pub endianness: Endianness,
    /// Name and ELF section of each entry function, in the order of the symbol table; never empty.
    pub programs: Vec<(String, String)>,
    /// Type number (`enum bpf_map_type`) of each map, without those that hold global variables.
    pub maps: BTreeMap<String, u32>,
}

impl Inventory {
    /// Reads the tables of an object.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let elf = Elf::parse_foreign(bytes)?;
        let mut programs = Vec::new();
        for symbol in elf.symbols() {
            let symbol = symbol?;
            if let Some(section) = entry_section(&elf, &symbol)
                && symbol.size > 0
            {
                programs.push((symbol.name.to_owned(), program_section(section.name)));
            }
        }
        if programs.is_empty() {
            return Err(Error::NoPrograms);
        }
        let maps = legacy::map_types(&elf)?.into_iter().chain(described(&elf)?);
        Ok(Self {
            endianness: elf.endianness(),
            programs,
            maps: maps
                .map(|(name, number)| (name.to_owned(), number))
                .collect(),
        })
    }
}

/// The section of a symbol that is an entry function.
pub(crate) fn entry_section<'e, 'a>(
    elf: &'e Elf<'a>,
    symbol: &Symbol<'a>,
) -> Option<&'e Section<'a>> {
    let section = elf.section(symbol.section?)?;
    let entry = section.kind == Kind::Code && section.name != ".text";
    (entry && symbol.kind == STT_FUNC).then_some(section)
}

/// A section's name without the `?` that asks libbpf not to load its programs by default.
pub(crate) fn program_section(name: &str) -> String {
    name.strip_prefix('?').unwrap_or(name).to_owned()
}

/// The BTF of the maps that only BTF describes; none where there are no such maps.
pub(crate) fn btf_of_maps<'a>(elf: &Elf<'a>) -> Result<Option<&'a [u8]>, Error> {
    if elf
        .sections()
        .iter()
        .all(|section| section.kind != Kind::Maps)
    {
        return Ok(None);
    }
    let btf = elf.by_name(".BTF").ok_or(Error::MapsWithoutBtf)?;
    elf.data(btf).map(Some)
}

fn described<'a>(elf: &Elf<'a>) -> Result<Vec<(&'a str, u32)>, Error> {
    let Some(btf) = btf_of_maps(elf)? else {
        return Ok(Vec::new());
    };
    Btf::parse(btf)
        .as_ref()
        .and_then(map_type::declared)
        .ok_or(Error::Damaged("its BTF contradicts itself"))
}
