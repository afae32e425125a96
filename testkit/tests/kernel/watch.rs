//! `bpfman watch`: what the folder says comes back, whatever happens.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::{Feature, Sandbox, tool, wait_until};

use crate::{
    manifests::{Manifest, PASS, tcx_manifest, write, xdp_manifest},
    support::{Killed, ingress},
};

/// A watch that ends with the test, and its log.
struct Watching {
    process: Killed,
    log: PathBuf,
}

impl Watching {
    fn start(sandbox: &Sandbox, folder: &Path) -> Self {
        let log = sandbox.tmp().join("watch.log");
        let file = File::create(&log).unwrap();
        let child = sandbox
            .command(["watch", "--interval", "1"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Self {
            process: Killed(child),
            log,
        }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    #[track_caller]
    fn says(&self, words: &str) {
        let said = wait_until(|| self.said().contains(words));
        assert!(said, "never said {words:?}:\n{}", self.said());
    }

    /// Ends it as a service manager does.
    #[track_caller]
    fn end(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let mut status = None;
        let ended = wait_until(|| {
            status = self.process.0.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "does not end:\n{}", self.said());
        assert!(status.unwrap().success(), "{status:?}\n{}", self.said());
        eprintln!("{}", self.said());
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap()
}

#[test]
fn an_interface_that_comes_late_and_goes_and_comes_again() {
    let sandbox = Sandbox::new();
    let path = write(&sandbox, "a.yaml", &[xdp_manifest("late", "bm0", PASS, 50)]);
    let watching = Watching::start(&sandbox, folder(&path));
    watching.says("XdpProgram/late on bm0 waits for the interface");
    assert_eq!(sandbox.ids(), [0; 0]);
    let veth = sandbox.veth();
    assert_eq!(veth.name, "bm0");
    watching.says("XdpProgram/late on bm0: loaded as program");
    let ids = sandbox.ids();
    assert_eq!(ingress(&sandbox, &veth, 5, &ids), (vec![5], 5));
    let gone = || tool("ip", &["link", "del", "bm0"]).ok();
    gone();
    assert!(wait_until(|| {
        watching.said().matches("waits for the interface").count() == 2
    }));
    tool(
        "ip",
        &["link", "add", "bm0", "type", "veth", "peer", "name", "bm9"],
    )
    .ok();
    assert!(wait_until(|| {
        watching.said().matches("loaded as program").count() == 2
    }));
    assert_ne!(sandbox.ids(), ids);
    watching.end();
    // The programs stay.
    assert_eq!(sandbox.ids().len(), 1);
    gone();
}

#[test]
fn what_somebody_removed_is_put_back() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let mut manifests = vec![xdp_manifest("guard", &veth.name, PASS, 50)];
    if Feature::Tcx.is_present() {
        manifests.push(tcx_manifest("quiet", &veth.name, "/////w==", 50));
    }
    let path = write(&sandbox, "a.yaml", &manifests);
    let watching = Watching::start(&sandbox, folder(&path));
    let all = manifests.len();
    assert!(wait_until(|| sandbox.ids().len() == all));
    let before = sandbox.ids();
    // Behind our back, as an administrator may do it.
    tool("ip", &["link", "set", "dev", &veth.name, "xdp", "off"]).ok();
    watching.says("XdpProgram/guard on bm0: somebody removed program");
    // And with our own command, which makes no noise at all.
    if let Some(quiet) = before.get(1) {
        sandbox.unload(*quiet);
        watching.says("TcxProgram/quiet on bm0: somebody removed program");
    }
    let ids = sandbox.ids();
    assert_eq!(ids.len(), all);
    assert!(before.iter().all(|id| !ids.contains(id)));
    let expected = vec![5; all];
    assert_eq!(ingress(&sandbox, &veth, 5, &ids), (expected, 5));
    watching.end();
}

#[test]
fn the_folder_changes() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let veth = sandbox.veth();
    let one = |priority| tcx_manifest("one", &veth.name, "/////w==", priority);
    let path = write(&sandbox, "a.yaml", &[one(50)]);
    let watching = Watching::start(&sandbox, folder(&path));
    watching.says("TcxProgram/one on bm0: loaded");
    write(&sandbox, "a.yaml", &[one(60)]);
    watching.says("priority 50 -> 60");
    let two = tcx_manifest("two", &veth.name, "/////w==", 10);
    let second = write(&sandbox, "b.yaml", &[two]);
    watching.says("TcxProgram/two on bm0: loaded");
    // A file that cannot be read unloads nothing.
    std::fs::write(&second, "kind: [\n").unwrap();
    watching.says("b.yaml:");
    assert_eq!(sandbox.ids().len(), 2);
    std::fs::remove_file(second).unwrap();
    watching.says("TcxProgram/two on bm0: program");
    assert!(wait_until(|| sandbox.ids().len() == 1));
    // What cannot be loaded is said once, not once a second.
    let lost = Manifest::new("TcxProgram", "lost")
        .with("bytecode: {path: /nowhere.o}")
        .with("direction: ingress")
        .on(&[&veth.name]);
    write(&sandbox, "b.yaml", &[lost]);
    watching.says("/nowhere.o");
    write(
        &sandbox,
        "c.yaml",
        &[tcx_manifest("last", &veth.name, "/////w==", 9)],
    );
    watching.says("TcxProgram/last on bm0: loaded");
    let said = watching.said();
    assert_eq!(said.matches("/nowhere.o").count(), 1, "{said}");
    watching.end();
}

/// Nothing tells of interfaces elsewhere: the look at each interval finds them.
#[test]
fn an_interface_in_another_namespace() {
    let sandbox = Sandbox::new();
    let manifest = xdp_manifest("far", "bm0", PASS, 50).with("netns: elsewhere");
    let path = write(&sandbox, "a.yaml", &[manifest]);
    let watching = Watching::start(&sandbox, folder(&path));
    watching.says("XdpProgram/far on bm0 waits for the interface");
    sandbox.netns("elsewhere");
    let veth = sandbox.veth_in("elsewhere");
    watching.says("XdpProgram/far on bm0: loaded as program");
    let ids = sandbox.ids();
    assert_eq!(ingress(&sandbox, &veth, 5, &ids), (vec![5], 5));
    let there = |words: &[&str]| tool("ip", &[&["-n", "elsewhere"], words].concat()).ok();
    there(&["link", "set", "dev", "bm0", "xdp", "off"]);
    watching.says("XdpProgram/far on bm0: somebody removed program");
    assert_eq!(ingress(&sandbox, &veth, 5, &sandbox.ids()), (vec![5], 5));
    there(&["link", "del", "bm0"]);
    assert!(wait_until(|| sandbox.ids().is_empty()));
    watching.end();
}
