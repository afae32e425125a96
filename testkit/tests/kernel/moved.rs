//! Interfaces that get another name or move to another network namespace: their programs go along,
//! and so does what bpfman says of them.

use std::fs::File;

use nix::sched::{CloneFlags, setns};
use testkit::{Feature, Load, Sandbox, Veth, in_netns, json, object, tool};

use crate::support::{egress, ingress, positions, tc, xdp};

/// Programs on the interface that an interface takes along, and one that hangs on none.
struct Loaded {
    /// On the receive path, in the order in which they run.
    inbound: Vec<u32>,
    /// In filters, which the kernel takes off when an interface moves.
    filters: Vec<u32>,
    others: Vec<u32>,
}

impl Loaded {
    fn all(&self) -> Vec<u32> {
        let mut all = [&self.inbound[..], &self.filters, &self.others].concat();
        all.sort_unstable();
        all
    }

    /// What is left once the interface has moved.
    fn left(&self) -> Vec<u32> {
        let mut left = self.all();
        left.retain(|id| !self.filters.contains(id));
        left
    }
}

/// As many of each kind as this kernel takes, so that there are chains where it has them.
fn load_all(sandbox: &Sandbox, on: impl Fn(Load) -> Load, iface: &str) -> Loaded {
    let many = 1 + usize::from(Feature::Ext.is_present());
    let several = |load: &Load| -> Vec<u32> {
        // The newest of equals runs first.
        let mut ids: Vec<u32> = (0..many).map(|_| sandbox.load(load)).collect();
        ids.reverse();
        ids
    };
    let mut inbound = several(&on(xdp("pass").xdp(iface)));
    let mut filters = several(&on(tc("ok").tc("ingress", iface)));
    if Feature::Tcx.is_present() {
        let tcx = sandbox.load(&on(tc("unspec").tcx("ingress", iface)));
        inbound.push(tcx);
        inbound.append(&mut filters);
    }
    let mut others = Vec::new();
    if Feature::PerfLink.is_present() {
        let load = object("probes").name("count_tracepoint");
        let load = load.attach(&["tracepoint", "-t", "syscalls/sys_enter_unlink"]);
        others.push(sandbox.load(&load));
    }
    Loaded {
        inbound,
        filters,
        others,
    }
}

fn ids(sandbox: &Sandbox) -> Vec<u32> {
    let mut ids = sandbox.ids();
    ids.sort_unstable();
    ids
}

/// `get` of each names this interface and namespace, and a position.
#[track_caller]
fn shown_on(sandbox: &Sandbox, ids: &[u32], iface: &str, netns: Option<&str>) {
    for id in ids {
        let shown = sandbox.get(*id);
        assert_eq!(shown.bpfman("Iface"), iface, "{}", shown.text);
        assert_ne!(shown.bpfman("Position"), "None", "{}", shown.text);
        let row = shown.has("Netns").then(|| shown.bpfman("Netns"));
        assert_eq!(row.as_deref(), netns, "{}", shown.text);
    }
}

/// A command that changes nothing but brings kernel and state together.
fn any_writer(sandbox: &Sandbox) {
    sandbox
        .bpfman(["unload", "4294967295"])
        .fails(1, &["4294967295"]);
}

fn move_to(veth: &Veth, from: Option<&str>, to: &str) {
    let words = ["link", "set", &veth.name, "netns", to];
    match from {
        None => tool("ip", &words).ok(),
        Some(from) => tool("ip", &[&["-n", from][..], &words].concat()).ok(),
    };
}

/// What went to the namespace `there` with its interface runs there, for readers before any writer
/// has looked, and the writer changes nothing of that.
fn run_there(sandbox: &Sandbox, veth: &Veth, loaded: &Loaded) {
    for _ in 0..2 {
        shown_on(sandbox, &loaded.inbound, "bm0", Some("there"));
        assert_eq!(
            ingress(sandbox, veth, 5, &loaded.inbound),
            (vec![5; loaded.inbound.len()], 5)
        );
        any_writer(sandbox);
        assert_eq!(ids(sandbox), loaded.left());
    }
}

