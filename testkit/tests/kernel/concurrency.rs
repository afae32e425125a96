//! Many commands at once, and reads beside writers.

use std::{
    fs::File,
    process::{Child, Stdio},
};

use nix::fcntl::{Flock, FlockArg};
use testkit::{Feature, Load, Sandbox, wait_until, waits_for_a_lock};

use crate::support::{Killed, ingress, positions, tc, xdp};

const AT_ONCE: usize = 16;

/// Starts all loads at once. Answers the ids of those that succeeded and what the others said.
fn all_at_once(
    sandbox: &Sandbox,
    loads: impl IntoIterator<Item = Load>,
) -> (Vec<u32>, Vec<String>) {
    let start = |load: Load| {
        let mut command = sandbox.command(load.args());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let children: Vec<Child> = loads.into_iter().map(start).collect();
    let (mut ids, mut refused) = (Vec::new(), Vec::new());
    for child in children {
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            ids.push(
                String::from_utf8(output.stdout)
                    .unwrap()
                    .trim()
                    .parse()
                    .unwrap(),
            );
        } else {
            assert_eq!(output.status.code(), Some(1));
            refused.push(String::from_utf8(output.stderr).unwrap());
        }
    }
    ids.sort_unstable();
    (ids, refused)
}

#[test]
fn sixteen_on_one_interface() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let load = xdp("pass").xdp(&veth.name).priority(50);
    let (ids, refused) = all_at_once(&sandbox, std::iter::repeat_n(load, AT_ONCE));
    assert_eq!(ids.len(), 10, "{refused:?}");
    for said in refused {
        assert!(said.contains("already runs 10 programs"), "{said}");
    }
    assert_eq!(sandbox.ids(), ids);
    assert_eq!(ingress(&sandbox, &veth, 5, &ids), (vec![5; 10], 5));
    let mut places = positions(&sandbox, &ids);
    places.sort_unstable();
    assert_eq!(places, (0..10).collect::<Vec<_>>());
}

#[test]
fn sixteen_tc_programs_on_both_sides() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let load = |side: &str| tc("ok").tc(side, &veth.name);
    let loads = (0..AT_ONCE).map(|n| load(if n % 2 == 0 { "ingress" } else { "egress" }));
    let (ids, refused) = all_at_once(&sandbox, loads);
    assert_eq!(ids.len(), AT_ONCE, "{refused:?}");
    assert_eq!((veth.ingress(3), veth.egress(4)), (3, 4));
    let total: u64 = ids.iter().map(|id| sandbox.count(*id, "counter")).sum();
    assert_eq!(total, 8 * 3 + 8 * 4);
}

#[test]
fn sixteen_on_as_many_interfaces() {
    let sandbox = Sandbox::new();
    let veths: Vec<_> = (0..AT_ONCE).map(|_| sandbox.veth()).collect();
    let loads = veths.iter().map(|veth| xdp("pass").xdp(&veth.name));
    let (ids, refused) = all_at_once(&sandbox, loads);
    assert_eq!(ids.len(), AT_ONCE, "{refused:?}");
    for veth in &veths {
        assert_eq!(veth.ingress(2), 2);
    }
    assert_eq!(
        ids.iter()
            .map(|id| sandbox.count(*id, "counter"))
            .sum::<u64>(),
        32
    );
}

#[test]
fn sixteen_tcx_programs_on_one_interface() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    let load = tc("unspec").tcx("ingress", &veth.name);
    let (ids, refused) = all_at_once(&sandbox, std::iter::repeat_n(load, AT_ONCE));
    assert_eq!(ids.len(), AT_ONCE, "{refused:?}");
    assert_eq!(ingress(&sandbox, &veth, 5, &ids), (vec![5; AT_ONCE], 5));
}

#[test]
fn sixteen_where_one_fits() {
    if Feature::Ext.is_present() {
        return;
    }
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let load = xdp("pass").xdp(&veth.name);
    let (ids, refused) = all_at_once(&sandbox, std::iter::repeat_n(load, AT_ONCE));
    assert_eq!((ids.len(), refused.len()), (1, AT_ONCE - 1));
    assert!(
        refused
            .iter()
            .all(|said| said.contains("BPF_PROG_TYPE_EXT")),
        "{refused:?}"
    );
}

#[test]
fn loads_and_unloads_at_once() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let load = xdp("pass").xdp(&veth.name).priority(50);
    let old: Vec<u32> = (0..5).map(|_| sandbox.load(&load)).collect();
    let unloads: Vec<Child> = old
        .iter()
        .map(|id| {
            sandbox
                .command(["unload", &id.to_string()])
                .spawn()
                .unwrap()
        })
        .collect();
    let (ids, refused) = all_at_once(&sandbox, std::iter::repeat_n(load, 5));
    for mut unload in unloads {
        assert!(unload.wait().unwrap().success());
    }
    assert_eq!(ids.len(), 5, "{refused:?}");
    assert_eq!(sandbox.ids(), ids);
    assert_eq!(ingress(&sandbox, &veth, 5, &ids), (vec![5; 5], 5));
}

#[test]
fn one_program_unloaded_by_many() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(&xdp("pass").xdp(&veth.name)).to_string();
    let children: Vec<Child> = (0..AT_ONCE)
        .map(|_| {
            sandbox
                .command(["unload", &id])
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let ended = children.into_iter().map(|mut child| child.wait().unwrap());
    assert_eq!(ended.filter(std::process::ExitStatus::success).count(), 1);
}

/// A writer that stands still in the middle of its work holds nobody up who only reads.
#[test]
fn reads_do_not_wait_for_a_writer() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(&xdp("pass").xdp(&veth.name));
    let lock = File::options()
        .write(true)
        .open(sandbox.runtime_dir().join("lock"))
        .unwrap();
    let lock = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    // Who waited would wait for this thread.
    assert_eq!(sandbox.ids(), [id]);
    assert_eq!(sandbox.get(id).bpfman("Name"), "xdp_verdict");
    assert!(sandbox.list(&["--all"]).iter().any(|line| line.id == id));
    // A writer does wait.
    let child = sandbox
        .command(["unload", &id.to_string()])
        .spawn()
        .unwrap();
    let mut writer = Killed(child);
    assert!(
        wait_until(|| waits_for_a_lock(writer.id())),
        "unload did not wait for the lock"
    );
    assert_eq!(sandbox.ids(), [id]);
    drop(lock);
    assert!(wait_until(|| writer
        .0
        .try_wait()
        .unwrap()
        .is_some_and(|s| s.success())));
    assert_eq!(sandbox.ids(), [0; 0]);
}

/// Readers that run while programs come and go see each state whole, and never fail.
#[test]
fn reads_beside_writes() {
    let sandbox = Sandbox::new();
    let (one, two) = (sandbox.veth(), sandbox.veth());
    let stays = sandbox.load(&xdp("pass").xdp(&one.name));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..20 {
                let id = sandbox.load(&tc("ok").tc("ingress", &two.name));
                sandbox.unload(id);
            }
        });
        while !writer.is_finished() {
            let ids = sandbox.ids();
            assert!(ids.contains(&stays) && ids.len() <= 2, "{ids:?}");
            assert_eq!(sandbox.get(stays).bpfman("Position"), "0");
        }
        writer.join().unwrap();
    });
}
