//! Tracepoints, kprobes, uprobes, fentry and fexit: each fires where it was told to, and nowhere
//! else. `counter` of the object counts the calls of this process only.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use testkit::{Feature, Load, Sandbox, maps, object, tool};

use crate::{
    libc::Libc,
    support::{Killed, hex},
};

/// A program of the object that counts the calls of this process.
fn mine(name: &str) -> Load {
    let pid = i32::try_from(std::process::id()).unwrap();
    object("probes").name(name).global("only_pid", &hex(pid))
}

/// A program of the object that counts all calls.
fn all(name: &str) -> Load {
    object("probes").name(name)
}

fn unlink(files: usize) {
    for _ in 0..files {
        fs::write("/run/gone", "").unwrap();
        fs::remove_file("/run/gone").unwrap();
    }
}

/// What the programs count while this process asks for its id so many times. Starting a command
/// asks for it, too, so nothing is started in between.
fn getpid(sandbox: &Sandbox, times: usize, ids: &[u32]) -> Vec<u64> {
    let maps: Vec<_> = ids.iter().map(|id| sandbox.map(*id, "counter")).collect();
    let counts = || {
        maps.iter()
            .map(|map| maps::count(map, 0))
            .collect::<Vec<_>>()
    };
    let before = counts();
    for _ in 0..times {
        std::hint::black_box(std::process::id());
    }
    counts()
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect()
}

#[test]
fn a_tracepoint_counts_each_call() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let load = mine("count_tracepoint").attach(&["tracepoint", "-t", "syscalls/sys_enter_unlink"]);
    let id = sandbox.load(&load);
    unlink(7);
    assert_eq!(sandbox.count(id, "counter"), 7);
    let shown = sandbox.get(id);
    assert_eq!(shown.kernel("Type"), "tracepoint");
    assert_eq!(shown.bpfman("Tracepoint"), "syscalls/sys_enter_unlink");
    sandbox.unload(id);
}

#[test]
fn many_programs_share_a_tracepoint() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let load = mine("count_tracepoint").attach(&["tracepoint", "-t", "syscalls/sys_enter_unlink"]);
    let ids: Vec<u32> = (0..12).map(|_| sandbox.load(&load)).collect();
    unlink(3);
    for id in &ids {
        assert_eq!(sandbox.count(*id, "counter"), 3);
    }
    sandbox.unload(ids[5]);
    unlink(1);
    assert_eq!(sandbox.count(ids[11], "counter"), 4);
}

/// The command finds tracefs, or reaches tracepoints without it, when nobody mounted it.
#[test]
fn a_tracepoint_needs_no_mounted_tracefs() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    nix::mount::umount("/sys/kernel/tracing").unwrap();
    let load = mine("count_tracepoint").attach(&["tracepoint", "-t", "syscalls/sys_enter_unlink"]);
    let id = sandbox.load(&load);
    unlink(2);
    assert_eq!(sandbox.count(id, "counter"), 2);
}

#[test]
fn a_kprobe_counts_calls_and_a_kretprobe_returns() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Kprobe, Feature::PerfLink]) else {
        return;
    };
    let attach = ["kprobe", "-f", "do_unlinkat"];
    let ids = [
        sandbox.load(&mine("count_kprobe").attach(&attach)),
        sandbox.load(&mine("count_kretprobe").attach(&attach).attach(&["-r"])),
        sandbox.load(&mine("count_kprobe").attach(&attach).attach(&["--retprobe"])),
        sandbox.load(
            &mine("count_kprobe")
                .attach(&attach)
                .attach(&["--offset", "0"]),
        ),
    ];
    unlink(5);
    for id in ids {
        assert_eq!(sandbox.count(id, "counter"), 5);
        assert_eq!(sandbox.get(id).kernel("Type"), "probe");
        assert_eq!(sandbox.get(id).bpfman("Function"), "do_unlinkat");
    }
}

#[test]
fn a_kprobe_at_an_offset() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Kprobe, Feature::PerfLink]) else {
        return;
    };
    let attach = |offset: &str| {
        mine("count_kprobe").attach(&["kprobe", "--fn-name", "do_unlinkat", "--offset", offset])
    };
    // The first instruction is the call of ftrace or the landing pad, four or five bytes long; one
    // of the two is the start of an instruction, and the kernel takes no other.
    let loaded: Vec<u32> = ["4", "5"]
        .iter()
        .map(|offset| sandbox.try_load(&attach(offset)))
        .filter(|output| output.status == 0)
        .map(|output| output.stdout.trim().parse().unwrap())
        .collect();
    assert!(
        !loaded.is_empty(),
        "neither 4 nor 5 is the start of an instruction"
    );
    unlink(4);
    for id in loaded {
        assert_eq!(sandbox.count(id, "counter"), 4);
    }
}

#[test]
fn fentry_and_fexit_count_each_call() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tracing]) else {
        return;
    };
    let ids = [
        sandbox.load(&mine("count_fentry").attach(&["fentry", "-f", "do_unlinkat"])),
        sandbox.load(&mine("count_fexit").attach(&["fexit", "-f", "do_unlinkat"])),
        // Two of one kind at one function.
        sandbox.load(&mine("count_fentry").attach(&["fentry", "--fn-name", "do_unlinkat"])),
    ];
    unlink(6);
    for id in ids {
        assert_eq!(sandbox.count(id, "counter"), 6);
        assert_eq!(sandbox.get(id).kernel("Type"), "tracing");
    }
    sandbox.unload(ids[0]);
    unlink(1);
    assert_eq!(sandbox.count(ids[2], "counter"), 7);
}

