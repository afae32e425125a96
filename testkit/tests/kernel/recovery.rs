//! What others do behind our back, and what bpfman makes of it.

use std::{fs, path::PathBuf};

use testkit::{Feature, Sandbox, Veth, object, tool};

use crate::support::{ingress, positions, tc, xdp};

fn state(sandbox: &Sandbox) -> PathBuf {
    sandbox.runtime_dir().join("state.json")
}

/// Unloads those of the programs, whose place is gone, that `list` still shows, in one command: a
/// warning may be said, and that is all.
#[track_caller]
fn unload_orphans(sandbox: &Sandbox, ids: &[u32]) {
    let shown = sandbox.ids().into_iter().filter(|id| ids.contains(id));
    let shown: Vec<String> = shown.map(|id| id.to_string()).collect();
    if !shown.is_empty() {
        let words = std::iter::once("unload").chain(shown.iter().map(String::as_str));
        assert_eq!(sandbox.bpfman(words).ok(), "");
    }
    let left = sandbox.ids();
    assert!(ids.iter().all(|id| !left.contains(id)), "{left:?}");
}

/// A program of each kind that this kernel runs.
fn some_of_each(sandbox: &Sandbox, veth: &Veth) -> Vec<u32> {
    let mut loads = vec![
        xdp("pass").xdp(&veth.name),
        tc("ok").tc("ingress", &veth.name),
    ];
    if Feature::Ext.is_present() {
        loads.push(xdp("pass").xdp(&veth.name));
        loads.push(tc("ok").tc("ingress", &veth.name));
    }
    if Feature::Tcx.is_present() {
        loads.push(tc("unspec").tcx("egress", &veth.name));
    }
    if Feature::PerfLink.is_present() {
        let load = object("probes").name("count_tracepoint");
        loads.push(load.attach(&["tracepoint", "-t", "syscalls/sys_enter_unlink"]));
    }
    loads.iter().map(|load| sandbox.load(load)).collect()
}

#[test]
fn after_a_reboot_nothing_is_loaded() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    some_of_each(&sandbox, &veth);
    // The state document survives a reboot only where /run is no tmpfs; everything else goes.
    let text = fs::read_to_string(state(&sandbox)).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    fs::write(
        state(&sandbox),
        text.replace(boot.trim(), "of-another-boot"),
    )
    .unwrap();
    nix::mount::umount("/run/bpfman/fs").unwrap();
    fs::remove_dir_all("/sys/fs/bpf/xdp").unwrap_or_default();
    tool("ip", &["link", "del", &veth.name]).ok();
    drop(veth);
    assert_eq!(sandbox.ids(), [0; 0]);
    let veth = sandbox.veth();
    let id = sandbox.load(&xdp("pass").xdp(&veth.name));
    assert_eq!(sandbox.ids(), [id]);
    assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5));
}

#[test]
fn a_bpffs_that_was_unmounted() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let gone = some_of_each(&sandbox, &veth);
    nix::mount::umount("/run/bpfman/fs").unwrap();
    fs::remove_dir_all("/sys/fs/bpf/xdp").unwrap_or_default();
    // The interface holds XDP programs without any pin of ours.
    tool("ip", &["link", "set", "dev", &veth.name, "xdp", "off"]).ok();
    for id in &gone {
        // Either unknown by now or unloaded: never a crash.
        let status = sandbox.bpfman(["get", &id.to_string()]).status;
        assert!([0, 1].contains(&status));
    }
    let id = sandbox.load(&xdp("pass").xdp(&veth.name));
    assert_eq!(sandbox.ids(), [id]);
    assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5));
    let other = sandbox.load(&tc("ok").tc("ingress", &veth.name));
    assert_eq!(ingress(&sandbox, &veth, 5, &[id, other]), (vec![5, 5], 5));
}

#[test]
fn a_deleted_interface() {
    let sandbox = Sandbox::new();
    let (veth, other) = (sandbox.veth(), sandbox.veth());
    let gone = some_of_each(&sandbox, &veth);
    let stays = sandbox.load(&xdp("pass").xdp(&other.name));
    tool("ip", &["link", "del", &veth.name]).ok();
    unload_orphans(&sandbox, &gone);
    assert_eq!(sandbox.ids(), [stays]);
    assert_eq!(ingress(&sandbox, &other, 5, &[stays]), (vec![5], 5));
}

