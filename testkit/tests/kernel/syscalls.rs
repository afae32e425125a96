//! A system call that fails, wherever it fails: the command says so or does without it, what runs
//! goes on running, and nothing is left behind.
//!
//! Each call of each command fails once, and the errors take turns. What a command asks of the
//! kernel in the same words after the same call is one call site, whichever command it is.

mod storage;
mod strace;

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use testkit::{Feature, Lane, Load, Output, Sandbox, Veth, World, maps, object};

use self::strace::{Seen, failing, interrupted};
use crate::support::{all_faults, never_ran, tc, xdp};

/// Every call on the lane that the commands are proved on, some of them elsewhere: what happens
/// beside the kernel is the same there. All with `BPFMAN_FAULTS=all`.
fn stride(home: Lane) -> usize {
    if Lane::current() == home || all_faults() {
        1
    } else {
        25
    }
}

/// A world in which commands fail.
struct Stage<'a> {
    sandbox: &'a Sandbox,
    seen: RefCell<Seen>,
    resident: RefCell<Vec<u32>>,
    stride: usize,
}

/// What is loaded and unloaded, beside programs that stay.
struct Scene<'a> {
    subject: &'a Load,
    resident: &'a [u32],
    /// They are a chain, which another dispatcher holds after each change.
    chain: bool,
    /// Sends packets, and counts them at programs and behind.
    traffic: &'a dyn Fn(&[u32]),
}

impl Stage<'_> {
    /// Runs the command once for each of its calls. `prepare` comes before each run and answers
    /// the command; `check` hears what it said.
    fn each(&self, prepare: &dyn Fn() -> Vec<String>, check: &dyn Fn(&Output)) {
        let args = prepare();
        let mut seen = self.seen.borrow_mut();
        let (calls, output) = seen.calls(self.sandbox, &args, self.stride);
        check(&output);
        let (mut reached, mut wrong) = (0, Vec::new());
        for call in &calls {
            let args = prepare();
            let (output, failed) = failing(self.sandbox, &args, call);
            reached += usize::from(failed.is_some());
            let call = failed.as_ref().unwrap_or(call);
            eprintln!("--- {call}\n{output}");
            let judge = || {
                if output.status != 0 {
                    call.explained(&output);
                }
                check(&output);
            };
            // All that is wrong is told, not the first only.
            if catch_unwind(AssertUnwindSafe(judge)).is_err() {
                wrong.push(call.to_string());
                let ids = self.sandbox.ids().into_iter();
                let ids = ids.filter(|id| !self.resident.borrow().contains(id));
                let words = ["unload".into()]
                    .into_iter()
                    .chain(ids.map(|id| id.to_string()));
                self.sandbox.bpfman(words);
            }
        }
        assert!(
            wrong.is_empty(),
            "{} of {reached}:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        // With fewer programs there than before, the last calls are fewer.
        let missed = calls.len() - reached;
        assert!(missed <= calls.len().div_ceil(10), "{missed} never came");
        let args = prepare();
        let output = interrupted(self.sandbox, &args);
        check(&output);
        output.ok();
    }

    fn load_and_unload(&self, scene: &Scene<'_>) {
        let sandbox = self.sandbox;
        *self.resident.borrow_mut() = scene.resident.to_vec();
        let before = World::now();
        let clean = || {
            if scene.chain {
                before.assert_no_more("after it is gone again");
            } else {
                before.assert_same("after it is gone again");
            }
            assert_eq!(sandbox.ids(), scene.resident);
        };
        let new = || {
            let ids = sandbox.ids();
            assert!(scene.resident.iter().all(|id| ids.contains(id)), "{ids:?}");
            ids.into_iter().find(|id| !scene.resident.contains(id))
        };
        let with = |id: u32| -> Vec<u32> {
            std::iter::once(id)
                .chain(scene.resident.iter().copied())
                .collect()
        };
        // What could not be taken away, as was said, goes with the next command that writes.
        let next = |output: &Output| {
            if output.stderr.contains("cannot ") {
                sandbox.unload(sandbox.load(scene.subject));
            }
            clean();
        };
        let load = || scene.subject.args();
        self.each(&load, &|output| {
            if let Some(id) = new() {
                let says = output.stdout.trim() == id.to_string();
                let warns = output.stderr.contains("is loaded, but") || output.status == 1;
                assert!(says || warns, "{output}");
                (scene.traffic)(&with(id));
                sandbox.get(id);
                sandbox.unload(id);
                next(output);
            } else {
                assert_eq!(output.status, 1, "not there");
                (scene.traffic)(scene.resident);
                clean();
                // What comes next works, in a chain by the next call that fails behind this one.
                if !scene.chain {
                    sandbox.unload(sandbox.load(scene.subject));
                    clean();
                }
            }
        });
        let unload = || {
            let id = sandbox.load(scene.subject);
            vec!["unload".to_owned(), id.to_string()]
        };
        self.each(&unload, &|output| {
            if let Some(id) = new() {
                assert_eq!(output.status, 1, "still there");
                (scene.traffic)(&with(id));
                sandbox.get(id);
                sandbox.unload(id);
            }
            (scene.traffic)(scene.resident);
            next(output);
        });
    }
}

fn stage(sandbox: &Sandbox, home: Lane) -> Stage<'_> {
    Stage {
        sandbox,
        seen: RefCell::default(),
        resident: RefCell::default(),
        stride: stride(home),
    }
}

fn tracepoint() -> Load {
    let load = object("probes").name("count_tracepoint");
    load.attach(&["tracepoint", "-t", "syscalls/sys_enter_unlink"])
}

