//! The second start, with the disk that the first one left.

use testkit::Line;

use crate::machine::{AT_BOOT, counts_of, everything_counts, get, id, ids, journal, run, state};

#[test]
#[ignore = "cargo xtask test --lane reboot"]
fn the_same_programs_run_and_none_twice() {
    everything_counts();
    // No registry is there to ask.
    let stored = id("XdpProgram/stored");
    assert_eq!(counts_of(3, 0, &[stored]), [3]);
    assert_eq!(get(stored).bpfman("Position"), "2");
    for manifest in AT_BOOT.iter().chain(&["XdpProgram/stored"]) {
        assert_eq!(ids(manifest).len(), 1, "{manifest}");
    }
    let listed = Line::parse(&run("bpfman list"));
    assert_eq!(listed.len(), AT_BOOT.len() + 1, "{listed:?}");
    let diff = run("bpfman diff -f /etc/bpfman/programs.d");
    assert_eq!(diff.trim_end(), "+ XdpProgram/late on bm1");
    // It found everything as it should be.
    assert_eq!(state("bpfman-restore.service"), "active");
    let said = journal("bpfman-watch.service");
    assert!(!said.contains("somebody removed"), "{said}");
}

#[test]
#[ignore = "cargo xtask test --lane reboot"]
fn an_interface_may_come_late_again() {
    run("lab-interface 1");
    assert_eq!(counts_of(5, 1, &[id("XdpProgram/late")]), [5]);
    run("ip link del bm1");
    run("ip netns del peer1");
}
