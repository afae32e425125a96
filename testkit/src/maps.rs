//! Counters in pinned maps.

use std::path::Path;

use libbpf_rs::{MapCore as _, MapFlags, MapHandle, MapType};

/// The bytes below the key; None where there is no such entry. All copies of a per-CPU map.
pub fn lookup(path: &Path, key: &[u8]) -> Option<Vec<Vec<u8>>> {
    let map = MapHandle::from_pinned_path(path)
        .unwrap_or_else(|error| panic!("cannot open the map {}: {error}", path.display()));
    match map.map_type() {
        MapType::PercpuArray | MapType::PercpuHash | MapType::LruPercpuHash => {
            map.lookup_percpu(key, MapFlags::ANY).unwrap()
        }
        _ => map
            .lookup(key, MapFlags::ANY)
            .unwrap()
            .map(|value| vec![value]),
    }
}

/// The first u64 (or, in a four-byte value, u32) below a u32 key, summed over the CPUs; 0 where
/// there is no such entry.
pub fn count(path: &Path, key: u32) -> u64 {
    let values = lookup(path, &key.to_ne_bytes()).unwrap_or_default();
    values.iter().map(|value| number(value)).sum()
}

fn number(value: &[u8]) -> u64 {
    match value.first_chunk::<8>() {
        Some(bytes) => u64::from_ne_bytes(*bytes),
        None => u64::from(u32::from_ne_bytes(
            *value.first_chunk().expect("a value of 4 bytes"),
        )),
    }
}