#[test]
fn an_interface_that_came_back_with_the_same_name() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let gone = some_of_each(&sandbox, &veth);
    tool("ip", &["link", "del", &veth.name]).ok();
    drop(veth);
    let veth = sandbox.veth();
    tool("ip", &["link", "set", &veth.name, "down"]).ok();
    tool("ip", &["link", "set", &veth.name, "name", "bm0"]).ok();
    tool("ip", &["link", "set", "bm0", "up"]).ok();
    let arp = [
        "neigh",
        "replace",
        "10.200.1.2",
        "lladdr",
        "02:00:00:00:01:02",
        "dev",
        "bm0",
    ];
    tool("ip", &arp).ok();
    let id = sandbox.load(&xdp("pass").xdp("bm0"));
    assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5));
    assert_eq!(positions(&sandbox, &[id]), [0]);
    let left: Vec<u32> = sandbox
        .ids()
        .into_iter()
        .filter(|id| gone.contains(id))
        .collect();
    let probes = u32::from(Feature::PerfLink.is_present());
    assert_eq!(
        left.len(),
        probes as usize,
        "only what hangs on no interface"
    );
}

#[test]
fn a_deleted_namespace() {
    let sandbox = Sandbox::new();
    sandbox.netns("there");
    let veth = sandbox.veth_in("there");
    let on = |load: testkit::Load| load.attach(&["--netns", "there"]);
    let gone = [
        sandbox.load(&on(xdp("pass").xdp(&veth.name))),
        sandbox.load(&on(tc("ok").tc("egress", &veth.name))),
    ];
    let other = sandbox.veth();
    let stays = sandbox.load(&xdp("pass").xdp(&other.name));
    drop(veth);
    tool("ip", &["netns", "del", "there"]).ok();
    unload_orphans(&sandbox, &gone);
    assert_eq!(sandbox.ids(), [stays]);
}

/// The name of a namespace is used again for another one, with an interface of the same name.
#[test]
fn a_namespace_that_came_back_with_the_same_name() {
    let sandbox = Sandbox::new();
    sandbox.netns("there");
    let veth = sandbox.veth_in("there");
    let load = xdp("pass").xdp(&veth.name).attach(&["--netns", "there"]);
    let gone = sandbox.load(&load);
    drop(veth);
    tool("ip", &["netns", "del", "there"]).ok();
    sandbox.netns("there");
    let veth = sandbox.veth_in("there");
    let load = xdp("pass").xdp(&veth.name).attach(&["--netns", "there"]);
    let id = sandbox.load(&load);
    assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5));
    assert_eq!(positions(&sandbox, &[id]), [0]);
    assert!(!sandbox.ids().contains(&gone));
}

#[test]
fn an_xdp_program_that_somebody_detached() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let gone = sandbox.load(&xdp("pass").xdp(&veth.name));
    tool("ip", &["link", "set", "dev", &veth.name, "xdp", "off"]).ok();
    assert_eq!(veth.ingress(5), 5);
    unload_orphans(&sandbox, &[gone]);
    let gone = sandbox.load(&xdp("drop").xdp(&veth.name));
    tool("ip", &["link", "set", "dev", &veth.name, "xdp", "off"]).ok();
    let id = sandbox.load(&xdp("pass").xdp(&veth.name));
    assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5));
    assert_eq!(sandbox.ids(), [id]);
    assert_ne!(id, gone);
}

