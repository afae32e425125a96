//! Other hands in our files, our pins and on our hooks: each leaves a defined state behind. The table
//! in docs/reliability.md says which. More of it is in `recovery`, `moved` and `interplay`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use libbpf_rs::Program;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::{
    Feature, Load, Sandbox, Veth, bpftool, is_waited_for, json, object, tool, wait_until,
    waits_for_a_lock, xdp_loader,
};

use crate::support::{
    Killed, egress, foreign_filter, ingress, loader_count, loader_joins, positions, tc, xdp,
};

const STATE: &str = "/run/bpfman/state.json";
const PREVIOUS: &str = "/run/bpfman/state.previous.json";

/// A command that changes nothing but brings kernel and state together.
fn any_writer(sandbox: &Sandbox) -> String {
    let said = sandbox.bpfman(["unload", "4294967295"]);
    said.fails(1, &["4294967295"])
}

fn tracepoint() -> Load {
    let load = object("probes").name("count_tracepoint");
    load.attach(&["tracepoint", "-t", "syscalls/sys_enter_unlink"])
}

/// A program of each kind that hangs on the interface, two in a chain where the kernel has chains.
fn each_kind(sandbox: &Sandbox, iface: &str) -> Vec<u32> {
    let many = 1 + usize::from(Feature::Ext.is_present());
    let mut loads = Vec::new();
    for _ in 0..many {
        loads.extend([
            xdp("pass").xdp(iface),
            tc("ok").tc("ingress", iface),
            tc("ok").tc("egress", iface),
        ]);
    }
    if Feature::Tcx.is_present() {
        loads.push(tc("unspec").tcx("ingress", iface));
    }
    if Feature::PerfLink.is_present() {
        loads.push(tracepoint());
    }
    loads.iter().map(|load| sandbox.load(load)).collect()
}

/// No program of ours is on the interface, in no way, and packets go both ways.
#[track_caller]
fn is_bare(veth: &Veth) {
    assert_eq!((veth.ingress(3), veth.egress(3)), (3, 3));
    let shown = bpftool(&["net", "show", "dev", &veth.name]);
    for kind in ["xdp", "tc"] {
        assert_eq!(shown[0][kind].as_array().map_or(0, Vec::len), 0, "{shown}");
    }
    let qdiscs = json("tc", &["-j", "qdisc", "show", "dev", &veth.name]);
    assert!(!qdiscs.to_string().contains("clsact"), "{qdiscs}");
}

/// A command of ours that stands still at a fault point.
struct Stopped(Killed);

impl Stopped {
    fn at(sandbox: &Sandbox, point: &str, args: &[String]) -> Self {
        let mut command = sandbox.command(args);
        let child = command
            .env("BPFMAN_FAULT", format!("{point}:stop"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let writer = Killed(child.unwrap());
        let status = format!("/proc/{}/stat", writer.id());
        let stopped = || fs::read_to_string(&status).unwrap().contains(") T ");
        assert!(wait_until(stopped), "never came to {point}");
        Self(writer)
    }

    /// Lets it go on. Answers its exit status and what it said.
    fn go_on(mut self) -> (i32, String, String) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        kill(pid, Signal::SIGCONT).unwrap();
        let status = self.0.0.wait().unwrap();
        let read = |from: Option<&mut dyn std::io::Read>| {
            let mut text = String::new();
            from.unwrap().read_to_string(&mut text).unwrap();
            eprintln!("{text}");
            text
        };
        let stdout = read(self.0.0.stdout.as_mut().map(|pipe| pipe as _));
        let stderr = read(self.0.0.stderr.as_mut().map(|pipe| pipe as _));
        (status.code().unwrap(), stdout, stderr)
    }
}

/// Waits until a process has ended or waits for a lock of somebody.
fn ended_or_waits(child: &mut Killed) -> bool {
    let mut ended = false;
    let settled = || {
        ended = child.0.try_wait().unwrap().is_some();
        ended || waits_for_a_lock(child.id())
    };
    assert!(wait_until(settled), "neither ended nor waiting");
    ended
}

#[test]
fn an_unmounted_bpffs_leaves_no_filter_behind() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let ids = each_kind(&sandbox, &veth.name);
    nix::mount::umount("/run/bpfman/fs").unwrap();
    // XDP programs are held by the interface and by libxdp's pins: they run on.
    let stay: Vec<u32> = ids
        .iter()
        .copied()
        .filter(|id| is_xdp(&sandbox, *id))
        .collect();
    assert_eq!((veth.ingress(3), veth.egress(3)), (3, 3));
    any_writer(&sandbox);
    assert_eq!(sandbox.ids(), stay);
    assert_eq!((veth.ingress(3), veth.egress(3)), (3, 3));
    for id in &stay {
        assert_ne!(sandbox.get(*id).bpfman("Position"), "None");
        sandbox.unload(*id);
    }
    is_bare(&veth);
    let id = sandbox.load(&tc("ok").tc("egress", &veth.name));
    assert_eq!(egress(&sandbox, &veth, 5, &[id]), (vec![5], 5));
}

