//! What objects declare, whatever hosts they are for.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

#[allow(dead_code, reason = "not every test file uses all of it")]
mod common;

use std::collections::BTreeSet;

use bytecode::{Endianness, Error, Inventory, map_type_name};
use common::{all, bytes, object};

fn inventory(name: &str) -> Inventory {
    Inventory::read(&bytes(name)).unwrap_or_else(|error| panic!("bpf/{name}: {error}"))
}

/// Name and type of each map, one a line.
fn maps(name: &str) -> String {
    let maps = inventory(name).maps;
    let lines = maps
        .iter()
        .map(|(map, number)| format!("{map} {}", map_type_name(*number)));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn programs_are_those_that_can_be_loaded() {
    for name in all() {
        let inventory = inventory(&name);
        let object = object(&name);
        let declared: BTreeSet<_> = inventory
            .programs
            .iter()
            .map(|(name, section)| (name.as_str(), section.as_str()))
            .collect();
        let loadable: BTreeSet<_> = object
            .programs()
            .iter()
            .map(|program| (program.name(), program.section()))
            .collect();
        assert_eq!(declared, loadable, "{name}");
        assert_eq!(inventory.endianness, Endianness::HOST, "{name}");
    }
}

/// Every map that a program needs is declared, but for those of global variables.
#[test]
fn maps_are_those_that_programs_use() {
    for name in all() {
        let declared = inventory(&name).maps;
        let object = object(&name);
        for program in object.programs() {
            for map in object.maps_of(program) {
                assert_eq!(
                    !map.starts_with('.'),
                    declared.contains_key(&map),
                    "{name}: {map}"
                );
            }
        }
    }
}

#[test]
fn every_type_of_map_has_its_word() {
    assert_eq!(
        maps("test/maps_xdp.bpf.o"),
        "array array\n\
         array_of_maps array_of_maps\n\
         cpumap cpu_map\n\
         devmap dev_map\n\
         devmap_hash dev_map_hash\n\
         events perf_event_array\n\
         hash hash\n\
         hash_of_maps hash_of_maps\n\
         inner_0 array\n\
         inner_1 array\n\
         lpm_trie lpm_trie\n\
         lru_hash lru_hash\n\
         lru_percpu_hash lru_per_cpu_hash\n\
         percpu_array per_cpu_array\n\
         percpu_hash per_cpu_hash\n\
         prog_array prog_array\n\
         queue queue\n\
         ringbuf ring_buf\n\
         stack stack\n\
         xskmap xsk_map"
    );
    assert_eq!(
        maps("test/maps_other.bpf.o"),
        "found array\nsockmap sock_map\nstacks stack_trace"
    );
    assert_eq!(map_type_name(33), "arena");
    assert_eq!(map_type_name(99), "map_type_99");
}

#[test]
fn definitions_of_the_old_kind() {
    const OLD: &str = "counter array\nlengths hash\nper_cpu per_cpu_array";
    for name in [
        "old_maps",
        "old_maps_nobtf",
        "aya_maps",
        "aya_maps_pinned",
        "old_maps_bpfeb",
    ] {
        assert_eq!(maps(&format!("test/{name}.bpf.o")), OLD, "{name}");
    }
    // Beside one that BTF describes.
    let mixed = inventory("test/old_maps_mixed.bpf.o").maps;
    let names: Vec<_> = mixed.keys().map(String::as_str).collect();
    assert_eq!(names, ["first", "lone", "modern", "second", "visible"]);
}

#[test]
fn an_object_for_other_hosts_declares_the_same() {
    let [ours, theirs] =
        ["examples/xdp_counter.bpf.o", "test/xdp_counter_bpfeb.bpf.o"].map(inventory);
    assert_eq!(
        theirs.programs,
        [("xdp_stats".to_owned(), "xdp".to_owned())]
    );
    assert_eq!(theirs.programs, ours.programs);
    assert_eq!(
        maps("test/xdp_counter_bpfeb.bpf.o"),
        "xdp_stats_map per_cpu_array"
    );
    assert_eq!(theirs.maps, ours.maps);
    assert_eq!(theirs.endianness, Endianness::Big);
    // For loading it is refused all the same.
    let error = bytecode::Object::parse(bytes("test/xdp_counter_bpfeb.bpf.o")).unwrap_err();
    assert!(matches!(error, Error::Endianness { .. }), "{error:?}");
}

#[test]
fn no_ebpf_is_refused() {
    assert!(matches!(Inventory::read(b""), Err(Error::Empty)));
    assert!(matches!(
        Inventory::read(b"FROM scratch"),
        Err(Error::NotElf { .. })
    ));
    let own = std::fs::read("/proc/self/exe").unwrap();
    assert!(matches!(Inventory::read(&own), Err(Error::NotBpf { .. })));
}

/// A copy without BTF does not say what its maps are.
#[test]
fn damaged_btf_is_no_silence() {
    let mut bytes = bytes("examples/xdp_counter.bpf.o");
    let magic = bytes.windows(3).position(|w| w == [0x9f, 0xeb, 1]).unwrap();
    bytes[magic] = 0;
    let error = Inventory::read(&bytes).unwrap_err();
    assert!(matches!(error, Error::Damaged(_)), "{error:?}");
}
