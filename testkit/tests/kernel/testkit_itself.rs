//! The ground must hold before anything is proved on it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    panic::{AssertUnwindSafe, catch_unwind},
    process::Stdio,
    sync::mpsc,
    thread,
};

use libbpf_rs::Program;
use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::{Feature, Lane, Load, Sandbox, Stranger, World, bpfman, object, tool, wait_until};

use crate::{
    recovering::NOBODY,
    support::{Killed, foreign_filter, tc, xdp},
};

/// A pin that no command of ours makes.
const LEFT: &str = "/sys/fs/bpf/left";

fn tracepoint() -> Load {
    let load = object("probes").name("count_tracepoint");
    load.attach(&["tracepoint", "-t", "syscalls/sys_enter_unlink"])
}

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

/// Each of those words begins a line of what came since.
#[track_caller]
fn came(before: &World, words: &[&str]) {
    let diff = before.diff(&World::now());
    for word in words {
        let found = diff
            .iter()
            .any(|line| line.starts_with(&format!("+ {word}")));
        assert!(found, "no {word}: {diff:#?}");
    }
    assert!(!before.orphans(&[]).is_empty(), "{diff:#?}");
    assert!(!before.more().is_empty(), "{diff:#?}");
}

fn load_pinned(name: &str, pin: &str) {
    let path = object(name).path;
    tool("bpftool", &["prog", "load", path.to_str().unwrap(), pin]).ok();
}

#[test]
fn what_only_a_pin_holds_is_a_leak() {
    let sandbox = Sandbox::new();
    let before = World::now();
    load_pinned("tc_verdict", LEFT);
    came(&before, &["pin /sys/fs/bpf/left", "program ", "map "]);
    fs::remove_file(LEFT).unwrap();
    let array = ["type", "array", "key", "4", "value", "4", "entries", "1"];
    let create = ["map", "create", LEFT];
    tool(
        "bpftool",
        &[&create[..], &array, &["name", "leak"]].concat(),
    )
    .ok();
    came(&before, &["pin /sys/fs/bpf/left", "map "]);
    fs::remove_file(LEFT).unwrap();
    drop(sandbox);
}

#[test]
fn what_only_an_interface_holds_is_a_leak() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let dev = ["dev", &veth.name];
    let before = World::now();
    load_pinned("xdp_verdict", LEFT);
    tool(
        "ip",
        &[&["link", "set"], &dev[..], &["xdp", "pinned", LEFT]].concat(),
    )
    .ok();
    fs::remove_file(LEFT).unwrap();
    came(&before, &["xdp /bm0", "program ", "map "]);
    tool(
        "ip",
        &[&["link", "set"], &dev[..], &["xdp", "off"]].concat(),
    )
    .ok();
    tool("tc", &[&["qdisc", "add"], &dev[..], &["clsact"]].concat()).ok();
    foreign_filter(&veth.name, "egress", &[]);
    came(
        &before,
        &["qdisc /bm0", "filter /bm0 egress", "program ", "map "],
    );
    tool("tc", &[&["qdisc", "del"], &dev[..], &["clsact"]].concat()).ok();
    drop(sandbox);
}

/// A link keeps its program attached under any name.
#[test]
fn a_link_that_is_pinned_elsewhere_is_a_leak() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let veth = sandbox.veth();
    let before = World::now();
    let mut loads = vec![tracepoint()];
    if Feature::Tcx.is_present() {
        loads.push(tc("ok").tcx("ingress", &veth.name));
    }
    for load in loads {
        let id = sandbox.load(&load);
        let elsewhere = "/run/bpfman/fs/elsewhere";
        fs::rename(format!("/run/bpfman/fs/links/{id}"), elsewhere).unwrap();
        fs::remove_file(format!("/run/bpfman/fs/progs/{id}")).unwrap();
        came(
            &before,
            &["pin /run/bpfman/fs/elsewhere", "link ", "program "],
        );
        fs::remove_file(elsewhere).unwrap();
        sandbox.bpfman(NOBODY).fails(1, &["no program"]);
    }
}

