//! Globals, metadata, and maps that programs share with each other and with other processes.

use std::{fs, path::Path};

use testkit::{Feature, Load, Sandbox, bpftool, maps, object, tool};

use crate::support::{ingress, tc, xdp};

/// What the program of `globals` had at its first packet, by index as in globals.h.
fn seen(sandbox: &Sandbox, load: Load) -> Vec<u64> {
    let veth = sandbox.veth();
    let id = sandbox.load(&load.name("globals").xdp(&veth.name));
    assert_eq!(veth.ingress(1), 1);
    let dir = sandbox.map(id, "");
    let bss = fs::read_dir(&dir).unwrap().map(|pin| pin.unwrap().path());
    let bss = bss
        .filter(|pin| pin.to_string_lossy().ends_with("bss"))
        .collect::<Vec<_>>();
    assert_eq!(bss.len(), 1, "{bss:?}");
    // `bss_u64` and `seen[12]`, in an order that the compiler chose.
    let bytes = maps::lookup(&bss[0], &[0; 4]).unwrap().remove(0);
    assert_eq!(bytes.len(), 13 * 8);
    let words = bytes
        .chunks_exact(8)
        .map(|word| u64::from_ne_bytes(word.try_into().unwrap()));
    let words: Vec<u64> = words.collect();
    let at = words
        .windows(12)
        .position(|w| w[2] >> 32 == 0 && w[2] != 0 && w[0] < 0x100);
    words[at.expect("seen[]")..][..12].to_vec()
}

#[test]
fn globals_have_the_values_of_the_object() {
    let sandbox = Sandbox::new();
    assert_eq!(
        seen(&sandbox, object("globals")),
        [
            0x11,
            0x2222,
            0x3333_3333,
            0x4444_4444_4444_4444,
            0x5555_5555,
            0x6666,
            0x77,
            0x0403_0201,
            0x8888_8888,
            0x9999_9999,
            0,
            0xaaaa_aaaa
        ]
    );
}

#[test]
fn globals_of_every_size_and_section_can_be_set() {
    let sandbox = Sandbox::new();
    let set = |load: Load| {
        load.with(&[
            "-g",
            "global_u8=01",
            "global_u16=0203",
            "global_u32=04050607",
        ])
        .global("global_u64", "08090A0B0C0D0E0F")
        .global("global_struct", "1011121314151600")
        .global("global_array", "17181920")
        .global("static_u32", "21222324")
        .global("data_u32", "25262728")
        .global("bss_u64", "2930313233343536")
        .global("custom_u32", "37383940")
    };
    let expected = [
        0x01,
        0x0302,
        0x0706_0504,
        0x0f0e_0d0c_0b0a_0908,
        0x1312_1110,
        0x1514,
        0x16,
        0x2019_1817,
        0x2423_2221,
        0x2827_2625,
        0x3635_3433_3231_3029,
        0x4039_3837,
    ];
    assert_eq!(seen(&sandbox, set(object("globals"))), expected);
    let shown = sandbox.get(sandbox.ids()[0]);
    let globals = shown.bpfman_all("Global");
    assert_eq!(globals.len(), 10, "{globals:?}");
    assert!(
        globals.contains(&"global_u32=04050607".to_owned()),
        "{globals:?}"
    );
    assert!(
        globals.contains(&"global_u64=08090A0B0C0D0E0F".to_owned()),
        "{globals:?}"
    );
    if !Feature::Ext.is_present() {
        // The same where only the symbol table knows them. A chain would need BTF.
        assert_eq!(seen(&sandbox, set(object("globals_nobtf"))), expected);
    }
}

#[test]
fn metadata_selects() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let load = |direction| tc("ok").tc(direction, &veth.name);
    let one = sandbox.load(&load("ingress").metadata("owner=acme").metadata("uuid=a=b"));
    let two = sandbox.load(&load("egress").with(&["-m", "owner=acme", "tier=low"]));
    let three = sandbox.load(&xdp("pass").xdp(&veth.name));
    let ids = |selector: &[&str]| -> Vec<u32> {
        sandbox.list(selector).iter().map(|line| line.id).collect()
    };
    assert_eq!(ids(&["--metadata-selector", "owner=acme"]), [one, two]);
    assert_eq!(ids(&["-m", "owner=acme", "-m", "tier=low"]), [two]);
    assert_eq!(ids(&["-m", "owner=acm"]), [0; 0]);
    assert_eq!(ids(&["-m", "uuid=a=b"]), [one]);
    assert_eq!(ids(&[]), [one, two, three]);
    let mut shown = sandbox.get(one).bpfman_all("Metadata");
    shown.sort();
    assert_eq!(shown, ["owner=acme", "uuid=a=b"]);
    assert_eq!(sandbox.get(three).bpfman("Metadata"), "None");
}

