//! Damaged objects are refused or read, and never panic or run away.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

#[allow(dead_code, reason = "not every test file uses all of it")]
mod common;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytecode::Object;
use common::bytes;
use proptest::prelude::*;

/// Objects that between them have every structure that is read.
const SAMPLES: [&str; 7] = [
    "test/old_maps_mixed.bpf.o",
    "test/old_maps_static_nobtf.bpf.o",
    "test/globals.bpf.o",
    "test/tail_call.bpf.o",
    "test/kfunc.bpf.o",
    "test/reach.bpf.o",
    "test/core.bpf.o",
];

/// Everything that can be asked of an object.
fn use_up(bytes: Vec<u8>) {
    let size = bytes.len();
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
            use_up(whole[..length].to_vec());
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

/// A table of symbols that all claim the whole of one section: work must not grow with its square.
#[test]
fn overlapping_functions_take_no_longer() {
    let mut bytes = bytes("test/calls.bpf.o");
    let (symbols, count) = (bytes.len() as u64, 200_000_u64);
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    let headers = usize::try_from(word(&bytes, 40)).unwrap();
    let code = (0..1000)
        .find(|i| bytes[headers + i * 64 + 8] & 4 != 0 && bytes[headers + i * 64 + 32] != 0);
    let table = (0..1000)
        .map(|i| headers + i * 64)
        .find(|at| bytes[at + 4] == 2)
        .unwrap();
    for value in 0..count {
        // Function, global, in the first section of code.
        bytes.extend_from_slice(&[1, 0, 0, 0, 0x12, 0]);
        bytes.extend_from_slice(&u16::try_from(code.unwrap()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&(value % 64 * 8).to_le_bytes());
        bytes.extend_from_slice(&u64::from(u32::MAX).to_le_bytes());
    }
    bytes[table + 24..table + 32].copy_from_slice(&symbols.to_le_bytes());
    bytes[table + 32..table + 40].copy_from_slice(&(count * 24).to_le_bytes());
    let start = Instant::now();
    use_up_parse_only(bytes);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "took {:?}",
        start.elapsed()
    );
}

fn use_up_parse_only(bytes: Vec<u8>) {
    black_box(Object::parse(bytes).is_ok());
}