fn is_xdp(sandbox: &Sandbox, id: u32) -> bool {
    let output = sandbox.bpfman(["get", &id.to_string()]);
    output.status == 0
        && output
            .stdout
            .lines()
            .any(|line| line.split_whitespace().eq(["Type:", "xdp"]))
}

/// The pins of a chain of libxdp's are gone, and with them what made it a chain.
#[test]
fn removed_pins_of_an_xdp_chain() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let ids = [10, 20].map(|at| sandbox.load(&xdp("pass").xdp(&veth.name).priority(at)));
    fs::remove_dir_all("/sys/fs/bpf/xdp").unwrap();
    assert_eq!(veth.ingress(5), 5);
    for id in ids {
        assert_eq!(
            sandbox.get(id).bpfman("Position"),
            "None",
            "it runs nowhere"
        );
    }
    // The next writer drops them, and takes the empty chain off the interface.
    any_writer(&sandbox);
    assert_eq!(sandbox.ids(), [0; 0]);
    is_bare(&veth);
    let id = sandbox.load(&xdp("pass").xdp(&veth.name));
    assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5));
}

/// The chain of somebody else without pins is none of our business.
#[test]
fn removed_pins_of_a_chain_of_xdp_loader() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext, Feature::XdpLoader]) else {
        return;
    };
    let veth = sandbox.veth();
    loader_joins(&veth.name, "50").ok();
    fs::remove_dir_all("/sys/fs/bpf/xdp").unwrap();
    let refused = sandbox.try_load(&xdp("pass").xdp(&veth.name));
    let said = refused.fails(1, &[&veth.name, "no pinned programs", "hint:"]);
    assert!(said.contains("xdp off"), "{said}");
    assert_eq!(veth.ingress(5), 5);
    tool("ip", &["link", "set", "dev", &veth.name, "xdp", "off"]).ok();
    let id = sandbox.load(&xdp("pass").xdp(&veth.name));
    assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5));
    fs::remove_dir_all("/sys/fs/bpf/foreign").unwrap();
}

/// Their program goes, with its map.
fn loader_leaves(veth: &Veth, sandbox: &Sandbox, ours: &[u32]) {
    let shown = xdp_loader(&["status", &veth.name]).ok();
    let theirs = shown.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let id = words.get(3)?.parse::<u32>().ok()?;
        (words[0] == "=>" && !ours.contains(&id)).then(|| id.to_string())
    });
    for id in theirs.collect::<Vec<_>>() {
        xdp_loader(&["unload", "-i", &id, &veth.name]).ok();
    }
    fs::remove_dir_all("/sys/fs/bpf/foreign").unwrap();
    for id in ours {
        sandbox.get(*id);
    }
}