/// At the one function of Debian's kernel that takes it, which only test runs of the kernel call.
#[test]
fn a_sleepable_fentry_program() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::SleepableTracing]) else {
        return;
    };
    let load = mine("count_fentry_s").attach(&["fentry", "-f", "bpf_fentry_test1"]);
    let id = sandbox.load(&load);
    assert_eq!(sandbox.get(id).kernel("Type"), "tracing");
    assert_eq!(sandbox.count(id, "counter"), 0);
}

#[test]
fn a_uprobe_by_library_name_and_by_path() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let libc = Libc::find();
    let mut ids = Vec::new();
    for target in ["libc", "libc.so.6", libc.path.to_str().unwrap()] {
        let attach = ["uprobe", "--target", target, "--fn-name", "getpid"];
        ids.push(sandbox.load(&mine("count_uprobe").attach(&attach)));
        assert_eq!(sandbox.get(ids[0]).kernel("Type"), "probe");
        ids.push(sandbox.load(&mine("count_uretprobe").attach(&attach).attach(&["-r"])));
    }
    assert_eq!(getpid(&sandbox, 9, &ids), [9; 6]);
    assert_eq!(sandbox.get(ids[0]).bpfman("Target"), "libc");
    assert_eq!(sandbox.get(ids[0]).bpfman("Function"), "getpid");
}

#[test]
fn a_uprobe_at_symbol_and_offset_and_at_a_file_offset() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let libc = Libc::find();
    let path = libc.path.to_str().unwrap();
    let (start, to_return) = libc.function("getpid");
    let at = |words: &[&str]| {
        mine("count_uprobe")
            .attach(&["uprobe", "-t", path])
            .attach(words)
    };
    let ids = [
        sandbox.load(&at(&["-f", "getpid", "-o", &to_return.to_string()])),
        sandbox.load(&at(&["--offset", &(start + to_return).to_string()])),
        sandbox.load(&at(&["--offset", &start.to_string()])),
    ];
    assert_eq!(getpid(&sandbox, 4, &ids), [4; 3]);
}

#[test]
fn a_sleepable_uprobe_program() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let attach = ["uprobe", "-t", "libc", "-f", "getpid"];
    let id = sandbox.load(&mine("count_uprobe_s").attach(&attach));
    assert_eq!(getpid(&sandbox, 4, &[id]), [4]);
}

#[test]
fn a_uprobe_in_one_process_only() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let sleeper = sleep_60();
    let attach = |pid: u32| {
        let pid = pid.to_string();
        all("count_uprobe").attach(&["uprobe", "-t", "libc", "-f", "getpid", "--pid", &pid])
    };
    let here = sandbox.load(&attach(std::process::id()));
    let there = sandbox.load(&attach(sleeper.id()));
    assert_eq!(getpid(&sandbox, 5, &[here, there]), [5, 0]);
    let before = sandbox.count(here, "counter");
    let map = sandbox.map(there, "counter");
    tool("bash", &["-c", "echo $$"]).ok();
    assert!(sandbox.count(here, "counter") >= before);
    assert_eq!(
        maps::count(&map, 0),
        0,
        "neither we nor bash are the sleeper"
    );
    assert_eq!(sandbox.get(there).bpfman("Pid"), sleeper.id().to_string());
}

/// The file exists in the mount namespace of the other process only.
#[test]
fn a_uprobe_in_the_mount_namespace_of_a_container() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let libc = Libc::find();
    fs::create_dir("/run/inner").unwrap();
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let none = None::<&str>;
            mount(
                Some("tmpfs"),
                "/run/inner",
                Some("tmpfs"),
                MsFlags::empty(),
                none,
            )
            .unwrap();
            fs::copy(&libc.path, "/run/inner/libc.so.6").unwrap();
            let container = sleep_60();
            let attach = ["uprobe", "-t", "/run/inner/libc.so.6", "-f", "getpid"];
            (container, all("count_uprobe").attach(&attach))
        });
        let (container, load) = inside.join().unwrap();
        let refused = sandbox.try_load(&load);
        refused.fails(1, &["/run/inner/libc.so.6"]);
        let pid = container.id().to_string();
        let id = sandbox.load(&load.attach(&["--container-pid", &pid]));
        let ours = getpid(&sandbox, 3, &[id]);
        assert_eq!(ours, [0], "our own libc is another file");
        let preload = "LD_LIBRARY_PATH=/run/inner bash -c 'echo $$'";
        tool("nsenter", &["-t", &pid, "-m", "bash", "-c", preload]).ok();
        assert!(sandbox.count(id, "counter") > 0);
        assert_eq!(sandbox.get(id).bpfman("Container Pid"), pid);
    });
}

#[test]
fn a_kprobe_takes_no_container_pid() {
    let sandbox = Sandbox::new();
    let load = all("count_kprobe").attach(&["kprobe", "-f", "do_unlinkat", "-c", "1"]);
    let output = sandbox.unchanged(|| sandbox.try_load(&load));
    assert!([1, 2].contains(&output.status), "{output}");
    assert!(output.stderr.contains("container-pid"), "{output}");
}

/// Attached programs need neither the command nor a daemon.
#[test]
fn probes_outlive_the_command() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let attach = ["uprobe", "-t", "libc", "-f", "getpid"];
    let id = sandbox.load(&mine("count_uprobe").attach(&attach));
    for times in 1..4 {
        assert_eq!(getpid(&sandbox, times, &[id]), [times as u64]);
    }
    sandbox.unload(id);
}

fn sleep_60() -> Killed {
    let child: Child = Command::new("sleep")
        .arg("60")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    Killed(child)
}
