//! Damaged objects are refused or read, and never panic or run away.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

#[allow(dead_code, reason = "not every test file uses all of it")]
mod common;

use std::hint::black_box;

use bytecode::{Inventory, Object};
use common::bytes;
use proptest::prelude::*;

/// Objects that between them have every structure that is read.
const SAMPLES: [&str; 9] = [
    "test/old_maps_mixed.bpf.o",
    "test/old_maps_static_nobtf.bpf.o",
    "test/globals.bpf.o",
    "test/tail_call.bpf.o",
    "test/kfunc.bpf.o",
    "test/reach.bpf.o",
    "test/core.bpf.o",
    "test/xdp_counter_bpfeb.bpf.o",
    "test/old_maps_bpfeb.bpf.o",
];

/// Everything that can be asked of an object.
fn use_up(bytes: Vec<u8>) {
    let size = bytes.len();
    black_box(Inventory::read(&bytes).is_ok());
    let Ok(object) = Object::parse(bytes) else {
        return;
    };
    // A rewritten object grows by its own tables at most, and by 40 bytes and BTF for each map.
    assert!(
        object.bytes().len() < size * 8,
        "{size} bytes grew to {}",
        object.bytes().len()
    );
    for program in object.programs() {
        black_box(object.maps_of(program));
        black_box(object.tail_calls_of(program));
        black_box(object.bytes_for(program).is_ok());
    }
    for global in object.globals() {
        black_box(object.patch(&global.name, &[0; 4]).is_ok());
    }
    black_box(object.patch("none", &[]).unwrap_err().hint());
}

#[test]
fn truncation_at_every_byte() {
    for name in SAMPLES {
        let whole = bytes(name);
        for length in 0..whole.len() {
            // The section table comes last in what clang writes.
            assert!(
                Object::parse(whole[..length].to_vec()).is_err()
                    && Inventory::read(&whole[..length]).is_err(),
                "{name} cut to {length}"
            );
        }
    }
}

#[test]
fn every_byte_of_the_tables_inverted() {
    for name in SAMPLES {
        let whole = bytes(name);
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            use_up(damaged);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_damage(
        sample in 0..SAMPLES.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
    ) {
        let mut bytes = bytes(SAMPLES[sample]);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        use_up(bytes);
    }

    #[test]
    fn random_words(
        sample in 0..SAMPLES.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![
            Just(0), Just(u64::MAX), Just(u64::MAX - 7), Just(1 << 31), 0..10_000_u64,
        ]), 1..8),
    ) {
        let mut bytes = bytes(SAMPLES[sample]);
        for (at, value) in damage {
            let at = at.index(bytes.len() / 8) * 8;
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        use_up(bytes);
    }
}

/// Functions that all claim the rest of one section: work must not grow with their square, or
/// nextest ends this test before it ends.
#[test]
fn overlapping_functions_take_no_longer() {
    const COUNT: u64 = 200_000;
    let mut bytes = bytes("test/calls.bpf.o");
    let headers = u64::from_le_bytes(*bytes[40..].first_chunk().unwrap());
    let header = |index: usize| usize::try_from(headers).unwrap() + index * 64;
    let code = (0..1000).find(|i| bytes[header(*i) + 8] & 4 != 0).unwrap();
    let table = (0..1000).find(|i| bytes[header(*i) + 4] == 2).unwrap();
    let place = |bytes: &mut Vec<u8>, index: usize, size: u64| {
        let start = bytes.len() as u64;
        bytes[header(index) + 24..][..8].copy_from_slice(&start.to_le_bytes());
        bytes[header(index) + 32..][..8].copy_from_slice(&size.to_le_bytes());
    };
    place(&mut bytes, code, COUNT * 8);
    bytes.resize(bytes.len() + usize::try_from(COUNT).unwrap() * 8, 0);
    place(&mut bytes, table, COUNT * 24);
    for value in 0..COUNT {
        // A global function without a name.
        bytes.extend_from_slice(&[0, 0, 0, 0, 0x12, 0]);
        bytes.extend_from_slice(&u16::try_from(code).unwrap().to_le_bytes());
        bytes.extend_from_slice(&(value * 8).to_le_bytes());
        bytes.extend_from_slice(&(COUNT * 8).to_le_bytes());
    }
    let object = Object::parse(bytes);
    // Whatever it makes of them, it has looked at them: the section is .text.
    assert!(object.is_err_and(|error| error.to_string().contains("no eBPF program")));
}