/// xdp-loader begins while a load of ours is between two of its steps: it waits its turn or
/// gives up, and can join then; neither loses a program.
#[test]
fn xdp_loader_between_two_of_our_steps() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext, Feature::XdpLoader]) else {
        return;
    };
    let veth = sandbox.veth();
    for point in ["chain.noted", "chain.member-attached", "chain.swapped"] {
        let first = sandbox.load(&xdp("pass").xdp(&veth.name).priority(10));
        let load = xdp("pass").xdp(&veth.name).priority(60);
        let ours = Stopped::at(&sandbox, point, &load.args());
        let theirs = std::thread::scope(|scope| {
            let theirs = scope.spawn(|| loader_joins(&veth.name, "50").status);
            // It is in libxdp's queue, or through already where nothing held it up.
            let queue = Path::new("/sys/fs/bpf/xdp");
            let queued = || theirs.is_finished() || is_waited_for(queue);
            assert!(wait_until(queued), "xdp-loader neither ended nor waits");
            assert_eq!(veth.ingress(5), 5, "packets flow meanwhile");
            let (status, stdout, _) = ours.go_on();
            assert_eq!(status, 0);
            (theirs.join().unwrap(), stdout.trim().parse().unwrap())
        });
        let (status, second) = theirs;
        if status != 0 {
            // libxdp looks at the interface before it takes its lock, and gives up where the chain
            // has changed since.
            loader_joins(&veth.name, "50").ok();
        }
        let before = loader_count();
        assert_eq!(
            ingress(&sandbox, &veth, 5, &[first, second]),
            (vec![5, 5], 5)
        );
        assert_eq!(loader_count() - before, 5, "{point}");
        assert_eq!(positions(&sandbox, &[first, second]), [0, 2]);
        loader_leaves(&veth, &sandbox, &[first, second]);
        sandbox.unload(first);
        sandbox.unload(second);
    }
}

/// Somebody takes no lock and puts something else on the interface between two of our steps: we
/// notice, and what is there stays.
#[test]
fn another_xdp_program_between_two_of_our_steps() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let path = object("xdp_frags").path.with_file_name("xdp_verdict.bpf.o");
    let plain = "/sys/fs/bpf/plain";
    tool("bpftool", &["prog", "load", path.to_str().unwrap(), plain]).ok();
    let off = || tool("ip", &["link", "set", "dev", &veth.name, "xdp", "off"]).ok();
    let theirs = || {
        let words = [
            "net", "attach", "xdpdrv", "pinned", plain, "dev", &veth.name,
        ];
        tool("bpftool", &words).ok();
    };
    for resident in [false, true] {
        if resident && !Feature::Ext.is_present() {
            continue;
        }
        if resident {
            sandbox.load(&xdp("pass").xdp(&veth.name));
        }
        let load = xdp("pass").xdp(&veth.name);
        let ours = Stopped::at(&sandbox, "chain.noted", &load.args());
        if resident {
            off();
        }
        theirs();
        let (status, stdout, stderr) = ours.go_on();
        assert_eq!((status, stdout.as_str()), (1, ""), "{stderr}");
        assert!(
            stderr.contains(&veth.name) && stderr.contains("hint:"),
            "{stderr}"
        );
        let shown = bpftool(&["net", "show", "dev", &veth.name]);
        assert_eq!(shown[0]["xdp"].as_array().unwrap().len(), 1, "{shown}");
        sandbox.try_load(&load).fails(1, &["xdp_verdict"]);
        assert_eq!(
            sandbox.ids(),
            [0; 0],
            "what ran before is gone by their hand"
        );
        off();
        let id = sandbox.load(&load);
        assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5));
        sandbox.unload(id);
    }
    fs::remove_file(plain).unwrap();
}

/// The same with what holds a TC chain: somebody removes it while we are about to change it.
#[test]
fn a_tc_hook_cleared_between_two_of_our_steps() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let filter_off = || tool("tc", &["filter", "del", "dev", &veth.name, "ingress"]).ok();
    let qdisc_off = || tool("tc", &["qdisc", "del", "dev", &veth.name, "clsact"]).ok();
    let link_off = || detach_hook_link();
    let ways: Vec<&dyn Fn() -> String> = if Feature::Tcx.is_present() {
        vec![&link_off]
    } else {
        vec![&filter_off, &qdisc_off]
    };
    for clear in ways {
        for loading in [true, false] {
            let first = sandbox.load(&tc("ok").tc("ingress", &veth.name));
            let second = sandbox.load(&tc("ok").tc("ingress", &veth.name));
            let args = if loading {
                tc("ok").tc("ingress", &veth.name).args()
            } else {
                vec!["unload".to_owned(), first.to_string()]
            };
            let ours = Stopped::at(&sandbox, "chain.member-attached", &args);
            clear();
            let (status, _, stderr) = ours.go_on();
            assert_eq!(status, 1, "{stderr}");
            assert!(stderr.contains(&veth.name), "{stderr}");
            // All are gone by their hand. The next load finds a hook that is free.
            let id = sandbox.load(&tc("ok").tc("ingress", &veth.name));
            assert_eq!(sandbox.ids(), [id], "not {first} and {second}");
            assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5));
            sandbox.unload(id);
            is_bare(&veth);
        }
    }
}

