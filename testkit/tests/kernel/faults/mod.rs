//! Failed, killed and stopped at every step: what then runs is the old or the new, never a mix,
//! and the next command clears up.
//!
//! The points are listed in `testkit/src/faults.rs`, beside the test that keeps the list complete.

mod chains;
mod exchange;
mod links;
mod matrix;
mod recovery;
mod shapes;

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::{Sandbox, Stranger, wait_until};

use self::matrix::{Operation, Reach, Stage, inbound};
use crate::support::{Killed, ingress, tc, xdp};

/// What others load is in no world that operations are compared with.
#[test]
fn beside_a_stranger() {
    let stranger = Stranger::start();
    let sandbox = Sandbox::beside_strangers();
    let veth = sandbox.veth();
    let traffic = inbound(&veth);
    let mut stage = Stage::new(&sandbox, &traffic);
    stage.reach = Reach::Brief(&["load.", "chain.swapped", "unload."]);
    let load = || xdp("pass").xdp(&veth.name);
    let begun = stranger.loads();
    stage.put_through(&Operation::Load(load()), Some(0));
    stage.put_through(&Operation::Unload(load()), None);
    assert!(stranger.loads() > begun);
    stranger.end();
}

/// A writer that stands still in the middle holds up writers and no reader, and goes on.
#[test]
fn stopped_in_the_middle() {
    let sandbox = Sandbox::new();
    let (one, two) = (sandbox.veth(), sandbox.veth());
    let id = sandbox.load(&xdp("pass").xdp(&one.name));
    for point in ["load.loaded", "chain.swapped", "state.written"] {
        let mut command = sandbox.command(tc("ok").tc("ingress", &two.name).args());
        let child = command
            .env("BPFMAN_FAULT", format!("{point}:stop"))
            .spawn()
            .unwrap();
        let mut writer = Killed(child);
        let status = format!("/proc/{}/stat", writer.id());
        let stopped = || fs::read_to_string(&status).unwrap().contains(") T ");
        assert!(wait_until(stopped), "never came to {point}");
        assert_eq!(sandbox.ids(), [id], "not committed: not listed");
        assert_eq!(sandbox.get(id).bpfman("Position"), "0");
        assert_eq!(ingress(&sandbox, &one, 5, &[id]), (vec![5], 5));
        kill(
            Pid::from_raw(i32::try_from(writer.id()).unwrap()),
            Signal::SIGCONT,
        )
        .unwrap();
        assert!(writer.0.wait().unwrap().success());
        let ids = sandbox.ids();
        assert_eq!(ids.len(), 2);
        sandbox.unload(ids[1]);
    }
}
