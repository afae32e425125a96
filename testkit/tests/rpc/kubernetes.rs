//! The daemon with the mounts and the capabilities of the DaemonSet that we ship, and nothing
//! beyond: read from the file, and set up as a kubelet and a container runtime do it.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use nix::{
    mount::{MsFlags, mount},
    sys::signal::Signal,
};
use serde_json::Value;
use testkit::{Output, Sandbox, object, servers::Daemon};

use crate::client::{Client, tracepoint};

/// The container's file system, out of reach of what is shared with the node.
const ROOT: &str = "/mnt";
/// Folders of the node that are this machine's own, and not the sandbox's.
const NODE: &str = "/run/node";

fn daemon_set() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../packaging/kubernetes/bpfman-rpc.yaml"
    );
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap();
    let is_set = |document: &Value| document["kind"] == "DaemonSet";
    let set = documents.into_iter().find(is_set).unwrap();
    set["spec"]["template"]["spec"].clone()
}

fn all(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// A folder of the node: below `/run` and `/sys` the sandbox's own.
fn on_node(path: &str) -> String {
    if path.starts_with("/run/") || path.starts_with("/sys/") {
        path.to_owned()
    } else {
        format!("{NODE}{path}")
    }
}

/// A shell script that enters the container and becomes its command.
fn script(spec: &Value, container: &Value, command: &str) -> String {
    let mut script = String::from("set -e\n");
    let mut line = |line: String| writeln!(script, "{line}").unwrap();
    line(format!("mount -t tmpfs container {ROOT}"));
    line(format!(
        "mkdir -p {ROOT}/proc {ROOT}/sys {ROOT}/etc {ROOT}/tmp {ROOT}/root"
    ));
    // The image: programs and libraries.
    let daemon = Daemon::binary();
    for path in ["/usr", "/bin", "/sbin", "/lib", "/lib64"] {
        line(format!(
            "mkdir {ROOT}{path}; mount --bind -o ro {path} {ROOT}{path}"
        ));
    }
    let folder = daemon.parent().unwrap().display();
    line(format!(
        "mkdir -p {ROOT}{folder}; mount --bind -o ro {folder} {ROOT}{folder}"
    ));
    // hostPID and hostNetwork: the node's processes, the interfaces of its namespace.
    line(format!("mount --rbind /proc {ROOT}/proc"));
    line(format!("mount -t sysfs sysfs {ROOT}/sys"));
    for mounted in all(&container["volumeMounts"]) {
        let is_it = |volume: &&Value| volume["name"] == mounted["name"];
        let volume = all(&spec["volumes"]).iter().find(is_it).unwrap();
        let from = on_node(text(&volume["hostPath"]["path"]));
        let to = format!("{ROOT}{}", text(&mounted["mountPath"]));
        line(format!("mkdir -p {to}; mount --rbind {from} {to}"));
        let propagation = match mounted["mountPropagation"].as_str() {
            Some("Bidirectional") => "rshared",
            Some("HostToContainer") => "rslave",
            _ => "rprivate",
        };
        line(format!("mount --make-{propagation} {to}"));
        if mounted["readOnly"] == true {
            line(format!("mount -o remount,bind,ro {to}"));
        }
    }
    let context = &container["securityContext"];
    let privileged = context["privileged"] == true;
    if !privileged {
        line(format!("mount -o remount,bind,ro {ROOT}/sys"));
        line(format!("mount -o remount,ro {ROOT}"));
    }
    let mut set = String::new();
    if !privileged {
        assert_eq!(all(&context["capabilities"]["drop"]), ["ALL"]);
        set.push_str("setpriv --no-new-privs --inh-caps=-all --bounding-set=-all");
        for name in all(&context["capabilities"]["add"]) {
            set.extend([",+", &text(name).to_lowercase()]);
        }
    }
    line(format!(
        "exec chroot {ROOT} {set} env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin {command}"
    ));
    script
}

/// What a kubelet does before the container: folders that are to be made, and shared mounts.
fn prepare(spec: &Value) {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(none, "/run", none, MsFlags::MS_SHARED, none).unwrap();
    for volume in all(&spec["volumes"]) {
        let path = &volume["hostPath"];
        if path["type"] == "DirectoryOrCreate" {
            fs::create_dir_all(on_node(text(&path["path"]))).unwrap();
        }
        assert!(Path::new(&on_node(text(&path["path"]))).is_dir(), "{path}");
    }
}

/// Words that the outer program of a daemon needs: a mount namespace of its own, which hears of the
/// node's mounts.
const APART: [&str; 6] = [
    "unshare",
    "--mount",
    "--propagation",
    "unchanged",
    "sh",
    "-c",
];

#[test]
fn the_daemon_set_has_what_it_needs() {
    let sandbox = Sandbox::new();
    let spec = daemon_set();
    prepare(&spec);
    // The privileged one mounts, for the node.
    let init = &spec["initContainers"][0];
    let words: Vec<&str> = all(&init["command"]).iter().map(text).collect();
    let [shell, "-ec", work] = words[..] else {
        panic!("{words:?}")
    };
    let inner = sandbox.tmp().join("mounts");
    fs::write(&inner, work).unwrap();
    // Its command is one word of another script.
    let command = format!("{shell} -ec \"$(cat {})\"", inner.display());
    let script_of_init = script(&spec, init, &command);
    let init_file = sandbox.tmp().join("init");
    fs::write(&init_file, script_of_init).unwrap();
    let mut mounts = Command::new("unshare");
    mounts.args(&APART[1..4]).arg("sh").arg(&init_file);
    Output::of(&mut mounts).ok();
    let mounted = fs::read_to_string("/proc/thread-self/mounts").unwrap();
    assert!(mounted.contains(" /run/bpfman/fs bpf "), "{mounted}");

    let container = &spec["containers"][0];
    assert_eq!(all(&container["command"]), ["/usr/sbin/bpfman-rpc"]);
    assert_eq!(spec["hostNetwork"], true);
    assert_eq!(spec["hostPID"], true);
    // Bytecode that the container sees; a pod would name an image.
    let seen = "/var/lib/bpfman/probe.o";
    fs::copy(object("tracepoint_nobtf").path, on_node(seen)).unwrap();
    let script = script(&spec, container, "exec-daemon");
    let script = script.replace("exec-daemon", "\"$0\" \"$@\"");
    let mut outer = APART.to_vec();
    outer.push(&script);
    let mut daemon = Daemon::answering(Daemon::spawn(&sandbox, &outer, &[]));
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let bounding = status.lines().find(|line| line.starts_with("CapBnd:"));
    assert_eq!(bounding, Some("CapBnd:\t000000c000281004"), "{status}");

    let client = Client::new();
    let mut load = tracepoint("syscalls/sys_enter_getcwd");
    let location = daemon::proto::bytecode_location::Location::File(seen.into());
    load.bytecode = Some(daemon::proto::BytecodeLocation {
        location: Some(location),
    });
    let id = client.loaded(load);
    // The node's own command line finds it, also when the pod is gone.
    assert_eq!(sandbox.ids(), [id]);
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    assert_eq!(
        sandbox.get(id).bpfman("Tracepoint"),
        "syscalls/sys_enter_getcwd"
    );
    sandbox.unload(id);
    assert_eq!(sandbox.ids(), [0; 0]);
    nix::mount::umount("/run/bpfman/fs").unwrap();
}
