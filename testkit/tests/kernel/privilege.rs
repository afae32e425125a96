//! Who may do what: what we write is for nobody else, what others wrote is not believed, and the
//! capabilities that are documented are enough.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::fcntl::{Flock, FlockArg};
use testkit::{
    Feature, Lane, Load, Output, Sandbox, Veth, World, bpfman, example, object, tool, wait_until,
    waits_for_a_lock,
};

use crate::support::{Killed, ingress, tc, xdp};

const ROOT: &str = "/run/bpfman";

fn stage() -> (Sandbox, Veth) {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    (sandbox, veth)
}

/// Everything below a folder, itself included, without following links.
fn tree(root: &Path) -> Vec<PathBuf> {
    let mut all = vec![root.to_owned()];
    if fs::symlink_metadata(root).unwrap().is_dir() {
        for entry in fs::read_dir(root).unwrap() {
            all.extend(tree(&entry.unwrap().path()));
        }
    }
    all
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &str, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Whoever starts us with whatever umask.
#[test]
fn nothing_is_for_others() {
    let (sandbox, veth) = stage();
    let program = bpfman();
    let with_umask_0 = |args: &[String]| {
        let mut words = vec![
            "-c",
            "umask 0; exec \"$0\" \"$@\"",
            program.to_str().unwrap(),
        ];
        words.extend(args.iter().map(String::as_str));
        Output::of(&mut sandbox.program(Path::new("bash"), words)).ok()
    };
    with_umask_0(&xdp("pass").xdp(&veth.name).args());
    with_umask_0(&tc("ok").tc("ingress", &veth.name).args());
    let path = xdp("pass").path.display().to_string();
    let build = [
        "image",
        "build",
        "--runtime",
        "none",
        "-t",
        "localhost:1/a",
        "-b",
        &path,
    ];
    // There is no such registry; what is written before that is found out stays.
    let mut words = vec![
        "-c",
        "umask 0; exec \"$0\" \"$@\"",
        program.to_str().unwrap(),
    ];
    words.extend(build);
    Output::of(&mut sandbox.program(Path::new("bash"), words));
    let mut seen = 0;
    for root in [ROOT, "/run/images", "/sys/fs/bpf/xdp"] {
        if !Path::new(root).exists() {
            continue;
        }
        for path in tree(Path::new(root)) {
            assert_eq!(
                mode(&path) & 0o077,
                0,
                "{}: {:o}",
                path.display(),
                mode(&path)
            );
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

/// A folder that was only too open is closed; one that others could write to is not believed.
#[test]
fn a_root_that_is_too_open() {
    let (sandbox, veth) = stage();
    let load = xdp("pass").xdp(&veth.name);
    fs::create_dir(ROOT).unwrap();
    set_mode(ROOT, 0o755);
    let id = sandbox.load(&load);
    assert_eq!(mode(Path::new(ROOT)), 0o700);
    for open in [0o720, 0o702, 0o777] {
        set_mode(ROOT, open);
        sandbox.unchanged(|| everything_is_refused(&sandbox, &load, id, "written to by others"));
    }
    set_mode(ROOT, 0o700);
    assert_eq!(ingress(&sandbox, &veth, 3, &[id]), (vec![3], 3));
}

/// Loading, looking and unloading, each with the same reason.
#[track_caller]
fn everything_is_refused(sandbox: &Sandbox, load: &Load, id: u32, why: &str) {
    let id = id.to_string();
    let commands = [&["list"][..], &["get", &id], &["unload", &id]];
    let commands = commands.map(|words| words.iter().map(ToString::to_string).collect());
    for args in commands.into_iter().chain([load.args()]) {
        sandbox.bpfman(&args).fails(1, &["not safe", why, "hint: "]);
    }
}

#[test]
fn a_root_of_somebody_else() {
    let (sandbox, veth) = stage();
    let load = xdp("pass").xdp(&veth.name);
    let id = sandbox.load(&load);
    chown(ROOT, Some(4321), None).unwrap();
    sandbox.unchanged(|| everything_is_refused(&sandbox, &load, id, "belongs to somebody else"));
    chown(ROOT, Some(0), None).unwrap();
    sandbox.unload(id);
    // A symbolic link, even to a folder that would be fine.
    let aside = "/run/elsewhere";
    tool("umount", &["/run/bpfman/fs"]).ok();
    fs::rename(ROOT, aside).unwrap();
    symlink(aside, ROOT).unwrap();
    sandbox.unchanged(|| everything_is_refused(&sandbox, &load, id, "is a symbolic link"));
    fs::remove_file(ROOT).unwrap();
    sandbox.load(&load);
}

/// What lies in the place of our files, and is not ours.
#[test]
fn files_that_somebody_else_put_there() {
    let (sandbox, veth) = stage();
    let load = xdp("pass").xdp(&veth.name);
    let id = sandbox.load(&load);
    let aside = Path::new("/run/aside");
    let victim = Path::new("/run/victim");
    for name in ["state.json", "pending.json", "lock"] {
        let path = Path::new(ROOT).join(name);
        if !path.exists() {
            fs::write(&path, "{}").unwrap();
        }
        let refuses = |why: &str| {
            sandbox.unchanged(|| {
                sandbox
                    .try_load(&load)
                    .fails(1, &[name, "not safe", why, "hint: "]);
            });
        };
        chown(&path, Some(4321), None).unwrap();
        refuses("belongs to somebody else");
        chown(&path, Some(0), None).unwrap();
        fs::rename(&path, aside).unwrap();
        symlink(aside, &path).unwrap();
        refuses("is a symbolic link");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        // Not a plain file, in whatever words the kernel has for it.
        sandbox.try_load(&load).fails(1, &[name]);
        fs::remove_dir(&path).unwrap();
        if name == "pending.json" {
            fs::remove_file(aside).unwrap();
        } else {
            fs::rename(aside, &path).unwrap();
        }
    }
    // What is about to be written goes nowhere else.
    fs::write(victim, "precious").unwrap();
    for name in ["state.json.new", "pending.json.new"] {
        symlink(victim, Path::new(ROOT).join(name)).unwrap();
    }
    sandbox.unload(id);
    sandbox.load(&load);
    assert_eq!(fs::read_to_string(victim).unwrap(), "precious");
}

#[test]
fn folders_of_pins_that_are_not_ours() {
    let (sandbox, veth) = stage();
    let load = xdp("pass").xdp(&veth.name);
    fs::create_dir(ROOT).unwrap();
    set_mode(ROOT, 0o700);
    fs::create_dir("/run/elsewhere").unwrap();
    symlink("/run/elsewhere", "/run/bpfman/fs").unwrap();
    let refused = sandbox.unchanged(|| sandbox.try_load(&load));
    refused.fails(1, &["/run/bpfman/fs", "is a symbolic link"]);
    fs::remove_file("/run/bpfman/fs").unwrap();
    // The machine's bpffs is open to all where nobody mounted it otherwise.
    let libxdp = "/sys/fs/bpf/xdp";
    fs::create_dir(libxdp).unwrap();
    chown(libxdp, Some(4321), None).unwrap();
    sandbox
        .try_load(&load)
        .fails(1, &[libxdp, "belongs to somebody else"]);
    fs::remove_dir(libxdp).unwrap();
    sandbox.load(&load);
}

/// The object is read once: what is put in its place afterwards is not what is loaded.
#[test]
fn what_was_checked_is_what_is_loaded() {
    let (sandbox, veth) = stage();
    sandbox.unload(sandbox.load(&xdp("pass").xdp(&veth.name)));
    let path = sandbox.tmp().join("object.o");
    fs::copy(xdp("pass").path, &path).unwrap();
    // It waits for the lock once it has read and checked the object.
    let lock = File::options()
        .write(true)
        .open("/run/bpfman/lock")
        .unwrap();
    let lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, e)| e)
        .unwrap();
    let load = Load::from_path(&path).xdp(&veth.name);
    let mut command = sandbox.command(load.args());
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut child = Killed(child);
    assert!(wait_until(|| waits_for_a_lock(child.id())), "never waited");
    let other = path.with_extension("new");
    fs::copy(example("xdp_drop_icmp").path, &other).unwrap();
    fs::rename(&other, &path).unwrap();
    drop(lock);
    assert!(child.0.wait().unwrap().success());
    let ids = sandbox.ids();
    let details = sandbox.get(ids[0]);
    assert_eq!(details.bpfman("Name"), "xdp_verdict");
    assert_eq!(details.kernel("Name"), "xdp_verdict");
}

#[test]
fn the_object_is_opened_once() {
    let (sandbox, veth) = stage();
    let load = xdp("pass").xdp(&veth.name);
    let trace = "/run/strace";
    let command = sandbox.command(load.args());
    let mut words: Vec<_> = ["-f", "-qq", "-e", "trace=open,openat,openat2", "-o", trace]
        .map(std::ffi::OsStr::new)
        .into();
    words.push(command.get_program());
    words.extend(command.get_args());
    Output::of(&mut sandbox.program(Path::new("strace"), words)).ok();
    let opened = fs::read_to_string(trace).unwrap();
    let name = load.path.to_str().unwrap();
    assert_eq!(
        opened.lines().filter(|line| line.contains(name)).count(),
        1,
        "{opened}"
    );
}

/// bpfman as root or somebody else with these capabilities and no others.
fn with_caps(sandbox: &Sandbox, user: &str, caps: &[&str], args: &[String]) -> Output {
    let list = |prefix: &str| {
        let caps = caps.iter().map(|cap| format!(",+{cap}"));
        format!("--{prefix}=-all{}", caps.collect::<String>())
    };
    let ids = [
        format!("--reuid={user}"),
        format!("--regid={user}"),
        "--clear-groups".into(),
    ];
    let sets = ["bounding-set", "inh-caps", "ambient-caps"].map(list);
    let program = bpfman().to_str().unwrap().to_owned();
    let words = ids.into_iter().chain(sets).chain(["--".into(), program]);
    let words: Vec<String> = words.chain(args.iter().cloned()).collect();
    Output::of(&mut sandbox.program(Path::new("setpriv"), words))
}

const ENOUGH: [&str; 4] = ["bpf", "perfmon", "net_admin", "sys_admin"];

fn every_type(veth: &Veth) -> Vec<(&'static [Feature], Load)> {
    let probes = |name: &str, words: &[&str]| object("probes").name(name).attach(words);
    vec![
        (&[], xdp("pass").xdp(&veth.name)),
        (&[], tc("ok").tc("ingress", &veth.name)),
        (&[Feature::Tcx], tc("ok").tcx("egress", &veth.name)),
        (
            &[Feature::PerfLink],
            probes(
                "count_tracepoint",
                &["tracepoint", "-t", "syscalls/sys_enter_unlink"],
            ),
        ),
        (
            &[Feature::PerfLink],
            example("uprobe").attach(&["uprobe", "-t", "libc", "-f", "malloc"]),
        ),
        (
            &[Feature::Kprobe, Feature::PerfLink],
            example("kprobe").attach(&["kprobe", "-f", "do_unlinkat"]),
        ),
        (
            &[Feature::Tracing],
            example("fentry").attach(&["fentry", "-f", "do_unlinkat"]),
        ),
        (
            &[Feature::Tracing],
            example("fexit").attach(&["fexit", "-f", "do_unlinkat"]),
        ),
    ]
}

/// Root without any other capability than the documented ones: every type of program.
#[test]
fn the_documented_capabilities_are_enough() {
    let (sandbox, veth) = stage();
    let run = |args: &[String]| with_caps(&sandbox, "0", &ENOUGH, args);
    for (needed, load) in every_type(&veth) {
        if !needed.iter().all(|feature| feature.is_present()) {
            continue;
        }
        let id = run(&load.args()).ok().trim().to_owned();
        let words = |verb: &str| vec![verb.to_owned(), id.clone()];
        run(&words("get")).ok();
        assert!(run(&["list".into()]).ok().contains(&id));
        run(&words("unload")).ok();
    }
}

/// Somebody who is not root, with a runtime root of their own. Before 6.8 a bpffs belongs to root,
/// whoever mounts it: there, root mounts it and gives it away. Before 5.11 programs count as locked
/// memory, of which a user has 64 KiB: there, root allows more.
#[test]
fn a_user_with_the_documented_capabilities() {
    let (sandbox, veth) = stage();
    let (user, root) = (4321, "/run/of-user");
    fs::create_dir(root).unwrap();
    set_mode(root, 0o700);
    chown(root, Some(user), Some(user)).unwrap();
    chown("/sys/fs/bpf", Some(user), Some(user)).unwrap();
    if [Lane::V5_10, Lane::V6_1].contains(&Lane::current()) {
        let fs = "/run/of-user/fs";
        fs::create_dir(fs).unwrap();
        chown(fs, Some(user), Some(user)).unwrap();
        tool("mount", &["-t", "bpf", "bpf", fs]).ok();
        chown(fs, Some(user), Some(user)).unwrap();
        set_mode(fs, 0o700);
    }
    set_mode("/run", 0o755);
    let run = |args: &[String]| {
        let words = ["--runtime-dir".to_owned(), root.to_owned()];
        let words: Vec<_> = words.into_iter().chain(args.iter().cloned()).collect();
        with_caps(&sandbox, &user.to_string(), &ENOUGH, &words)
    };
    // Objects of ours may lie where only root comes.
    let copy = |load: Load, name: &str| {
        let path = Path::new("/run").join(name);
        fs::copy(&load.path, &path).unwrap();
        set_mode(path.to_str().unwrap(), 0o644);
        Load::from_path(path)
    };
    let loads = [
        copy(xdp("pass"), "xdp.o").xdp(&veth.name),
        copy(tc("ok"), "tc.o").tc("ingress", &veth.name),
    ];
    if Lane::current() == Lane::V5_10 {
        let lock = |limit| {
            let own = std::process::id().to_string();
            tool("prlimit", &[&format!("--memlock={limit}"), "--pid", &own]).ok();
        };
        // With some, trials pass that ask what the kernel lacks; with none, they are refused, too.
        for limit in ["4096", "0"] {
            lock(limit);
            let refused = run(&loads[0].args());
            refused.fails(1, &["locked memory", "ulimit -l unlimited"]);
        }
        lock("unlimited");
    }
    let ids = loads.map(|load| run(&load.args()).ok().trim().to_owned());
    let listed = run(&["list".into()]).ok();
    assert!(ids.iter().all(|id| listed.contains(id)), "{listed}");
    for path in tree(Path::new(root)) {
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
    for id in ids {
        run(&["get".into(), id.clone()]).ok();
        run(&["unload".into(), id]).ok();
    }
    tool("umount", &["/run/of-user/fs"]).ok();
}

/// Each that is lacking is named, by those who look, too.
/// The wait for packets in the old dispatcher takes two maps, which up to 5.10 count as locked memory.
#[test]
fn a_chain_is_taken_apart_where_the_wait_gets_no_map() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let start = World::now();
    let stays = sandbox.load(&xdp("pass").xdp(&veth.name));
    let unload = |refused: Option<usize>| {
        let id = sandbox.load(&xdp("pass").xdp(&veth.name)).to_string();
        let inject = refused.map(|nth| format!("inject=bpf:error=EPERM:when={nth}"));
        let inject = inject.iter().flat_map(|inject| ["-e", inject]);
        let words = ["-f", "-qq", "-e", "trace=bpf", "-o", "/run/trace"];
        let words: Vec<&str> = words.into_iter().chain(inject).collect();
        let program = bpfman();
        let command = [program.to_str().unwrap(), "unload", &id];
        let output =
            Output::of(&mut sandbox.program(Path::new("strace"), [&words[..], &command].concat()));
        assert_eq!(output.stderr, "", "{output}");
        output.ok();
    };
    unload(None);
    let trace = fs::read_to_string("/run/trace").unwrap();
    let is_wait = |line: &str| line.contains("BPF_MAP_TYPE_ARRAY_OF_MAPS");
    let nth = trace.lines().position(is_wait).unwrap() + 1;
    unload(Some(nth));
    let trace = fs::read_to_string("/run/trace").unwrap();
    let refused = trace.lines().find(|line| line.contains("(INJECTED)"));
    assert!(refused.is_some_and(is_wait), "{trace}");
    start.assert_no_orphans(&[stays], "after the unload");
}

#[test]
fn a_capability_that_is_lacking_is_named() {
    let (sandbox, veth) = stage();
    let bare = sandbox.veth();
    let load = xdp("pass").xdp(&veth.name);
    let id = sandbox.load(&load).to_string();
    for lacking in ENOUGH {
        let caps: Vec<_> = ENOUGH.into_iter().filter(|cap| *cap != lacking).collect();
        // CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON.
        if ["bpf", "perfmon"].contains(&lacking) {
            continue;
        }
        let name = format!("CAP_{}", lacking.to_uppercase());
        // Since 6.9, CAP_SYS_ADMIN stands for CAP_NET_ADMIN as well, but for what netlink does.
        let other = xdp("pass").xdp(&bare.name);
        let output = sandbox.unchanged(|| with_caps(&sandbox, "0", &caps, &other.args()));
        output.fails(1, &[&name]);
    }
    let looking = |args: &[&str]| {
        let args: Vec<_> = args.iter().map(ToString::to_string).collect();
        with_caps(&sandbox, "0", &[], &args)
    };
    looking(&["list"]).fails(1, &["root", "CAP_BPF"]);
    looking(&["get", &id]).fails(1, &["root", "CAP_BPF"]);
    looking(&["unload", &id]).fails(1, &["root", "CAP_BPF"]);
}
