//! From the name of a function to its place in the file.

use std::{fs::File, io, ops::ControlFlow};

use object::{
    Endianness, FileKind, ReadCache,
    elf::{FileHeader32, FileHeader64, SHN_UNDEF, STT_FUNC, STT_GNU_IFUNC},
    read::elf::{FileHeader, Sym},
};

use super::{
    elf::{Elf, MAX_NAME, Table, damaged},
    root::Target,
};
use crate::{probe_error::ProbeError, suggest::Nearest};

/// A name stands in a table a few times at most; a forged one might have it everywhere.
const MAX_PLACES: usize = 1024;
/// Functions among which a suggestion is looked for.
const MAX_FUNCTIONS: usize = 4 << 20;

/// Bytes from the start of the file to the place `offset` bytes into a function, or into the
/// file when there is no function. Only places where code lies are answered.
///
/// The function may have a version, `name@VERSION`; without one it is the default version.
pub(super) fn file_offset(
    target: &Target,
    function: Option<&str>,
    offset: u64,
) -> Result<u64, ProbeError> {
    let cache = ReadCache::new(&target.file);
    match FileKind::parse(&cache) {
        Ok(FileKind::Elf64) => {
            resolve::<FileHeader64<Endianness>>(target, &cache, function, offset)
        }
        Ok(FileKind::Elf32) => {
            resolve::<FileHeader32<Endianness>>(target, &cache, function, offset)
        }
        Ok(_) => Err(unreadable(target)(damaged("not an ELF file"))),
        Err(error) => Err(unreadable(target)(damaged(error))),
    }
}

fn unreadable(target: &Target) -> impl Fn(io::Error) -> ProbeError {
    |source| {
        let path = target.path.clone();
        if source.kind() == io::ErrorKind::InvalidData {
            ProbeError::Elf { path, source }
        } else {
            ProbeError::Read { path, source }
        }
    }
}

fn resolve<'t, E: FileHeader<Endian = Endianness>>(
    target: &'t Target,
    cache: &'t ReadCache<&'t File>,
    function: Option<&str>,
    offset: u64,
) -> Result<u64, ProbeError> {
    let path = || target.path.clone();
    let elf = Elf::<E>::parse(&target.file, cache).map_err(unreadable(target))?;
    let Some(name) = function else {
        let code = elf.is_code(offset).then_some(offset);
        return code.ok_or_else(|| ProbeError::NotCode {
            path: path(),
            offset,
        });
    };
    let tables = elf.tables();
    let found = find(&elf, &tables, name).map_err(unreadable(target))?;
    let Some(Symbol { address, size, .. }) = found else {
        return Err(ProbeError::UnknownFunction {
            function: name.to_owned(),
            path: path(),
            stripped: tables.iter().all(|table| table.dynamic),
            similar: similar(&elf, &tables, name).map_err(unreadable(target))?,
        });
    };
    // Code that was written in assembler may say nothing of its size.
    if size != 0 && offset >= size {
        let function = name.to_owned();
        return Err(ProbeError::Offset {
            function,
            path: path(),
            offset,
            size,
        });
    }
    let place = address
        .checked_add(offset)
        .and_then(|address| elf.offset_of_code(address));
    place.ok_or_else(|| ProbeError::NotCode {
        path: path(),
        offset: address,
    })
}

#[derive(Clone, Copy, Debug)]
struct Symbol {
    index: usize,
    address: u64,
    size: u64,
    indirect: bool,
}

