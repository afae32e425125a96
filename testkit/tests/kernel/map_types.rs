//! Every map type of the field, by what a program leaves in it.

use std::path::Path;

use libbpf_rs::{MapCore as _, MapFlags, MapHandle, RingBufferBuilder};
use testkit::{Feature, Sandbox, Veth, bpftool, maps, object, tool};

/// An Ethernet, an IP and a UDP header and the number.
const FRAME: u64 = 14 + 20 + 8 + 4;

/// Loads the program that uses the map, sends seven packets, looks at the map, unloads.
fn with(sandbox: &Sandbox, veth: &Veth, map: &str, look: impl FnOnce(&Path)) {
    let id = sandbox.load(
        &object("maps_xdp")
            .name(&format!("use_{map}"))
            .xdp(&veth.name),
    );
    assert_eq!(veth.ingress(7), 7, "{map}");
    look(&sandbox.map(id, map));
    sandbox.unload(id);
}

#[test]
fn arrays_and_hashes() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    for map in [
        "array",
        "hash",
        "percpu_array",
        "percpu_hash",
        "lru_hash",
        "lru_percpu_hash",
    ] {
        with(&sandbox, &veth, map, |path| {
            assert_eq!(maps::count(path, 1), 7, "{map}");
        });
    }
    with(&sandbox, &veth, "lpm_trie", |path| {
        let key = [32_u32.to_ne_bytes(), 0x0100_000a_u32.to_ne_bytes()].concat();
        assert_eq!(maps::lookup(path, &key).unwrap()[0], 7_u64.to_ne_bytes());
    });
}

#[test]
fn queue_stack_and_ring_buffer() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    for map in ["queue", "stack"] {
        with(&sandbox, &veth, map, |path| {
            let map = MapHandle::from_pinned_path(path).unwrap();
            for _ in 0..7 {
                let value = map.lookup_and_delete(&[]).unwrap().unwrap();
                assert_eq!(value, FRAME.to_ne_bytes());
            }
            assert_eq!(map.lookup_and_delete(&[]).unwrap(), None);
        });
    }
    with(&sandbox, &veth, "ringbuf", |path| {
        let map = MapHandle::from_pinned_path(path).unwrap();
        let mut seen = Vec::new();
        let mut builder = RingBufferBuilder::new();
        builder
            .add(&map, |bytes| {
                seen.push(u64::from_ne_bytes(bytes.try_into().unwrap()));
                0
            })
            .unwrap();
        let ring = builder.build().unwrap();
        ring.consume().unwrap();
        drop(ring);
        assert_eq!(seen, [FRAME; 7]);
    });
}

#[test]
fn perf_event_array() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    // Nobody listens: the program must run all the same.
    with(&sandbox, &veth, "events", |path| {
        assert_eq!(
            bpftool(&["map", "show", "pinned", path.to_str().unwrap()])["type"],
            "perf_event_array"
        );
    });
}

#[test]
fn maps_in_maps() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    for (outer, key) in [("array_of_maps", 1_u32), ("hash_of_maps", 7)] {
        with(&sandbox, &veth, outer, |path| {
            let inner = maps::lookup(path, &key.to_ne_bytes()).unwrap();
            let id = u32::from_ne_bytes(inner[0].as_slice().try_into().unwrap());
            let inner = MapHandle::from_map_id(id).unwrap();
            let value = inner
                .lookup(&0_u32.to_ne_bytes(), MapFlags::ANY)
                .unwrap()
                .unwrap();
            assert_eq!(value, 7_u64.to_ne_bytes(), "{outer}");
        });
    }
}

/// A target that is not there lets the packet pass; one that a test enters takes it.
#[test]
fn redirect_maps() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    for map in ["devmap", "devmap_hash", "cpumap", "xskmap"] {
        with(&sandbox, &veth, map, |path| {
            let map = MapHandle::from_pinned_path(path).unwrap();
            assert_eq!(map.max_entries(), 8);
        });
    }
}

#[test]
fn a_program_array_that_a_test_fills() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(&object("maps_xdp").name("use_prog_array").xdp(&veth.name));
    assert_eq!(veth.ingress(7), 7);
    let map = sandbox.map(id, "prog_array");
    assert_eq!(
        bpftool(&["map", "show", "pinned", map.to_str().unwrap()])["type"],
        "prog_array"
    );
    assert_eq!(
        sandbox.get(id).kernel("Map IDs").matches(',').count(),
        0,
        "only what it uses"
    );
}

/// Only the maps of the chosen program are made.
#[test]
fn maps_of_other_programs_are_not_made() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(&object("maps_xdp").name("use_hash").xdp(&veth.name));
    let pins = std::fs::read_dir(sandbox.map(id, "")).unwrap();
    let pins: Vec<_> = pins.map(|pin| pin.unwrap().file_name()).collect();
    assert_eq!(pins, ["hash"]);
}

#[test]
fn socket_map_and_stack_traces() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(
        &object("maps_other")
            .name("use_sockmap")
            .tc("ingress", &veth.name),
    );
    assert_eq!(veth.ingress(7), 7);
    assert_eq!(sandbox.count(id, "found"), 0);
    sandbox.unload(id);
    if Feature::PerfLink.is_present() {
        // A tracepoint of a system call has no kernel stack on 6.1.
        let load = object("maps_other").name("use_stacks");
        let id = sandbox.load(&load.attach(&["tracepoint", "-t", "sched/sched_switch"]));
        tool("sleep", &["0.05"]).ok();
        assert!(sandbox.count(id, "found") > 0);
    }
}
