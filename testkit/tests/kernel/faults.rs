//! Killed, failed and stopped at every step: what then runs is the old or the new, never a mix,
//! and the next command clears up.

use std::{fs, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::{Feature, Load, Sandbox, Veth, World, object, wait_until};

use crate::support::{Killed, egress, ingress, tc, xdp};

/// Every `fault::point` of the sources.
const POINTS: [&str; 11] = [
    "load.loaded",
    "load.program-pinned",
    "load.maps-pinned",
    "load.attached",
    "chain.clsact-made",
    "chain.member-attached",
    "chain.assembled",
    "chain.noted",
    "chain.swapped",
    "chain.retired",
    "state.written",
];

/// What is loaded and unloaded, beside a program that stays on the same hook where it can.
struct Scene {
    name: &'static str,
    resident: Option<Load>,
    subject: Load,
    inbound: bool,
}

fn scenes(veth: &Veth) -> Vec<Scene> {
    let chains = Feature::Ext.is_present();
    let net = |name, inbound, load: &dyn Fn(u32) -> Load, many: bool| Scene {
        name,
        resident: many.then(|| load(60)),
        subject: load(50),
        inbound,
    };
    let iface = veth.name.as_str();
    let mut scenes = vec![
        net(
            "xdp",
            true,
            &|priority| xdp("pass").xdp(iface).priority(priority),
            chains,
        ),
        net(
            "tc",
            false,
            &|priority| tc("ok").tc("egress", iface).priority(priority),
            chains,
        ),
        net(
            "tc alone",
            true,
            &|priority| tc("ok").tc("ingress", iface).priority(priority),
            false,
        ),
    ];
    if Feature::Tcx.is_present() {
        let load = |priority| tc("unspec").tcx("ingress", iface).priority(priority);
        scenes.push(net("tcx", true, &load, true));
    }
    if Feature::PerfLink.is_present() {
        let load = object("probes").name("count_tracepoint");
        let subject = load.attach(&["tracepoint", "-t", "syscalls/sys_enter_unlink"]);
        scenes.push(Scene {
            name: "tracepoint",
            resident: None,
            subject,
            inbound: true,
        });
    }
    scenes
}

impl Scene {
    /// Three packets go through all of these, and nothing stands in their way.
    #[track_caller]
    fn runs(&self, sandbox: &Sandbox, veth: &Veth, ids: &[u32]) {
        if self.name == "tracepoint" {
            return;
        }
        let send = if self.inbound { ingress } else { egress };
        assert_eq!(
            send(sandbox, veth, 3, ids),
            (vec![3; ids.len()], 3),
            "{}",
            self.name
        );
    }
}

/// Runs the command of one scene at one point. Answers whether it came to that point.
fn interrupted(sandbox: &Sandbox, point: &str, what: &str, args: &[String]) -> bool {
    let output = sandbox.bpfman_env("BPFMAN_FAULT", &format!("{point}:{what}"), args);
    match (what, output.status) {
        (_, 0) => false,
        ("abort", status) => {
            assert_eq!(status, 128 + 9, "{output}");
            true
        }
        (_, status) => {
            assert_eq!(status, 1, "{output}");
            assert!(output.stderr.contains("fault"), "{output}");
            true
        }
    }
}

/// Goes through all scenes with a load and an unload that end at each of some points.
fn at_points(what: &str, points: &[&str]) {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    for scene in scenes(&veth) {
        let resident: Vec<u32> = scene
            .resident
            .iter()
            .map(|load| sandbox.load(load))
            .collect();
        for point in points {
            eprintln!("--- {} {what} at {point}", scene.name);
            interrupted_load(&sandbox, &veth, &scene, &resident, point, what);
            interrupted_unload(&sandbox, &veth, &scene, &resident, point, what);
        }
        for id in resident {
            sandbox.unload(id);
        }
    }
}

fn interrupted_load(s: &Sandbox, veth: &Veth, scene: &Scene, old: &[u32], point: &str, what: &str) {
    interrupted(s, point, what, &scene.subject.args());
    // Whatever was left, what ran goes on running, and readers work.
    scene.runs(s, veth, old);
    let listed = s.ids();
    assert!(
        old.iter().all(|id| listed.contains(id)),
        "{point}: {listed:?}"
    );
    for id in &listed {
        s.get(*id);
    }
    let new: Vec<u32> = listed.into_iter().filter(|id| !old.contains(id)).collect();
    for id in new {
        s.bpfman(["unload", &id.to_string()]).ok();
    }
    // The next writer clears up; a load of the same kind finds room and runs first.
    let id = s.load(&scene.subject);
    let all: Vec<u32> = std::iter::once(id).chain(old.iter().copied()).collect();
    scene.runs(s, veth, &all);
    let mut listed = s.ids();
    listed.sort_unstable();
    let mut expected = all.clone();
    expected.sort_unstable();
    assert_eq!(listed, expected, "{point}");
    s.unload(id);
}

fn interrupted_unload(
    s: &Sandbox,
    veth: &Veth,
    scene: &Scene,
    old: &[u32],
    point: &str,
    what: &str,
) {
    let id = s.load(&scene.subject);
    let unload = ["unload".to_owned(), id.to_string()];
    interrupted(s, point, what, &unload);
    scene.runs(s, veth, old);
    let left = s.ids();
    assert!(old.iter().all(|id| left.contains(id)), "{point}: {left:?}");
    if left.contains(&id) {
        // What is still listed can be unloaded.
        s.bpfman(&unload).ok();
    }
    let id = s.load(&scene.subject);
    let all: Vec<u32> = std::iter::once(id).chain(old.iter().copied()).collect();
    scene.runs(s, veth, &all);
    s.unload(id);
    assert_eq!(s.ids(), old, "{point}");
}

#[test]
fn killed_while_loading_programs() {
    at_points("abort", &POINTS[..4]);
}

#[test]
fn killed_while_changing_a_chain() {
    at_points("abort", &POINTS[4..10]);
}

#[test]
fn killed_while_committing() {
    at_points("abort", &["state.written"]);
}

#[test]
fn failed_while_loading_programs() {
    at_points("fail", &POINTS[..4]);
}

#[test]
fn failed_while_changing_a_chain() {
    at_points("fail", &POINTS[4..10]);
}

#[test]
fn failed_while_committing() {
    at_points("fail", &["state.written"]);
}

/// A load that fails before it is committed leaves the world as it was, without any help.
#[test]
fn a_failed_load_leaves_nothing() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let before = [
        "load.loaded",
        "load.program-pinned",
        "load.maps-pinned",
        "load.attached",
        "chain.clsact-made",
        "chain.member-attached",
        "chain.assembled",
        "chain.noted",
        "chain.swapped",
        "state.written",
    ];
    for scene in scenes(&veth) {
        let resident: Vec<u32> = scene
            .resident
            .iter()
            .map(|load| sandbox.load(load))
            .collect();
        for point in before {
            let world = World::now();
            if interrupted(&sandbox, point, "fail", &scene.subject.args()) {
                world.assert_same(&format!("after a load of {} failed at {point}", scene.name));
                assert_eq!(sandbox.ids(), resident);
            } else {
                // This kind has no such step.
                let loaded = sandbox.ids().into_iter().find(|id| !resident.contains(id));
                sandbox.unload(loaded.unwrap());
            }
            scene.runs(&sandbox, &veth, &resident);
        }
        for id in resident {
            sandbox.unload(id);
        }
    }
}