/// The function of that name: of the dynamic table first, its default version first, a plain
/// function before an indirect one.
fn find<E: FileHeader<Endian = Endianness>>(
    elf: &Elf<'_, E>,
    tables: &[Table],
    function: &str,
) -> io::Result<Option<Symbol>> {
    let (name, version) = split_version(function);
    for table in tables {
        let found = if table.dynamic {
            named(elf, table, name)?
        } else {
            // Here the version is a part of the name.
            let mut found = named(elf, table, function)?;
            if let Some(version) = version {
                found.extend(named(elf, table, &format!("{name}@{version}"))?);
                found.extend(named(elf, table, &format!("{name}@@{version}"))?);
            }
            found
        };
        let chosen = found
            .into_iter()
            .filter_map(|symbol| {
                let (theirs, other) = elf
                    .version(symbol.index)
                    .filter(|_| table.dynamic)
                    .unwrap_or_default();
                let fits = !table.dynamic || version.is_none_or(|v| *v.as_bytes() == theirs);
                fits.then_some(((other, symbol.indirect), symbol))
            })
            .min_by_key(|(order, _)| *order);
        if let Some((_, symbol)) = chosen {
            return Ok(Some(symbol));
        }
    }
    Ok(None)
}

/// `malloc@GLIBC_2.2.5` and `malloc@@GLIBC_2.2.5`.
fn split_version(function: &str) -> (&str, Option<&str>) {
    match function.split_once('@') {
        Some((name, version)) => (name, Some(version.trim_start_matches('@'))),
        None => (function, None),
    }
}

/// All functions of a table that have exactly this name.
fn named<E: FileHeader<Endian = Endianness>>(
    elf: &Elf<'_, E>,
    table: &Table,
    name: &str,
) -> io::Result<Vec<Symbol>> {
    let places = places(elf, table, name.as_bytes())?;
    let endian = elf.endian();
    let mut found = Vec::new();
    if places.is_empty() {
        return Ok(found);
    }
    elf.each_symbol(table, |index, symbol| {
        let is_named = places.binary_search(&symbol.st_name(endian)).is_ok();
        if is_named && is_function::<E>(symbol, endian) && found.len() < MAX_PLACES {
            found.push(Symbol {
                index,
                address: symbol.st_value(endian).into(),
                size: symbol.st_size(endian).into(),
                indirect: symbol.st_type() == STT_GNU_IFUNC,
            });
        }
    })?;
    Ok(found)
}

/// The places in the string table where a symbol of this name may point to, in order.
fn places<E: FileHeader<Endian = Endianness>>(
    elf: &Elf<'_, E>,
    table: &Table,
    name: &[u8],
) -> io::Result<Vec<u32>> {
    let mut places = Vec::new();
    if name.is_empty() || name.len() > MAX_NAME {
        return Ok(places);
    }
    elf.each_string(table, |end, string| {
        if string.ends_with(name) {
            places.extend(u32::try_from(end - name.len()));
        }
        if places.len() < MAX_PLACES {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    Ok(places)
}

fn is_function<E: FileHeader<Endian = Endianness>>(symbol: &E::Sym, endian: Endianness) -> bool {
    matches!(symbol.st_type(), STT_FUNC | STT_GNU_IFUNC)
        && symbol.st_shndx(endian) != SHN_UNDEF
        && symbol.st_value(endian).into() != 0
}

/// The function that is spelt most like `function`.
fn similar<E: FileHeader<Endian = Endianness>>(
    elf: &Elf<'_, E>,
    tables: &[Table],
    function: &str,
) -> io::Result<Option<String>> {
    let (wanted, _) = split_version(function);
    let mut nearest = Nearest::new(wanted);
    for table in tables {
        let mut functions = Vec::new();
        elf.each_symbol(table, |_, symbol| {
            if is_function::<E>(symbol, elf.endian()) && functions.len() < MAX_FUNCTIONS {
                functions.push(symbol.st_name(elf.endian()));
            }
        })?;
        functions.sort_unstable();
        elf.each_string(table, |end, string| {
            let start = u32::try_from(end - string.len());
            if start.is_ok_and(|start| functions.binary_search(&start).is_ok()) {
                if let Ok(name) = std::str::from_utf8(string) {
                    nearest.offer(split_version(name).0);
                }
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(nearest.finish())
}