/// The chain there takes another one.
fn load_first_there(sandbox: &Sandbox, loaded: &Loaded) -> u32 {
    let load = xdp("pass").xdp("bm0").priority(0);
    let first = sandbox.load(&load.attach(&["--netns", "there"]));
    assert_eq!(positions(sandbox, &[first, loaded.inbound[0]]), [0, 1]);
    first
}

#[test]
fn a_renamed_interface_keeps_its_programs() {
    let sandbox = Sandbox::new();
    let mut veth = sandbox.veth();
    let loaded = load_all(&sandbox, |load| load, &veth.name);
    let inbound = [&loaded.inbound[..], &loaded.filters].concat();
    veth.rename("other");
    shown_on(&sandbox, &inbound, "other", None);
    assert_eq!(
        ingress(&sandbox, &veth, 5, &inbound),
        (vec![5; inbound.len()], 5)
    );
    // A program for the old name finds no interface, one for the new name joins the others.
    sandbox.try_load(&xdp("pass").xdp("bm0")).fails(1, &["bm0"]);
    shown_on(&sandbox, &inbound, "other", None);
    assert_eq!(ids(&sandbox), loaded.all());
    if Feature::Ext.is_present() {
        let first = sandbox.load(&xdp("pass").xdp("other").priority(0));
        assert_eq!(positions(&sandbox, &[first, inbound[0]]), [0, 1]);
        sandbox.unload(first);
    }
    for id in loaded.all() {
        sandbox.unload(id);
    }
    assert_eq!(veth.ingress(5), 5);
}

/// Another interface has the name that ours had: nothing of ours is on it.
#[test]
fn an_interface_with_the_old_name_of_a_renamed_one() {
    let sandbox = Sandbox::new();
    let mut veth = sandbox.veth();
    let old = sandbox.load(&xdp("pass").xdp("bm0"));
    veth.rename("other");
    let mut second = sandbox.veth();
    second.rename("bm0");
    let new = sandbox.load(&xdp("drop").xdp("bm0"));
    assert_eq!(ingress(&sandbox, &veth, 5, &[old, new]), (vec![5, 0], 5));
    assert_eq!(ingress(&sandbox, &second, 5, &[old, new]), (vec![0, 5], 0));
    shown_on(&sandbox, &[old], "other", None);
    shown_on(&sandbox, &[new], "bm0", None);
}

#[test]
fn a_moved_interface_takes_its_programs_along() {
    let sandbox = Sandbox::new();
    let mut veth = sandbox.veth();
    sandbox.netns("there");
    let loaded = load_all(&sandbox, |load| load, &veth.name);
    move_to(&veth, None, "there");
    veth.moved_to(Some("there"));
    run_there(&sandbox, &veth, &loaded);
    // There it is an interface like others, also for the next load.
    if Feature::Ext.is_present() {
        let first = load_first_there(&sandbox, &loaded);
        assert_eq!(ingress(&sandbox, &veth, 5, &[first]), (vec![5], 5));
        sandbox.unload(first);
    }
    let outward = tc("ok").tc("egress", "bm0");
    let filter = sandbox.load(&outward.attach(&["--netns", "there"]));
    assert_eq!(egress(&sandbox, &veth, 5, &[filter]), (vec![5], 5));
    sandbox.unload(filter);
    for id in loaded.left() {
        sandbox.unload(id);
    }
    assert_eq!(veth.ingress(5), 5);
}

