//! libbpf takes what this crate hands to it. Opening an object needs no privilege.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

#[allow(dead_code, reason = "not every test file uses all of it")]
mod common;

use bytecode::Object;
use common::{all, object};
use libbpf_rs::{MapType, ObjectBuilder, OpenObject};

fn open(bytes: &[u8]) -> OpenObject {
    ObjectBuilder::default().open_memory(bytes).unwrap()
}

/// Name, type, key size, value size, entries, flags: as the kernel will be asked for them.
fn definitions(bytes: &[u8]) -> Vec<(String, MapType, u32, u32, u32, u32)> {
    let mut found: Vec<_> = open(bytes)
        .maps()
        .map(|map| {
            (
                map.name().to_str().unwrap().to_owned(),
                map.map_type(),
                map.key_size(),
                map.value_size(),
                map.max_entries(),
                map.map_flags(),
            )
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[test]
fn every_object_opens_for_each_of_its_programs() {
    for name in all() {
        let object = object(&name);
        let open = open(object.bytes());
        for program in object.programs() {
            let found = open.progs().find(|p| p.name() == program.name());
            let section = found.map(|p| p.section().to_owned());
            assert_eq!(
                section.as_deref().and_then(|s| s.to_str()),
                Some(program.section()),
                "{name}: {}",
                program.name()
            );
            self::open(&object.bytes_for(program).unwrap());
        }
    }
}

#[test]
fn every_map_that_is_needed_exists() {
    for name in all() {
        let object = object(&name);
        let open = open(object.bytes());
        let maps: Vec<_> = open
            .maps()
            .map(|map| map.name().to_str().unwrap().to_owned())
            .collect();
        for program in object.programs() {
            for map in object.maps_of(program) {
                // libbpf puts the name of the object before the usual sections' names.
                let exists = maps
                    .iter()
                    .any(|m| *m == map || map.starts_with('.') && m.ends_with(&map));
                assert!(
                    exists || map == ".kconfig",
                    "{name}: {map} is not among {maps:?}"
                );
            }
        }
    }
}

#[test]
fn old_definitions_become_the_same_maps() {
    for name in [
        "test/old_maps.bpf.o",
        "test/old_maps_nobtf.bpf.o",
        "test/aya_maps.bpf.o",
        "test/aya_maps_nobtf.bpf.o",
        "test/aya_maps_pinned.bpf.o",
    ] {
        assert_eq!(
            definitions(object(name).bytes()),
            [
                ("counter".into(), MapType::Array, 4, 8, 1, 0),
                ("lengths".into(), MapType::Hash, 4, 8, 64, 1),
                ("per_cpu".into(), MapType::PercpuArray, 4, 8, 1, 0),
            ],
            "{name}"
        );
    }
}

#[test]
fn old_definitions_join_new_ones() {
    assert_eq!(
        definitions(object("test/old_maps_mixed.bpf.o").bytes()),
        [
            ("first".into(), MapType::Array, 4, 8, 3, 0),
            ("lone".into(), MapType::Array, 4, 8, 2, 0),
            ("modern".into(), MapType::Array, 4, 8, 1, 0),
            ("second".into(), MapType::Array, 4, 8, 4, 0),
            ("visible".into(), MapType::Array, 4, 8, 1, 0),
        ]
    );
    assert_eq!(
        definitions(object("test/old_maps_static_nobtf.bpf.o").bytes()),
        [
            ("first".into(), MapType::Array, 4, 8, 3, 0),
            ("second".into(), MapType::Array, 4, 8, 4, 0),
        ]
    );
}

/// Any number of entries, the largest too, where arrays of integers would overflow.
#[test]
fn large_numbers_survive() {
    let mut bytes = common::bytes("test/old_maps.bpf.o");
    let definition: Vec<u8> = [1_u32, 4, 8, 64, 1]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect();
    let at = bytes.windows(20).position(|w| w == definition).unwrap();
    bytes[at + 12..at + 16].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes[at + 8..at + 12].copy_from_slice(&(1_u32 << 30).to_le_bytes());
    let object = Object::parse(bytes).unwrap();
    assert_eq!(
        definitions(object.bytes())[1],
        ("lengths".into(), MapType::Hash, 4, 1 << 30, u32::MAX, 1)
    );
}

#[test]
fn values_of_unreached_program_arrays_are_left_out() {
    let object = object("test/tail_call.bpf.o");
    let program = |name: &str| object.programs().iter().find(|p| p.name() == name).unwrap();
    assert_eq!(
        &*object.bytes_for(program("entry")).unwrap(),
        object.bytes()
    );
    let alone = object.bytes_for(program("target")).unwrap();
    assert_ne!(&*alone, object.bytes());
    assert_eq!(alone.len(), object.bytes().len());
    // Inner maps are filled in only when their outer map is made.
    let maps = self::object("test/maps_xdp.bpf.o");
    for program in maps.programs() {
        assert_eq!(
            &*maps.bytes_for(program).unwrap(),
            maps.bytes(),
            "{}",
            program.name()
        );
    }
}

/// How libbpf sees a symbol that it has to find in the kernel.
fn is_weak(bytes: &[u8], name: &str) -> bool {
    use object::{Object as _, ObjectSymbol as _};
    let file = object::File::parse(bytes).unwrap();
    file.symbols()
        .find(|symbol| symbol.name() == Ok(name))
        .unwrap()
        .is_weak()
}

#[test]
fn what_only_siblings_call_in_the_kernel_may_be_missing() {
    let object = object("test/kfunc_sibling.bpf.o");
    let program = |name: &str| object.programs().iter().find(|p| p.name() == name).unwrap();
    let bytes = |name| object.bytes_for(program(name)).unwrap();
    assert!(is_weak(&bytes("good"), "bpfman_no_such_kfunc"));
    assert!(!is_weak(&bytes("insists"), "bpfman_no_such_kfunc"));
}