/// Puts another table in the place of the first one of a kind, behind the end of the object.
fn replace(bytes: &mut Vec<u8>, kind: u32, table: impl FnOnce(&mut Vec<u8>)) {
    let word = |bytes: &[u8], at: usize| {
        usize::try_from(u64::from_le_bytes(*bytes[at..].first_chunk().unwrap())).unwrap()
    };
    let header = (word(bytes, 40)..)
        .step_by(64)
        .find(|at| bytes[at + 4..at + 8] == kind.to_le_bytes())
        .unwrap();
    let (start, size) = (word(bytes, header + 24), word(bytes, header + 32));
    let mut new = bytes[start..start + size].to_vec();
    table(&mut new);
    let place = [bytes.len() as u64, new.len() as u64].map(u64::to_le_bytes);
    bytes[header + 24..header + 40].copy_from_slice(place.as_flattened());
    bytes.extend(new);
}

/// Who looked at all that the object claims would not end before nextest ends the test.
#[track_caller]
fn is_refused(bytes: Vec<u8>, why: &str) {
    let inventory = Inventory::read(&bytes).unwrap_err().to_string();
    let error = Object::parse(bytes).unwrap_err().to_string();
    assert!(
        inventory.contains(why) && error.contains(why),
        "{inventory}; {error}"
    );
}

/// 100,000 symbols whose names are ends of one of 2 MB: 200 GB of names in 5 MB.
#[test]
fn names_that_overlap_take_neither_time_nor_memory() {
    let mut bytes = bytes("examples/xdp_pass.bpf.o");
    let mut first = 0;
    replace(&mut bytes, 3, |strings| {
        first = u32::try_from(strings.len()).unwrap();
        strings.resize(strings.len() + (2 << 20), b'a');
        strings.push(0);
    });
    replace(&mut bytes, 2, |symbols| {
        let last = symbols[symbols.len() - 20..].to_vec();
        for name in first..first + 100_000 {
            symbols.extend(name.to_le_bytes());
            symbols.extend(&last);
        }
    });
    is_refused(bytes, "its names overlap");
}

/// 10,000 sections that all have the same 2 MB of relocations: 20 GB of them in 3 MB.
#[test]
fn sections_that_overlap_take_neither_time_nor_memory() {
    let mut bytes = bytes("test/calls.bpf.o");
    replace(&mut bytes, 9, |relocations| {
        let entry = relocations[..16].to_vec();
        relocations.extend(entry.repeat(128 << 10));
    });
    let headers = usize::try_from(u64::from_le_bytes(*bytes[40..].first_chunk().unwrap())).unwrap();
    let count = usize::from(u16::from_le_bytes(*bytes[60..].first_chunk().unwrap()));
    let mut table = bytes[headers..headers + count * 64].to_vec();
    let at = table.chunks(64).position(|header| header[4] == 9).unwrap();
    table.extend(table[at * 64..][..64].repeat(10_000));
    let place = (bytes.len() as u64).to_le_bytes();
    bytes[40..48].copy_from_slice(&place);
    let count = u16::try_from(table.len() / 64).unwrap();
    bytes[60..62].copy_from_slice(&count.to_le_bytes());
    bytes.extend(table);
    is_refused(bytes, "its sections overlap");
}

/// Relocations that reach into the names of symbols: to take some of them out changed the names,
/// and with them the program.
#[test]
fn a_section_over_another_is_refused() {
    let mut bytes = bytes("test/tail_call.bpf.o");
    let headers = usize::try_from(u64::from_le_bytes(*bytes[40..].first_chunk().unwrap())).unwrap();
    // .rel.maps, and how far it is to the end of .strtab.
    let (header, size) = (headers + 6 * 64, 272_u64);
    bytes[header + 32..][..8].copy_from_slice(&size.to_le_bytes());
    is_refused(bytes, "its sections overlap");
}