/// The index is taken where it goes, so it gets another one.
#[test]
fn a_moved_interface_with_another_index() {
    let sandbox = Sandbox::new();
    let mut veth = sandbox.veth();
    sandbox.netns("there");
    let loaded = load_all(&sandbox, |load| load, &veth.name);
    let index = |netns: &[&str]| {
        let words = [netns, &["-j", "link", "show", "dev", "bm0"]].concat();
        json("ip", &words)[0]["ifindex"].as_u64().unwrap()
    };
    let before = index(&[]);
    let there = json("ip", &["-n", "there", "-j", "link", "show"]);
    let mut there = there.as_array().unwrap().iter();
    if !there.any(|link| link["ifindex"] == before) {
        let taken = before.to_string();
        let words = ["-n", "there", "link", "add", "sits", "index", &taken];
        let kind = ["type", "veth", "peer", "name", "near", "index", "4000"];
        tool("ip", &[&words[..], &kind].concat()).ok();
    }
    move_to(&veth, None, "there");
    assert_ne!(index(&["-n", "there"]), before);
    veth.moved_to(Some("there"));
    run_there(&sandbox, &veth, &loaded);
    if Feature::Ext.is_present() {
        load_first_there(&sandbox, &loaded);
    }
    // The sandbox unloads the rest and finds nothing left.
}

#[test]
fn an_interface_that_moved_and_came_back() {
    let sandbox = Sandbox::new();
    sandbox.netns("there");
    let mut veth = sandbox.veth_in("there");
    let on = |load: Load| load.attach(&["--netns", "there"]);
    let loaded = load_all(&sandbox, on, &veth.name);
    // The kernel takes the number of a thread for its namespace as well.
    move_to(&veth, Some("there"), &nix::unistd::gettid().to_string());
    veth.moved_to(None);
    shown_on(&sandbox, &loaded.inbound, "bm0", None);
    any_writer(&sandbox);
    assert_eq!(ids(&sandbox), loaded.left());
    move_to(&veth, None, "there");
    veth.moved_to(Some("there"));
    shown_on(&sandbox, &loaded.inbound, "bm0", Some("there"));
    assert_eq!(
        ingress(&sandbox, &veth, 5, &loaded.inbound),
        (vec![5; loaded.inbound.len()], 5)
    );
}

/// Deleted where it went: nothing is left of its programs.
#[test]
fn a_moved_interface_that_is_deleted() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    sandbox.netns("there");
    let loaded = load_all(&sandbox, |load| load, &veth.name);
    move_to(&veth, None, "there");
    any_writer(&sandbox);
    assert_eq!(ids(&sandbox), loaded.left());
    tool("ip", &["-n", "there", "link", "del", &veth.name]).ok();
    any_writer(&sandbox);
    assert_eq!(ids(&sandbox), loaded.others);
}

/// Moved to a namespace without a name and without a process: nothing of it can be found from
/// here. Records are dropped with a warning, and what goes by pins goes.
#[test]
fn an_interface_that_moved_out_of_sight() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    sandbox.netns("there");
    let loaded = load_all(&sandbox, |load| load, &veth.name);
    let hidden = File::open("/run/netns/there").unwrap();
    move_to(&veth, None, "there");
    in_netns("there", || tool("ip", &["link", "set", "bm0", "up"]).ok());
    tool("ip", &["netns", "del", "there"]).ok();
    let said = sandbox
        .bpfman(["unload", "4294967295"])
        .fails(1, &["4294967295"]);
    assert!(said.contains("no longer on"), "{said}");
    assert_eq!(ids(&sandbox), loaded.others);
    // TCX links are taken off wherever they are.
    if Feature::Tcx.is_present() {
        let attached = std::thread::scope(|scope| {
            let look = || {
                setns(&hidden, CloneFlags::CLONE_NEWNET).unwrap();
                let shown = testkit::bpftool(&["net", "show"]);
                shown[0]["tc"].as_array().map_or(0, Vec::len)
            };
            scope.spawn(look).join().unwrap()
        });
        assert_eq!(attached, 0);
    }
    // The last that holds the namespace: interface and programs go with it.
    drop(hidden);
}
