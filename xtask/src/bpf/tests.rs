//! What the comparison sees and what it does not, with the objects of the repo.

use std::ops::Range;

use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSection as _};

use super::compare::differences;
use super::{Change, MADE_BY, What, complaint};
use crate::sh;

/// A committed object.
fn object(name: &str) -> Vec<u8> {
    let path = sh::repo().join("bpf").join(name).with_extension("bpf.o");
    std::fs::read(path).unwrap()
}

/// Where the bytes of a section lie in the file.
fn section(object: &[u8], name: &str) -> Range<usize> {
    let elf = ElfFile64::<Endianness>::parse(object).unwrap();
    let (start, length) = elf.section_by_name(name).unwrap().file_range().unwrap();
    usize::try_from(start).unwrap()..usize::try_from(start + length).unwrap()
}

/// The one place of these bytes in a section.
fn place(object: &[u8], name: &str, bytes: &[u8]) -> usize {
    let range = section(object, name);
    let found: Vec<_> = (object[range.clone()].windows(bytes.len()).enumerate())
        .filter_map(|(at, window)| (window == bytes).then_some(range.start + at))
        .collect();
    assert_eq!(found.len(), 1, "{bytes:?} in {name}");
    found[0]
}

/// What differs when the bytes at a place are others.
fn told(object: &[u8], at: usize, bytes: &[u8]) -> Vec<String> {
    let mut changed = object.to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    assert_ne!(changed, object);
    differences(object, &changed).unwrap()
}

#[test]
fn an_object_does_not_differ_from_itself() {
    let object = object("test/core");
    assert_eq!(differences(&object, &object).unwrap(), [""; 0]);
}

#[test]
fn an_instruction_is_told_by_program_and_number() {
    let object = object("examples/xdp_pass");
    let start = section(&object, "xdp").start;
    assert_eq!(
        told(&object, start + 4, &[1]),
        ["program pass: instruction 0: b400000002000000 → b400000001000000"]
    );
}

#[test]
fn a_relocation_is_told_by_its_symbol() {
    let object = object("test/globals");
    // The upper half of the second word is the symbol's number.
    let number = section(&object, ".relxdp").start + 12;
    let other = object[number] + 1;
    assert_eq!(
        told(&object, number, &[other]),
        ["program globals: instruction 0, relocation: kind 1 global_u8 → kind 1 seen"]
    );
}

#[test]
fn the_size_of_a_map_is_told_by_name() {
    let object = object("test/xdp_trace");
    // An array of type 2, counted by type 4.
    let array = [2, 4, 1024].map(u32::to_le_bytes).concat();
    let at = place(&object, ".BTF", &array) + 8;
    assert_eq!(
        told(&object, at, &2048u32.to_le_bytes()),
        ["map trace: max_entries: 1024 → 2048"]
    );
}

#[test]
fn the_value_of_a_global_is_told_by_name() {
    let object = object("test/globals");
    let at = place(&object, ".rodata", &0x3333_3333u32.to_le_bytes());
    assert_eq!(
        told(&object, at, &[0x34]),
        ["variable global_u32: bytes: 33333333 → 34333333"]
    );
}

#[test]
fn a_function_of_another_name_is_told() {
    let object = object("examples/xdp_pass");
    let at = place(&object, ".strtab", b"\0pass\0");
    assert!(told(&object, at + 1, b"P").iter().any(|line| {
        line == "symbol pass: xdp + 0, 16 bytes, type 2, binding 1, other 0x0 → nothing"
    }));
    let at = place(&object, ".BTF", b"\0pass\0");
    assert!(
        told(&object, at + 1, b"P")
            .contains(&"program pass: instruction 0, function: func pass → func Pass".to_owned())
    );
}

#[test]
fn a_line_of_another_number_is_told() {
    let object = object("examples/xdp_pass");
    // The last word of the last record: line and column.
    let at = section(&object, ".BTF.ext").end - 4;
    let line = u32::from_le_bytes(object[at..at + 4].try_into().unwrap()) + (1 << 10);
    let told = told(&object, at, &line.to_le_bytes());
    let [line] = &told[..] else {
        panic!("{told:?}")
    };
    assert!(line.contains("xdp_pass.bpf.c:10:"), "{line}");
    assert!(
        line.contains(" → ") && line.contains("xdp_pass.bpf.c:11:"),
        "{line}"
    );
}

