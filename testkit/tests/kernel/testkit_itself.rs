//! The ground must hold before anything is proved on it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use testkit::{Feature, Lane, Sandbox, World, tool};

#[test]
fn a_veth_pair_loses_and_invents_no_packet() {
    let sandbox = Sandbox::new();
    let (one, two) = (sandbox.veth(), sandbox.veth());
    assert_eq!((one.ingress(100), one.egress(100)), (100, 100));
    assert_eq!((two.ingress(7), two.egress(9)), (7, 9));
    sandbox.netns("elsewhere");
    assert_eq!(sandbox.veth_in("elsewhere").ingress(5), 5);
}

#[test]
fn a_qdisc_that_stays_is_a_leak() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let before = World::now();
    tool("tc", &["qdisc", "add", "dev", &veth.name, "clsact"]).ok();
    let leak = catch_unwind(AssertUnwindSafe(|| drop(sandbox))).unwrap_err();
    let text = leak.downcast::<String>().unwrap();
    assert!(text.contains("+ qdisc /bm0 clsact"), "{text}");
    tool("tc", &["qdisc", "del", "dev", &veth.name, "clsact"]).ok();
    assert_eq!(before.diff(&World::now()), Vec::<String>::new());
}

#[test]
fn a_pin_that_stays_is_a_leak() {
    let sandbox = Sandbox::new();
    let before = World::now();
    tool(
        "bpftool",
        &[
            "map",
            "create",
            "/sys/fs/bpf/x",
            "type",
            "array",
            "key",
            "4",
            "value",
            "4",
            "entries",
            "1",
        ]
        .iter()
        .chain(&["name", "leak"])
        .copied()
        .collect::<Vec<_>>(),
    )
    .ok();
    let diff = before.diff(&World::now());
    assert!(
        diff.iter()
            .any(|line| line.starts_with("+ pin /sys/fs/bpf/x")),
        "{diff:?}"
    );
    assert!(
        diff.iter()
            .any(|line| line.starts_with("+ map ") && line.contains("leak")),
        "{diff:?}"
    );
    std::fs::remove_file("/sys/fs/bpf/x").unwrap();
    drop(sandbox);
}

/// A table of excuses rots unless somebody looks: what a lane may lack, its kernel does lack.
#[test]
fn excuses_are_true() {
    let _sandbox = Sandbox::new();
    for feature in Feature::ALL {
        if Lane::current() == Lane::V6_12 {
            assert!(feature.is_present(), "6.12 has {feature}");
        }
        if let Some(why) = feature.excuse(Lane::current()) {
            assert!(
                !feature.is_present(),
                "the kernel has {feature}, but the table says: {why}"
            );
        }
    }
}
