//! The first start: the package is installed, manifests are in its folder, and nothing else is.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
};

use testkit::{object, servers::Daemon, wait_until};

use crate::{
    client::{Client, tracepoint},
    machine::{
        FOLDER, at_boot, counts_of, everything_counts, get, id, ids, journal, run, state,
        watch_says,
    },
};

#[test]
#[ignore = "cargo xtask test --lane reboot"]
fn programs_of_manifests_run() {
    everything_counts();
    assert_eq!(state("bpfman-restore.service"), "active");
    assert_eq!(state("bpfman-watch.service"), "active");
    // It need not run as long as nobody asks.
    assert_eq!(state("bpfman-rpc.socket"), "active");
}

#[test]
#[ignore = "cargo xtask test --lane reboot"]
fn an_interface_that_comes_late_flaps_and_comes_again() {
    assert_eq!(ids("XdpProgram/late"), [0; 0]);
    run("lab-interface 1");
    let program = id("XdpProgram/late");
    assert_eq!(counts_of(5, 1, &[program]), [5]);
    for _ in 0..3 {
        run("ip link set bm1 down");
        run("ip link set bm1 up");
    }
    // The kernel takes the address' routes and neighbours away with it, the program it leaves.
    run("ip neigh replace 10.200.1.2 lladdr 02:00:00:00:01:02 dev bm1 nud permanent");
    assert_eq!(counts_of(5, 1, &[program]), [5]);
    assert_eq!(id("XdpProgram/late"), program);
    run("ip link del bm1");
    run("ip netns del peer1");
    assert!(wait_until(|| ids("XdpProgram/late").is_empty()));
    run("lab-interface 1");
    assert_eq!(counts_of(5, 1, &[id("XdpProgram/late")]), [5]);
    watch_says("XdpProgram/late on bm1: loaded as program", 2);
    run("ip link del bm1");
    run("ip netns del peer1");
    assert!(wait_until(|| ids("XdpProgram/late").is_empty()));
}

#[test]
#[ignore = "cargo xtask test --lane reboot"]
fn what_is_removed_by_hand_is_put_back() {
    let before = at_boot();
    run(&format!("bpfman unload {}", before["XdpProgram/second"]));
    watch_says("XdpProgram/second on bm0: somebody removed program", 1);
    // Behind our back.
    run("tc filter del dev bm0 ingress");
    watch_says("TcProgram/third on bm0: somebody removed program", 1);
    run("ip link set dev bm0 xdp off");
    watch_says("XdpProgram/first on bm0: somebody removed program", 1);
    watch_says("XdpProgram/second on bm0: somebody removed program", 2);
    assert_eq!(
        at_boot()["TracepointProgram/fourth"],
        before["TracepointProgram/fourth"]
    );
    everything_counts();
}

#[test]
#[ignore = "cargo xtask test --lane reboot"]
fn restarts_of_the_services_change_nothing() {
    let programs = at_boot();
    Client::new().ids();
    let before = run("bpfman list -o json");
    for unit in ["bpfman-rpc", "bpfman-watch", "bpfman-restore"] {
        run(&format!("systemctl restart {unit}.service"));
        assert_eq!(state(&format!("{unit}.service")), "active");
    }
    // The kernel's own list has more: systemd's programs for the devices of each service.
    assert_eq!(run("bpfman list -o json"), before);
    assert_eq!(at_boot(), programs);
    everything_counts();
}

#[test]
#[ignore = "cargo xtask test --lane reboot"]
fn the_socket_starts_the_daemon() {
    run("systemctl stop bpfman-rpc.service");
    assert_eq!(state("bpfman-rpc.service"), "inactive");
    let socket = fs::metadata(Daemon::SOCKET).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&socket.permissions());
    assert_eq!(mode & 0o777, 0o660);
    let client = Client::new();
    let loaded = client.loaded(tracepoint("syscalls/sys_enter_rmdir"));
    assert_eq!(state("bpfman-rpc.service"), "active");
    // Both front ends see both one's programs.
    assert_eq!(get(loaded).bpfman("Tracepoint"), "syscalls/sys_enter_rmdir");
    assert!(client.ids().contains(&at_boot()["XdpProgram/first"]));
    // The daemon's end is not the program's.
    run("systemctl stop bpfman-rpc.service");
    get(loaded);
    Client::new().unload(loaded).unwrap();
    let said = journal("bpfman-rpc.service");
    assert!(said.contains(&format!("program {loaded}")), "{said}");
}

/// A registry that is gone when the machine starts again.
#[test]
#[ignore = "cargo xtask test --lane reboot"]
fn an_image_is_pulled_into_the_store() {
    let config = "version: 0.1\nstorage: {filesystem: {rootdirectory: /run/registry}}\n\
                  http: {addr: '127.0.0.1:5000'}\n";
    fs::write("/run/registry.yml", config).unwrap();
    let mut registry = Command::new("docker-registry")
        .args(["serve", "/run/registry.yml"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let up = wait_until(|| TcpStream::connect("127.0.0.1:5000").is_ok());
    assert!(up);
    let object = object("xdp_verdict").path;
    let url = "127.0.0.1:5000/verdict:1";
    let path = object.display();
    run(&format!(
        "bpfman image build --runtime none -t {url} -b {path}"
    ));
    run(&format!("bpfman image pull -i {url}"));
    registry.kill().unwrap();
    registry.wait().unwrap();
    let manifest = format!(
        "apiVersion: bpfman.io/v1alpha1\nkind: XdpProgram\nmetadata: {{name: stored}}\nspec:\n  \
         bytecode: {{image: {{url: '{url}'}}}}\n  globaldata: {{verdict: AgAAAA==}}\n  \
         interfaceselector: {{interfaces: [bm0]}}\n  priority: 70\n"
    );
    let new = Path::new(FOLDER).join(".new");
    fs::write(&new, manifest).unwrap();
    fs::rename(new, Path::new(FOLDER).join("stored.yaml")).unwrap();
    assert_eq!(counts_of(3, 0, &[id("XdpProgram/stored")]), [3]);
}