/// The two types that change places between machines are declared in `linux/bpf.h`, where
/// `__sk_buff` has a pointer to each.
#[test]
fn forward_declarations_may_stand_in_any_order() {
    let before = object("examples/tc_counter");
    let mut types = Vec::new();
    let range = section(&before, ".BTF");
    let word = |at: usize| u32::from_le_bytes(before[at..at + 4].try_into().unwrap());
    let [start, length] = [8, 12].map(|at| word(range.start + at) as usize);
    let mut at = range.start + 24 + start;
    let end = at + length;
    while at < end {
        let info = word(at + 4);
        let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        types.push((at, kind));
        at += 12
            + match kind {
                1 | 14 => 4,
                3 => 12,
                4 | 5 | 15 => count * 12,
                13 => count * 8,
                _ => 0,
            };
    }
    let numbers = |wanted| {
        (1u32..)
            .zip(&types)
            .filter(move |(_, (_, kind))| *kind == wanted)
    };
    let forward: Vec<_> = numbers(7).collect();
    let [(first, (one, _)), (second, (other, _))] = forward[..] else {
        panic!("{forward:?}")
    };

    let mut after = before.clone();
    let name = |at: &usize| *at..at + 4;
    after[name(one)].copy_from_slice(&before[name(other)]);
    after[name(other)].copy_from_slice(&before[name(one)]);
    // Now each pointer points at the other one.
    let told = differences(&before, &after).unwrap();
    assert!(
        told.iter().any(|line| line.contains("struct __sk_buff")),
        "{told:?}"
    );

    let mut moved = 0;
    for (_, (pointer, _)) in numbers(2) {
        let target = word(pointer + 8);
        let new = match target {
            target if target == first => second,
            target if target == second => first,
            _ => continue,
        };
        after[pointer + 8..pointer + 12].copy_from_slice(&new.to_le_bytes());
        moved += 1;
    }
    assert_eq!(moved, 2);
    assert_ne!(before, after);
    assert_eq!(differences(&before, &after).unwrap(), [""; 0]);
}

/// Nothing is left out by mistake: code, data, relocations, types, lines.
#[test]
fn every_byte_that_is_loaded_matters() {
    for name in [
        "test/globals",
        "test/tail_call",
        "test/core",
        "test/old_maps_bpfeb",
    ] {
        let object = object(name);
        let elf = ElfFile64::<Endianness>::parse(&*object).unwrap();
        for section in elf.sections() {
            let name = section.name().unwrap().to_owned();
            // Names are compared where they are used; the rest is for linkers.
            if matches!(&*name, ".strtab" | ".symtab" | ".llvm_addrsig") {
                continue;
            }
            let (start, length) = section.file_range().unwrap_or_default();
            for at in start..start + length {
                let mut changed = object.clone();
                changed[usize::try_from(at).unwrap()] ^= 0xff;
                let told = differences(&changed, &object).unwrap();
                assert!(!told.is_empty(), "byte {} of {name}", at - start);
            }
        }
    }
}

#[test]
fn a_damaged_object_is_told_as_that() {
    let object = object("examples/xdp_pass");
    for length in 0..object.len() {
        let told = differences(&object[..length], &object).unwrap();
        assert!(!told.is_empty(), "{length}");
    }
    assert!(differences(&object, b"").is_err());
}

#[test]
fn another_compiler_is_told_from_a_mistake() {
    let differs = Change {
        object: "test/core.bpf.o".into(),
        what: What::Differs {
            built: Vec::new(),
            differences: (0..9)
                .map(|n| format!("program p: instruction {n}: 0 → 1"))
                .collect(),
        },
    };
    let changes = [differs];
    let same = complaint(MADE_BY, &changes);
    assert!(
        same.contains("run `cargo xtask bpf` and commit them"),
        "{same}"
    );
    let other = complaint("19.1.8", &changes);
    assert!(other.contains("the compilers differ"), "{other}");
    for text in [same, other] {
        assert!(
            text.ends_with("instruction 2: 0 → 1\n    and 6 more"),
            "{text}"
        );
    }
}
