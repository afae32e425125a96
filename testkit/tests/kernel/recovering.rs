//! Killed a second time, while what the first kill left is taken back: nothing is forgotten.

use std::path::PathBuf;

use testkit::{Feature, Sandbox, Veth, World};

use crate::{
    manifests::{PASS, write, xdp_manifest},
    support::{ingress, tc, xdp},
};

/// Where a command that recovers can be killed.
const POINTS: [&str; 5] = [
    "chain.noted",
    "chain.member-attached",
    "chain.swapped",
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