#[test]
fn another_process_opens_the_pinned_map() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(&xdp("pass").xdp(&veth.name));
    assert_eq!(veth.ingress(5), 5);
    let dir = sandbox.get(id).bpfman("Map Pin Path");
    assert_eq!(dir, format!("/run/bpfman/fs/maps/{id}"));
    let pin = format!("{dir}/counter");
    let dump = bpftool(&["map", "dump", "pinned", &pin]);
    assert_eq!(dump[0]["formatted"]["value"], 5, "{dump}");
    // Written from outside, seen by the program.
    let value = ["100", "0", "0", "0", "0", "0", "0", "0"];
    let words = [
        "map", "update", "pinned", &pin, "key", "0", "0", "0", "0", "value",
    ];
    tool("bpftool", &[&words[..], &value[..]].concat()).ok();
    assert_eq!(veth.ingress(1), 1);
    assert_eq!(sandbox.count(id, "counter"), 101);
}

/// Three users of the maps go in every order; the pins go with the last.
#[test]
fn shared_maps_go_with_their_last_user() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let owner = sandbox.load(&xdp("pass").xdp(&veth.name));
        let share = |direction| tc("ok").tc(direction, &veth.name).map_owner(owner);
        let ids = [
            owner,
            sandbox.load(&share("ingress")),
            sandbox.load(&share("egress")),
        ];
        assert_eq!((veth.ingress(3), veth.egress(4)), (3, 4));
        let dir = format!("/run/bpfman/fs/maps/{owner}");
        let map = Path::new(&dir).join("counter");
        assert_eq!(
            maps::count(&map, 0),
            3 + 3 + 4,
            "xdp, tc ingress, tc egress"
        );
        for id in ids {
            let shown = sandbox.get(id);
            assert_eq!(shown.bpfman("Map Pin Path"), dir);
            assert_eq!(
                shown.bpfman_all("Map Used By"),
                ids.map(|id| id.to_string())
            );
            let owner_shown = if id == owner {
                "None".into()
            } else {
                owner.to_string()
            };
            assert_eq!(shown.bpfman("Map Owner ID"), owner_shown);
        }
        let mut left = ids.to_vec();
        for gone in order {
            assert!(fs::exists(&map).unwrap());
            sandbox.unload(ids[gone]);
            left.retain(|id| *id != ids[gone]);
            for id in &left {
                let used: Vec<String> = left.iter().map(ToString::to_string).collect();
                assert_eq!(sandbox.get(*id).bpfman_all("Map Used By"), used);
            }
        }
        assert!(!fs::exists(&dir).unwrap());
    }
}

/// The owner is gone, its maps are not: a further program may still join through one that is left.
#[test]
fn maps_are_shared_through_a_sharer() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let owner = sandbox.load(&xdp("pass").xdp(&veth.name));
    let first = sandbox.load(&tc("ok").tc("ingress", &veth.name).map_owner(owner));
    let second = sandbox.load(&tc("ok").tc("egress", &veth.name).map_owner(first));
    assert_eq!((veth.ingress(1), veth.egress(1)), (1, 1));
    for id in [owner, first, second] {
        assert_eq!(sandbox.count(id, "counter"), 3);
    }
}

/// The guide's own example: both at priority 100, the second at position 0.
#[test]
fn the_guides_example_of_map_sharing() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let load = testkit::example("xdp_counter")
        .name("xdp_stats")
        .xdp(&veth.name)
        .priority(100);
    let owner = sandbox.load(&load);
    let second = sandbox.load(&load.map_owner(owner));
    assert_eq!(veth.ingress(5), 5);
    assert_eq!(sandbox.count(owner, "xdp_stats_map"), 10);
    assert_eq!(sandbox.get(owner).bpfman("Position"), "1");
    assert_eq!(sandbox.get(second).bpfman("Position"), "0");
    assert_eq!(
        sandbox.get(second).bpfman("Map Pin Path"),
        format!("/run/bpfman/fs/maps/{owner}")
    );
}

#[test]
fn a_map_of_another_shape_is_not_shared() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let owner = sandbox.load(&tc("ok").tc("ingress", &veth.name));
    let load = object("other_counter").xdp(&veth.name).map_owner(owner);
    let refused = sandbox.unchanged(|| sandbox.try_load(&load));
    refused.fails(1, &["counter", "value size", "8", "4"]);
}

#[test]
fn an_owner_that_is_not_ours() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let load = |owner| xdp("pass").xdp(&veth.name).map_owner(owner);
    sandbox.unchanged(|| {
        sandbox.try_load(&load(4_000_000)).fails(1, &["4000000"]);
        sandbox.try_load(&load(0)).fails(1, &["0"]);
    });
    assert_eq!(ingress(&sandbox, &veth, 1, &[]), (vec![], 1));
}
