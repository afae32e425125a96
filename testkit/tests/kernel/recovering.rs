//! Killed a second time, while what the first kill left is taken back: nothing is forgotten.

use std::path::PathBuf;

use testkit::{Feature, Sandbox, Veth, World};

use crate::{
    manifests::{PASS, write, xdp_manifest},
    support::{ingress, tc, xdp},
};

/// Where a command that recovers can be killed; between two pins of a dispatcher, too.
const POINTS: [&str; 9] = [
    "chain.noted",
    "chain.member-link-pinned",
    "chain.member-attached",
    "chain.swapped",
    "pins.pin-removed",
    "pins.pin-removed#2",
    "pins.pin-removed#3",
    "chain.retired",
    "state.written",
];

/// What no program has for an id: to unload it brings kernel and state together and fails.
pub(crate) const NOBODY: [&str; 2] = ["unload", "4294967295"];

fn killed(sandbox: &Sandbox, point: &str, args: &[String]) -> bool {
    let output = sandbox.bpfman_env("BPFMAN_FAULT", &format!("{point}:abort"), args);
    output.status == 128 + 9
}

/// A command is killed right after it has changed the hook, and the next one at each point. The
/// one after that leaves what is listed, and nothing else.
fn killed_twice(s: &Sandbox, veth: &Veth, start: &World, prepare: &dyn Fn() -> Vec<String>) {
    let mut reached = 0;
    for point in POINTS {
        let args = prepare();
        assert!(killed(s, "chain.swapped", &args), "{args:?}");
        reached += usize::from(killed(s, point, &NOBODY.map(str::to_owned)));
        s.bpfman(NOBODY).fails(1, &["no program"]);
        let ids = s.ids();
        start.assert_no_orphans(&ids, &format!("after {args:?} and {point}"));
        let all = vec![3; ids.len()];
        assert_eq!(ingress(s, veth, 3, &ids), (all, 3), "{point}");
    }
    assert!(reached > 0);
}

/// On an empty hook, and beside a program that stays.
fn both(load: &dyn Fn(&Veth) -> testkit::Load) {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let start = World::now();
    for _ in 0..2 {
        killed_twice(&sandbox, &veth, &start, &|| load(&veth).args());
        let stays = sandbox.ids();
        killed_twice(&sandbox, &veth, &start, &|| {
            let id = sandbox.load(&load(&veth));
            vec!["unload".to_owned(), id.to_string()]
        });
        assert_eq!(sandbox.ids(), stays);
        sandbox.load(&load(&veth));
    }
}

#[test]
fn xdp_commands_killed_twice() {
    both(&|veth| xdp("pass").xdp(&veth.name));
}

#[test]
fn tc_commands_killed_twice() {
    both(&|veth| tc("ok").tc("ingress", &veth.name));
}

#[test]
fn an_exchange_killed_twice() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let start = World::now();
    let manifest = |priority: u32| -> PathBuf {
        let manifest = xdp_manifest("one", &veth.name, PASS, priority);
        write(&sandbox, "one.yaml", &[manifest])
    };
    let apply = |path: PathBuf| ["apply", "-f", path.to_str().unwrap()].map(str::to_owned);
    sandbox.bpfman(apply(manifest(50))).ok();
    for beside in 0..2 {
        if beside == 1 {
            sandbox.load(&xdp("pass").xdp(&veth.name).priority(60));
        }
        killed_twice(&sandbox, &veth, &start, &|| apply(manifest(70)).to_vec());
        assert_eq!(sandbox.ids().len(), 1 + beside);
    }
}

/// Of the old dispatcher, some pins are left, and nothing that tells which chain it was: the note was
/// lost, or belonged to a command that was removing something else.
fn half_taken_apart(load: &dyn Fn(&Veth) -> testkit::Load) {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let start = World::now();
    let stays = sandbox.load(&load(&veth));
    for pin in 1..4 {
        let goes = sandbox.load(&load(&veth)).to_string();
        let point = format!("pins.pin-removed#{pin}");
        assert!(killed(&sandbox, &point, &["unload".to_owned(), goes]));
        std::fs::remove_file("/run/bpfman/pending.json").unwrap_or_default();
        sandbox.bpfman(NOBODY).fails(1, &["no program"]);
        start.assert_no_orphans(&[stays], &format!("after pin {pin}"));
    }
}

#[test]
fn an_xdp_dispatcher_half_taken_apart() {
    half_taken_apart(&|veth| xdp("pass").xdp(&veth.name));
}

#[test]
fn a_tc_dispatcher_half_taken_apart() {
    half_taken_apart(&|veth| tc("ok").tc("ingress", &veth.name));
}