#[test]
fn a_probe() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let owner = sandbox.load(&tracepoint());
    let shared = tracepoint().map_owner(owner);
    let stage = stage(&sandbox, Lane::Host);
    for subject in [tracepoint(), shared] {
        stage.load_and_unload(&Scene {
            subject: &subject,
            resident: &[owner],
            chain: false,
            traffic: &|_| {},
        });
    }
}

/// Three packets go through all of these programs, and on.
fn three(veth: &Veth, inbound: bool, ids: &[u32]) {
    // Not by way of `get`: this is asked often.
    let counts = || -> Vec<u64> {
        let maps = Path::new("/run/bpfman/fs/maps");
        let map = |id: &u32| maps.join(id.to_string()).join("counter");
        ids.iter().map(|id| maps::count(&map(id), 0)).collect()
    };
    let before = counts();
    let arrived = if inbound {
        veth.ingress(3)
    } else {
        veth.egress(3)
    };
    assert_eq!(arrived, 3);
    let expected: Vec<_> = before.into_iter().map(|count| count + 3).collect();
    assert_eq!(counts(), expected);
}

#[test]
fn a_hook() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let stage = stage(&sandbox, Lane::Host);
    let iface = veth.name.as_str();
    let traffic = |ids: &[u32]| three(&veth, true, ids);
    for subject in [xdp("pass").xdp(iface), tc("ok").tc("ingress", iface)] {
        stage.load_and_unload(&Scene {
            subject: &subject,
            resident: &[],
            chain: false,
            traffic: &traffic,
        });
    }
    if Feature::Tcx.is_present() {
        let subject = tc("unspec").tcx("ingress", iface);
        let resident = [sandbox.load(&subject)];
        stage.load_and_unload(&Scene {
            subject: &subject,
            resident: &resident,
            chain: false,
            traffic: &traffic,
        });
    }
}

/// Loads into a chain and out of it. What a load without one asks for, too, is proved elsewhere.
fn chain(inbound: bool, load: &dyn Fn(&str) -> Load) {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let stage = stage(&sandbox, Lane::V6_12);
    if Feature::PerfLink.is_present() {
        let mut seen = stage.seen.borrow_mut();
        let (_, output) = seen.calls(&sandbox, &tracepoint().args(), 1);
        let unload = ["unload".to_owned(), output.ok().trim().to_owned()];
        seen.calls(&sandbox, &unload, 1);
    }
    let subject = load(&veth.name);
    stage.load_and_unload(&Scene {
        subject: &subject,
        resident: &[sandbox.load(&subject)],
        chain: true,
        traffic: &|ids| three(&veth, inbound, ids),
    });
}

#[test]
fn an_xdp_chain() {
    chain(true, &|iface| xdp("pass").xdp(iface));
}

#[test]
fn a_tc_chain() {
    chain(false, &|iface| tc("ok").tc("egress", iface));
}

/// What only the first command on a machine asks for: folders, and a bpffs.
#[test]
fn the_first_command() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let veth = sandbox.veth();
    for subject in [tracepoint(), xdp("pass").xdp(&veth.name)] {
        let stage = stage(&sandbox, Lane::Host);
        // All that every other command asks for as well is proved elsewhere.
        sandbox.unload(sandbox.load(&subject));
        let mut seen = stage.seen.borrow_mut();
        let (_, output) = seen.calls(&sandbox, &subject.args(), 1);
        drop(seen);
        sandbox.unload(output.ok().trim().parse().unwrap());
        let first = || {
            never_ran();
            subject.args()
        };
        first();
        let before = World::now();
        stage.each(&first, &|output| {
            match sandbox.ids()[..] {
                [] => {
                    assert_eq!(output.status, 1, "not there");
                    sandbox.unload(sandbox.load(&subject));
                }
                [id] => sandbox.unload(id),
                ref others => panic!("{others:?}"),
            }
            assert_eq!(sandbox.ids(), [0_u32; 0]);
            never_ran();
            before.assert_same("where nothing of ours is left");
        });
    }
}

/// What they say is the whole truth, or they say that they cannot tell.
#[test]
fn readers() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let veth = sandbox.veth();
    sandbox.load(&tracepoint());
    sandbox.load(&xdp("pass").xdp(&veth.name));
    let id = sandbox
        .load(&tc("ok").tc("ingress", &veth.name))
        .to_string();
    let stage = stage(&sandbox, Lane::Host);
    let before = World::now();
    *stage.resident.borrow_mut() = sandbox.ids();
    for args in [&["list"][..], &["get", &id], &["list", "-o", "json"]] {
        let args: Vec<_> = args.iter().map(ToString::to_string).collect();
        let told = sandbox.bpfman(&args).ok();
        let (calls, _) = stage.seen.borrow_mut().calls(&sandbox, &args, stage.stride);
        let mut wrong = Vec::new();
        for call in &calls {
            let (output, failed) = failing(&sandbox, &args, call);
            let call = failed.as_ref().unwrap_or(call);
            eprintln!("--- {call}\n{output}");
            let judge = || match output.status {
                // What it cannot tell it leaves out, and says so.
                0 if output.stderr.contains("warning: cannot tell") => call.named(&output),
                0 => assert_eq!(output.stdout, told, "{call}"),
                _ => call.explained(&output),
            };
            if catch_unwind(AssertUnwindSafe(judge)).is_err() {
                wrong.push(call.to_string());
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(interrupted(&sandbox, &args).ok(), told);
        before.assert_same("after looking");
    }
}