/// Nothing has a name yet where these commands stand still.
#[test]
fn what_only_a_background_process_holds_is_a_leak() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    // In the sandbox, and no child of the test any more; a child, and in namespaces of its own.
    let adopted = "setsid \"$@\" < /dev/null > /dev/null 2>&1 & echo $!";
    let apart = "unshare -mn \"$@\" < /dev/null > /dev/null 2>&1 & echo $!; exec > /dev/null; wait";
    sandbox.unload(sandbox.load(&tracepoint()));
    let before = World::now();
    for script in [adopted, apart] {
        for (point, held) in [("load.loaded", "program "), ("load.linked", "link ")] {
            let mut command = sandbox.program("sh".as_ref(), ["-c", script, "sh"]);
            command.arg(bpfman()).args(tracepoint().args());
            command.env("BPFMAN_FAULT", format!("{point}:stop"));
            let mut shell = Killed(command.stdout(Stdio::piped()).spawn().unwrap());
            let mut id = String::new();
            let said = shell.0.stdout.take().unwrap();
            BufReader::new(said).read_line(&mut id).unwrap();
            let id = id.trim();
            let stat = || fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
            assert!(wait_until(|| stat().contains(") T ")), "{}", stat());
            came(&before, &[held, "map "]);
            kill(Pid::from_raw(id.parse().unwrap()), Signal::SIGKILL).unwrap();
            let gone = || !fs::exists(format!("/proc/{id}")).unwrap() || stat().contains(") Z ");
            assert!(wait_until(gone));
            sandbox.bpfman(NOBODY).fails(1, &["no program"]);
        }
    }
}

/// Who holds it is outside of everything that is looked at, but a command has said its id.
#[test]
fn a_program_that_stays_is_a_leak_whoever_holds_it() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let before = World::now();
    let id = sandbox.load(&xdp("pass").xdp(&veth.name));
    let (done, until) = mpsc::channel::<()>();
    let (holds, held) = mpsc::channel();
    let outside = thread::spawn(move || {
        let own = CloneFlags::CLONE_FILES | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
        unshare(own).unwrap();
        let program = Program::fd_from_id(id).unwrap();
        holds.send(()).unwrap();
        until.recv().unwrap_err();
        drop(program);
    });
    held.recv().unwrap();
    sandbox.unload(id);
    came(&before, &[&format!("program {id}: "), "map "]);
    drop(done);
    outside.join().unwrap();
    before.assert_same("when it is gone");
}

/// Whatever others load, of the same names too, is in no snapshot; what we leave is.
#[test]
fn a_stranger_is_in_no_world() {
    let stranger = Stranger::start();
    let sandbox = Sandbox::beside_strangers();
    let veth = sandbox.veth();
    let start = World::now();
    let id = sandbox.load(&xdp("pass").xdp(&veth.name));
    start.assert_no_orphans(&[id], "beside a stranger");
    let before = World::now();
    let begun = stranger.loads();
    let mut looks = 0;
    while stranger.loads() < begun + 100 {
        // At once, and not only after a while.
        assert_eq!(before.diff(&World::now()), Vec::<String>::new());
        assert_eq!(start.orphans(&[id]), Vec::<String>::new());
        assert_eq!(before.more(), Vec::<String>::new());
        let all = sandbox.unchanged(|| sandbox.list(&["--all"]));
        assert!(all.len() > 1, "the stranger has nothing loaded");
        looks += 1;
    }
    eprintln!("figure: {looks} looks beside 100 loads of a stranger");
    // Of the same object and name as those of the stranger.
    load_pinned("tc_verdict", LEFT);
    came(&before, &["pin ", "program ", "map "]);
    fs::remove_file(LEFT).unwrap();
    before.assert_same("when it is gone");
    stranger.end();
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