#[test]
fn a_tc_program_that_somebody_detached() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let detach = || {
        if !Feature::Tcx.is_present() {
            tool("tc", &["qdisc", "del", "dev", &veth.name, "clsact"]).ok();
            return;
        }
        // The link of the hook is the one pin there that is no folder.
        let pins = fs::read_dir("/run/bpfman/fs/tc")
            .unwrap()
            .map(|pin| pin.unwrap().path());
        let links: Vec<PathBuf> = pins.filter(|pin| !pin.is_dir()).collect();
        let [link] = &links[..] else {
            panic!("one link: {links:?}")
        };
        tool(
            "bpftool",
            &["link", "detach", "pinned", link.to_str().unwrap()],
        )
        .ok();
    };
    let gone = sandbox.load(&tc("shot").tc("ingress", &veth.name));
    assert_eq!(veth.ingress(5), 0);
    detach();
    assert_eq!(veth.ingress(5), 5);
    unload_orphans(&sandbox, &[gone]);
    sandbox.load(&tc("shot").tc("ingress", &veth.name));
    detach();
    let id = sandbox.load(&tc("ok").tc("ingress", &veth.name));
    assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5));
    assert_eq!(sandbox.ids(), [id]);
}

#[test]
fn pins_that_somebody_removed() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    for dir in ["progs", "links", "maps"] {
        let ids = some_of_each(&sandbox, &veth);
        fs::remove_dir_all(format!("/run/bpfman/fs/{dir}")).unwrap();
        unload_orphans(&sandbox, &ids);
        assert_eq!(sandbox.ids(), [0; 0], "{dir}");
        assert_eq!((veth.ingress(3), veth.egress(3)), (3, 3), "{dir}");
    }
}

#[test]
fn a_truncated_state_falls_back_to_the_one_before() {
    let sandbox = Sandbox::new();
    let (one, two) = (sandbox.veth(), sandbox.veth());
    let first = sandbox.load(&xdp("pass").xdp(&one.name));
    sandbox.load(&xdp("pass").xdp(&two.name));
    let text = fs::read(state(&sandbox)).unwrap();
    fs::write(state(&sandbox), &text[..text.len() / 2]).unwrap();
    assert_eq!(sandbox.ids(), [first]);
    // The second has no record now: it goes with the next change, and the first stays.
    let third = sandbox.load(&tc("ok").tc("ingress", &one.name));
    assert_eq!(sandbox.ids(), [first, third]);
    assert_eq!(ingress(&sandbox, &one, 5, &[first, third]), (vec![5, 5], 5));
    let fourth = sandbox.load(&xdp("pass").xdp(&two.name));
    assert_eq!(positions(&sandbox, &[fourth]), [0]);
}

#[test]
fn a_temporary_file_that_was_left() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(&xdp("pass").xdp(&veth.name));
    fs::write("/run/bpfman/state.json.new", "{\"version\":1,").unwrap();
    assert_eq!(sandbox.ids(), [id]);
    sandbox.unload(id);
    assert!(!fs::exists("/run/bpfman/state.json.new").unwrap());
}

#[test]
fn an_unknown_version_of_the_state() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(&xdp("pass").xdp(&veth.name));
    let text = fs::read_to_string(state(&sandbox)).unwrap();
    let newer = text.replacen("\"version\":1", "\"version\":99", 1);
    assert_ne!(newer, text);
    fs::write(state(&sandbox), &newer).unwrap();
    sandbox.unchanged(|| {
        let id = id.to_string();
        sandbox.bpfman(["list"]).fails(1, &["state.json", "99"]);
        sandbox.bpfman(["get", &id]).fails(1, &["state.json", "99"]);
        sandbox
            .bpfman(["unload", &id])
            .fails(1, &["state.json", "99"]);
        sandbox
            .try_load(&tc("ok").tc("ingress", &veth.name))
            .fails(1, &["state.json", "99"]);
    });
    assert_eq!(fs::read_to_string(state(&sandbox)).unwrap(), newer);
    fs::write(state(&sandbox), text).unwrap();
    assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5));
}

#[test]
fn a_state_that_is_no_json_is_never_thrown_away_while_programs_run() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(&xdp("pass").xdp(&veth.name));
    let good = fs::read(state(&sandbox)).unwrap();
    fs::write(state(&sandbox), "rubbish").unwrap();
    fs::remove_file("/run/bpfman/state.previous.json").unwrap_or_default();
    sandbox
        .bpfman(["unload", &id.to_string()])
        .fails(1, &["state.json"]);
    assert_eq!(fs::read(state(&sandbox)).unwrap(), b"rubbish");
    assert_eq!(veth.ingress(5), 5);
    fs::write(state(&sandbox), good).unwrap();
    assert_eq!(sandbox.count(id, "counter"), 5);
}
