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
    let (wanted, version) = split_version(function);
    if version.is_some() && find(elf, tables, wanted)?.is_some() {
        return Ok(Some(wanted.to_owned()));
    }
    let mut nearest = Nearest::new(wanted);
    for table in tables {
        let mut functions = Vec::new();
        elf.each_symbol(table, |_, symbol| {
            if is_function::<E>(symbol, elf.endian()) && functions.len() < MAX_FUNCTIONS {
                functions.push(symbol.st_name(elf.endian()));
            }
        })?;
        functions.sort_unstable();
        functions.dedup();
        elf.each_string(table, |end, string| {
            let start = end - string.len();
            // Names that end alike share one string.
            let first = functions.partition_point(|place| (*place as usize) < start);
            let here = functions.iter().skip(first).map(|place| *place as usize);
            for place in here.take_while(|place| *place < end) {
                let name = string.get(place - start..).map(std::str::from_utf8);
                if let Some(Ok(name)) = name {
                    nearest.offer(split_version(name).0);
                }
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(nearest.finish())
}

#[cfg(test)]
mod tests {
    use super::{
        super::forge::{CODE, CODE_SIZE, FUNC, Forge, IFUNC, OBJECT, Symbol},
        *,
    };

    /// Not the default version.
    const OLD: u16 = 1 << 15;

    const EXPORTED: &[Symbol<'_>] = &[
        ("__libc_malloc", FUNC, Some(0x10), 0x10, 1),
        ("malloc", FUNC, Some(0x10), 0x10, 1),
        ("memcpy", FUNC, Some(0x20), 0x10, OLD | 2),
        ("memcpy", FUNC, Some(0x30), 0x10, 3),
        ("strlen", IFUNC, Some(0x40), 0x10, 1),
        ("environ", OBJECT, Some(0x50), 8, 1),
        ("free", FUNC, None, 0, 0),
        ("assembler", FUNC, Some(0x60), 0, 1),
    ];
    const LOCAL: &[Symbol<'_>] = &[
        ("helper", FUNC, Some(0x80), 0x10, 0),
        ("kept@V2", FUNC, Some(0x90), 0x10, 0),
        ("data", FUNC, Some(CODE_SIZE), 0x10, 0),
    ];
    const NATIVE: Forge = Forge {
        wide: true,
        big: false,
        address: 0x2000,
    };

    fn ask(bytes: &[u8], function: Option<&str>, offset: u64) -> Result<u64, ProbeError> {
        file_offset(&Forge::target(bytes), function, offset)
    }

    #[test]
    fn functions_of_every_class_byte_order_and_base() {
        for (wide, big, address) in [
            (true, false, 0x2000),
            (true, true, 0x40_1000),
            (false, false, 0x1000),
            (false, true, 0x800_0000),
        ] {
            let forge = Forge { wide, big, address };
            let bytes = forge.file(EXPORTED, Some(LOCAL));
            for (function, offset, place) in [
                ("malloc", 0, 0x10),
                ("__libc_malloc", 4, 0x14),
                ("memcpy", 0, 0x30),
                ("memcpy@V2", 0, 0x20),
                ("memcpy@@V3", 1, 0x31),
                ("strlen", 0, 0x40),
                ("assembler", 0x20, 0x80),
                ("helper", 0xf, 0x8f),
                ("kept@V2", 0, 0x90),
                ("kept@@V2", 0, 0x90),
            ] {
                let found = ask(&bytes, Some(function), offset).map_err(|error| error.to_string());
                assert_eq!(found, Ok(CODE + place), "{forge:?} {function}");
            }
        }
    }

    #[test]
    fn what_is_no_function_here() {
        let bytes = NATIVE.file(EXPORTED, Some(LOCAL));
        for name in [
            "environ",
            "free",
            "alloc",
            "memcpy@V9",
            "helper@V2",
            "kept",
            "",
        ] {
            let result = ask(&bytes, Some(name), 0);
            assert!(
                matches!(result, Err(ProbeError::UnknownFunction { .. })),
                "{name}"
            );
        }
    }

    #[test]
    fn suggestions_and_stripped_files() {
        let unknown = |local, name| match ask(&NATIVE.file(EXPORTED, local), Some(name), 0) {
            Err(ProbeError::UnknownFunction {
                stripped, similar, ..
            }) => (stripped, similar),
            other => panic!("{other:?}"),
        };
        // Its name is the end of __libc_malloc.
        assert_eq!(
            unknown(Some(LOCAL), "mallco"),
            (false, Some("malloc".to_owned()))
        );
        assert_eq!(unknown(None, "helper"), (true, None));
        assert_eq!(
            unknown(Some(LOCAL), "helpre"),
            (false, Some("helper".to_owned()))
        );
        assert_eq!(unknown(Some(LOCAL), "enviro"), (false, None));
        assert_eq!(
            unknown(Some(LOCAL), "memcpy@V9"),
            (false, Some("memcpy".to_owned()))
        );
    }

    #[test]
    fn places_without_code() {
        let bytes = NATIVE.file(EXPORTED, Some(LOCAL));
        let last = CODE + CODE_SIZE - 1;
        assert_eq!(ask(&bytes, None, last).ok(), Some(last));
        for offset in [0, CODE - 1, CODE + CODE_SIZE, u64::MAX] {
            assert!(
                matches!(ask(&bytes, None, offset), Err(ProbeError::NotCode { .. })),
                "{offset}"
            );
        }
        assert!(matches!(
            ask(&bytes, Some("data"), 0),
            Err(ProbeError::NotCode { .. })
        ));
        let behind = ask(&bytes, Some("malloc"), 0x10);
        assert!(matches!(behind, Err(ProbeError::Offset { size: 0x10, .. })));
        let far = ask(&bytes, Some("assembler"), u64::MAX);
        assert!(matches!(far, Err(ProbeError::NotCode { .. })));
    }

    #[test]
    fn damaged_files_do_no_harm() {
        let whole = NATIVE.file(EXPORTED, Some(LOCAL));
        for length in (0..whole.len()).step_by(7) {
            let found = ask(&whole[..length], Some("helper"), 0);
            assert!(
                found.is_err() || found.is_ok_and(|at| at == CODE + 0x80),
                "{length}"
            );
        }
        for at in (0..0x80).chain(usize::try_from(CODE + CODE_SIZE).unwrap()..whole.len()) {
            for value in [0, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = ask(&bytes, Some("helper"), 0);
                let _ = ask(&bytes, Some("memcpy@V2"), 0);
                let _ = ask(&bytes, Some("mallco"), 0);
            }
        }
    }

    /// 60,000 symbol tables that all lie in the same place take no longer than one.
    #[test]
    fn tables_that_overlap_take_no_longer() {
        let mut bytes = NATIVE.file(EXPORTED, Some(LOCAL));
        let headers = u64::from_le_bytes(*bytes[40..].first_chunk().unwrap());
        let count = usize::from(u16::from_le_bytes(*bytes[60..].first_chunk().unwrap()));
        let mut table = bytes[usize::try_from(headers).unwrap()..][..count * 64].to_vec();
        let of = |kind| {
            table
                .chunks(64)
                .position(|header| header[4] == kind)
                .unwrap()
        };
        let (symbols, strings) = (of(2), of(3));
        let one = table[symbols * 64..][..64].to_vec();
        // 4 MB of names, in which nothing is found.
        let place = [bytes.len() as u64, 4 << 20].map(u64::to_le_bytes);
        table[strings * 64 + 24..][..16].copy_from_slice(place.as_flattened());
        bytes.resize(bytes.len() + (4 << 20), 0);
        table.extend(one.repeat(60_000));
        let start = (bytes.len() as u64).to_le_bytes();
        bytes[40..48].copy_from_slice(&start);
        let count = u16::try_from(table.len() / 64).unwrap();
        bytes[60..62].copy_from_slice(&count.to_le_bytes());
        bytes.extend(table);
        let start = std::time::Instant::now();
        let found = ask(&bytes, Some("no such function"), 0);
        assert!(found.is_err());
        let took = start.elapsed();
        assert!(took.as_secs() < 30, "took {took:?}");
    }

    #[test]
    fn a_text_is_no_elf_file() {
        assert!(matches!(
            ask(b"#!/bin/sh", Some("main"), 0),
            Err(ProbeError::Elf { .. })
        ));
        assert!(matches!(
            ask(b"", Some("main"), 0),
            Err(ProbeError::Elf { .. })
        ));
    }
}
