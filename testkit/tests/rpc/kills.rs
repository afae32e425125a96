//! The daemon is killed in the middle of what it was asked: what it had promised stays, and the
//! next one leaves nothing over.

use std::{collections::BTreeSet, thread, time::Instant};

use nix::sys::signal::Signal;
use testkit::{Random, Sandbox, World, object, servers::Daemon};

use crate::client::{Client, tcx, xdp};

const KILLS: u32 = 40;

/// What was asked, and whether it was answered.
enum Asked {
    Loaded(Option<u32>),
    Unloaded(u32, bool),
}

#[test]
fn killed_in_the_middle_of_its_work() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let start = World::now();
    let mut random = Random::new();
    let mut daemon = Daemon::start(&sandbox);
    let client = Client::new();
    let takes_all = client.loaded(xdp(&veth.name, 50, 1));
    let load = |iface: &str| tcx("ingress", iface, 50);
    let iface = veth.name.clone();
    let lasts = (0..5).map(|_| {
        let began = Instant::now();
        client.unload(client.loaded(load(&iface))).unwrap();
        began.elapsed() / 2
    });
    // The first one finds the daemon cold, and kills that come too late prove nothing.
    let mut lasts = lasts.min().unwrap();
    let mut promised = BTreeSet::from([takes_all]);
    let mut midway = 0;
    for kill in 0..KILLS {
        let there: Vec<u32> = promised
            .iter()
            .copied()
            .filter(|id| *id != takes_all)
            .collect();
        let unload = random.of(&there).copied().filter(|_| random.below(2) == 0);
        // Some are answered first, so that there is something to lose. However busy the machine is,
        // most kills come midway, and some of them late.
        let delay = lasts.mul_f64(1.5 * random.fraction());
        let (client, iface) = (Client::new(), iface.clone());
        let asking = thread::spawn(move || {
            if let Some(id) = unload {
                Asked::Unloaded(id, client.unload(id).is_ok())
            } else {
                let answer = client.load(load(&iface)).ok();
                Asked::Loaded(answer.map(|answer| answer.kernel_info.unwrap().id))
            }
        });
        thread::sleep(delay);
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        daemon = Daemon::start(&sandbox);
        let listed: BTreeSet<u32> = Client::new().ids().into_iter().collect();
        let asked = asking.join().unwrap();
        let answered = matches!(asked, Asked::Loaded(Some(_)) | Asked::Unloaded(_, true));
        lasts = lasts.mul_f64(if answered { 0.8 } else { 1.1 });
        match asked {
            Asked::Loaded(Some(id)) => _ = promised.insert(id),
            Asked::Unloaded(id, true) => _ = promised.remove(&id),
            // Either of both: what is listed counts.
            Asked::Loaded(None) => {
                midway += 1;
                let came: Vec<&u32> = listed.difference(&promised).collect();
                assert!(came.len() <= 1, "kill {kill}: {came:?}");
                promised.extend(came.into_iter().copied().collect::<Vec<_>>());
            }
            Asked::Unloaded(id, false) => {
                midway += 1;
                // It may be off its hook already: asked again, it goes for sure.
                _ = sandbox.bpfman(["unload", &id.to_string()]);
                promised.remove(&id);
                assert!(!sandbox.ids().contains(&id), "kill {kill}");
                continue;
            }
        }
        assert_eq!(listed, promised, "kill {kill} after {delay:?}");
    }
    eprintln!("figure: {midway} requests of {KILLS} killed midway");
    assert!(midway * 2 > KILLS, "{midway} of {KILLS}");
    // A command that changes something clears up.
    let last = sandbox.load(&object("tc_verdict").tcx("egress", &veth.name));
    promised.insert(last);
    let ids: Vec<u32> = promised.iter().copied().collect();
    assert_eq!(sandbox.ids(), ids);
    start.assert_no_orphans(&ids, "after the last kill");
    assert_eq!(veth.ingress(10), 0);
    assert_eq!(sandbox.count(takes_all, "counter"), 10);
}