/// `bpftool link detach` of the one link that holds a TC chain.
fn detach_hook_link() -> String {
    let pins = fs::read_dir("/run/bpfman/fs/tc").unwrap();
    let link = pins
        .map(|pin| pin.unwrap().path())
        .find(|pin| !pin.is_dir());
    let link = link.unwrap();
    tool(
        "bpftool",
        &["link", "detach", "pinned", link.to_str().unwrap()],
    )
    .ok()
}

/// Somebody's filter has taken the place of ours, with its priority and handle: it stays.
#[test]
fn a_filter_in_the_place_of_ours_between_two_of_our_steps() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    if Feature::Tcx.is_present() {
        return; // No filters there.
    }
    let veth = sandbox.veth();
    let dev = ["dev", veth.name.as_str(), "ingress"];
    sandbox.load(&tc("ok").tc("ingress", &veth.name));
    let load = tc("ok").tc("ingress", &veth.name);
    let ours = Stopped::at(&sandbox, "chain.member-attached", &load.args());
    tool("tc", &[&["filter", "del"][..], &dev].concat()).ok();
    foreign_filter(&veth.name, "ingress", &["prio", "50", "handle", "1"]);
    let (status, _, stderr) = ours.go_on();
    assert_eq!(status, 1, "{stderr}");
    assert!(stderr.contains("hint:"), "{stderr}");
    let shown = || json("tc", &[&["-j", "filter", "show"][..], &dev].concat()).to_string();
    assert!(shown().contains("tcx_stats"), "{}", shown());
    let id = sandbox.load(&load);
    assert_eq!(sandbox.ids(), [id]);
    assert!(shown().contains("tcx_stats"), "{}", shown());
    sandbox.unload(id);
    assert!(shown().contains("tcx_stats"), "{}", shown());
    tool("tc", &["qdisc", "del", "dev", &veth.name, "clsact"]).ok();
}

/// Only the filter, not the qdisc that we made for it.
#[test]
fn a_filter_that_somebody_deleted() {
    let sandbox = Sandbox::new();
    if Feature::Tcx.is_present() {
        return; // No filters there.
    }
    let veth = sandbox.veth();
    let gone = sandbox.load(&tc("shot").tc("ingress", &veth.name));
    let stays = sandbox.load(&tc("ok").tc("egress", &veth.name));
    tool("tc", &["filter", "del", "dev", &veth.name, "ingress"]).ok();
    assert_eq!(sandbox.get(gone).bpfman("Position"), "None");
    any_writer(&sandbox);
    assert_eq!(sandbox.ids(), [stays]);
    assert_eq!((veth.ingress(5), veth.egress(5)), (5, 5));
    sandbox.unload(stays);
    is_bare(&veth);
}

#[test]
fn a_link_that_somebody_detached() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let mut loads = Vec::new();
    if Feature::Tcx.is_present() {
        loads.push(tc("shot").tcx("ingress", &veth.name));
    }
    if Feature::PerfLink.is_present() {
        loads.push(tracepoint());
    }
    for load in loads {
        let id = sandbox.load(&load);
        let pin = format!("/run/bpfman/fs/links/{id}");
        // The kernel detaches TCX links, and knows no such thing for perf events.
        if tool("bpftool", &["link", "detach", "pinned", &pin]).status != 0 {
            fs::remove_file(pin).unwrap();
        }
        assert_eq!(veth.ingress(3), 3);
        any_writer(&sandbox);
        assert_eq!(sandbox.ids(), [0; 0]);
        let id = sandbox.load(&load);
        sandbox.unload(id);
    }
}