/// A writer that stands still in the middle holds up writers and no reader, and goes on.
#[test]
fn stopped_in_the_middle() {
    let sandbox = Sandbox::new();
    let (one, two) = (sandbox.veth(), sandbox.veth());
    let id = sandbox.load(&xdp("pass").xdp(&one.name));
    for point in ["load.loaded", "chain.swapped", "state.written"] {
        let mut command = sandbox.command(tc("ok").tc("ingress", &two.name).args());
        let child = command
            .env("BPFMAN_FAULT", format!("{point}:stop"))
            .spawn()
            .unwrap();
        let mut writer = Killed(child);
        let status = format!("/proc/{}/stat", writer.id());
        let stopped = || fs::read_to_string(&status).unwrap().contains(") T ");
        assert!(wait_until(10, stopped), "never came to {point}");
        assert_eq!(sandbox.ids(), [id], "not committed: not listed");
        assert_eq!(sandbox.get(id).bpfman("Position"), "0");
        assert_eq!(ingress(&sandbox, &one, 5, &[id]), (vec![5], 5));
        kill(
            Pid::from_raw(i32::try_from(writer.id()).unwrap()),
            Signal::SIGCONT,
        )
        .unwrap();
        assert!(writer.0.wait().unwrap().success());
        let ids = sandbox.ids();
        assert_eq!(ids.len(), 2);
        sandbox.unload(ids[1]);
    }
}

/// A point that is not in the list here is not proved.
#[test]
fn the_list_of_points_is_complete() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut found = Vec::new();
    let mut folders = vec![root.join("kernel/src"), root.join("manager/src")];
    while let Some(folder) = folders.pop() {
        // In a VM there are no sources.
        for entry in fs::read_dir(folder)
            .into_iter()
            .flatten()
            .map(Result::unwrap)
        {
            if entry.path().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let text = fs::read_to_string(entry.path()).unwrap();
            let calls = text.split("fault::point(\"").skip(1);
            found.extend(calls.map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    found.sort_unstable();
    found.dedup();
    let mut listed = POINTS.map(str::to_owned).to_vec();
    listed.sort_unstable();
    assert!(found.is_empty() || found == listed, "{found:?}");
}