#[test]
fn a_removed_state_document_falls_back_to_the_one_before() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    // Where two can be in a chain, it is one of a chain that was lost.
    let free = if Feature::Ext.is_present() {
        sandbox.load(&tc("ok").tc("egress", &veth.name));
        veth.name.clone()
    } else {
        sandbox.veth().name
    };
    let kept = [sandbox.ids(), each_kind(&sandbox, &veth.name)].concat();
    let lost = sandbox.load(&tc("ok").tc("egress", &free).priority(5));
    fs::remove_file(STATE).unwrap();
    let mut listed = sandbox.ids();
    assert_eq!(listed, kept, "readers fall back as well");
    any_writer(&sandbox);
    listed = sandbox.ids();
    assert_eq!(listed, kept);
    assert_eq!((veth.ingress(3), veth.egress(3)), (3, 3));
    let gone = || Program::fd_from_id(lost).is_err();
    assert!(wait_until(gone), "{lost} is not left in the chain");
}

/// Nothing says any more what our programs mean: they go, out of chains as well, and what others
/// have there stays.
#[test]
fn without_any_state_document_nothing_of_ours_stays() {
    let sandbox = Sandbox::new();
    let (veth, shared) = (sandbox.veth(), sandbox.veth());
    let theirs = Feature::Ext.is_present() && Feature::XdpLoader.is_present();
    each_kind(&sandbox, &veth.name);
    if theirs {
        loader_joins(&shared.name, "50").ok();
    }
    let id = sandbox.load(&xdp("pass").xdp(&shared.name).priority(10));
    fs::remove_file(STATE).unwrap();
    fs::remove_file(PREVIOUS).unwrap();
    assert_eq!(sandbox.ids(), [0; 0]);
    assert!(sandbox.get(id).is_foreign());
    any_writer(&sandbox);
    // That we made the qdisc stood in the document.
    if !Feature::Tcx.is_present() {
        tool("tc", &["qdisc", "del", "dev", &veth.name, "clsact"]).ok();
    }
    is_bare(&veth);
    assert_eq!(shared.ingress(5), 5);
    if theirs {
        assert_eq!(loader_count(), 5);
        loader_leaves(&shared, &sandbox, &[]);
    }
    is_bare(&shared);
    let id = sandbox.load(&xdp("pass").xdp(&shared.name));
    assert_eq!(ingress(&sandbox, &shared, 5, &[id]), (vec![5], 5));
}

/// Ids in the document that are wrong: of nothing, or of somebody else's program.
#[test]
fn a_state_document_with_wrong_ids() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let path = object("xdp_frags").path.with_file_name("xdp_verdict.bpf.o");
    let plain = "/sys/fs/bpf/plain";
    tool("bpftool", &["prog", "load", path.to_str().unwrap(), plain]).ok();
    let theirs = bpftool(&["prog", "show", "pinned", plain])["id"]
        .as_u64()
        .unwrap();
    for wrong in [4_000_000_000, theirs] {
        let id = sandbox.load(&xdp("pass").xdp(&veth.name));
        let good = fs::read_to_string(STATE).unwrap();
        let edited = good
            .replace(
                &format!("\"{id}\":{{\"id\":{id},"),
                &format!("\"{wrong}\":{{\"id\":{wrong},"),
            )
            .replace(&format!("\"maps\":{id}"), &format!("\"maps\":{wrong}"));
        assert_ne!(edited, good);
        fs::write(STATE, edited).unwrap();
        sandbox.bpfman(["list"]).ok();
        any_writer(&sandbox);
        assert_eq!(sandbox.ids(), [0; 0], "neither is a program of ours there");
        is_bare(&veth);
        assert!(fs::exists(plain).unwrap());
    }
    // A record in the place of another one is damage, and the document before it counts.
    let ids = [(); 2].map(|()| sandbox.load(&tracepoint_or(&veth)));
    let good = fs::read_to_string(STATE).unwrap();
    let edited = good.replacen(&format!("\"id\":{}", ids[0]), "\"id\":1", 1);
    assert_ne!(edited, good);
    fs::write(STATE, edited).unwrap();
    assert_eq!(sandbox.ids(), [ids[0]]);
    any_writer(&sandbox);
    assert_eq!(sandbox.ids(), [ids[0]]);
    fs::remove_file(plain).unwrap();
}

/// It is detached, and somebody else's from then on.
#[test]
fn a_program_that_somebody_holds() {
    const HELD: &str = "/sys/fs/bpf/held";
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(&tc("shot").tc("ingress", &veth.name));
    let pin = ["prog", "pin", "id", &id.to_string(), HELD];
    tool("bpftool", &pin).ok();
    assert_eq!(veth.ingress(3), 0);
    sandbox.unload(id);
    assert_eq!(veth.ingress(3), 3);
    assert_eq!(sandbox.ids(), [0; 0]);
    assert!(sandbox.get(id).is_foreign());
    let again = sandbox.bpfman(["unload", &id.to_string()]);
    again.fails(1, &["not loaded by bpfman"]);
    fs::remove_file(HELD).unwrap();
}

/// A load that can be done twice on every kernel.
fn tracepoint_or(veth: &Veth) -> Load {
    if Feature::PerfLink.is_present() {
        tracepoint()
    } else {
        tc("ok").tc("ingress", &veth.name)
    }
}

/// The lock file is removed while somebody holds it: the next writer waits all the same.
#[test]
fn a_lock_file_removed_while_it_is_held() {
    let sandbox = Sandbox::new();
    let (one, two) = (sandbox.veth(), sandbox.veth());
    let first = xdp("pass").xdp(&one.name);
    let first = Stopped::at(&sandbox, "load.program-pinned", &first.args());
    fs::remove_file("/run/bpfman/lock").unwrap();
    let mut second = sandbox.command(xdp("pass").xdp(&two.name).args());
    let mut second = Killed(second.stdout(Stdio::null()).spawn().unwrap());
    assert!(!ended_or_waits(&mut second), "two writers at once");
    let (status, stdout, _) = first.go_on();
    assert_eq!(status, 0);
    assert!(second.0.wait().unwrap().success());
    let first: u32 = stdout.trim().parse().unwrap();
    let ids = sandbox.ids();
    assert!(ids.len() == 2 && ids.contains(&first), "{ids:?}");
    assert_eq!(ingress(&sandbox, &one, 5, &[first]), (vec![5], 5));
}

#[test]
fn a_damaged_note_of_a_change() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let note = PathBuf::from("/run/bpfman/pending.json");
    let id = sandbox.load(&tc("ok").tc("ingress", &veth.name));
    let good = fs::read_to_string(&note).unwrap();
    let other = good.replace(&format!("\"program\":{id}"), "\"program\":4000000000");
    assert_ne!(other, good);
    for damage in ["", "rubbish", "{}", &good[..good.len() / 2], &other] {
        fs::write(&note, damage).unwrap();
        assert_eq!(sandbox.ids(), [id], "readers do not look at it");
        let said = any_writer(&sandbox);
        assert_eq!(said.contains("damaged"), damage != other, "{said}");
        assert!(!note.exists(), "{damage}");
        assert_eq!(ingress(&sandbox, &veth, 3, &[id]), (vec![3], 3), "{damage}");
        assert_eq!(positions(&sandbox, &[id]), [0]);
    }
    // A program that a killed load left in a chain is found without the note.
    if Feature::Ext.is_present() {
        let load = tc("shot").tc("ingress", &veth.name).priority(5);
        let output = sandbox.bpfman_env("BPFMAN_FAULT", "chain.swapped:abort", load.args());
        assert_eq!(output.status, 128 + 9, "{output}");
        assert_eq!(veth.ingress(3), 0);
        fs::write(&note, "rubbish").unwrap();
        any_writer(&sandbox);
        assert_eq!(sandbox.ids(), [id]);
        assert_eq!(ingress(&sandbox, &veth, 3, &[id]), (vec![3], 3));
    }
}
