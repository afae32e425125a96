//! Sixty-four processes at once that load, unload, list and get on eight interfaces. Each answer is
//! one that could be given to them alone, and in the end state, kernel and packets agree.
//!
//! `BPFMAN_SECONDS` makes it longer or shorter.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    os::unix::fs::symlink,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use testkit::{Details, Feature, Lane, Load, Output, Random, Sandbox, Veth, World, object};

use crate::support::{counted, hex, tc, xdp};

const PROCESSES: usize = 64;
const INTERFACES: usize = 8;
/// What one process keeps loaded at most.
const KEPT: usize = 3;
/// An event takes 64 programs, of all who are on the machine: no other test asks for these.
const EVENTS: [&str; 2] = ["syscalls/sys_enter_symlink", "syscalls/sys_enter_linkat"];

/// A minute where a command takes milliseconds. An emulated processor needs a tenth of a second for
/// one and runs all of them in turn: there it is the time for a few rounds.
fn lasting() -> Duration {
    let usual = match Lane::current() {
        Lane::Host => 60,
        Lane::V6_12 => 45,
        Lane::V5_10 | Lane::V6_1 => 15,
    };
    let asked = env::var("BPFMAN_SECONDS").map(|text| text.parse().unwrap());
    Duration::from_secs(asked.unwrap_or(usual))
}

/// Where a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Line { veth: usize, inbound: bool },
    Calls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    Load,
    Unload,
    List,
    Get,
}

struct Crowd<'a> {
    sandbox: &'a Sandbox,
    veths: &'a [Veth],
    end: Instant,
    chains: bool,
    tcx: bool,
    pid: String,
    /// Programs that anybody may unload, and how often somebody did.
    offered: Mutex<BTreeMap<u32, (At, usize)>>,
}

/// One of those who work at the same time: a command after another.
struct Worker<'a> {
    crowd: &'a Crowd<'a>,
    random: Random,
    own: Vec<(u32, At)>,
    gone: BTreeSet<u32>,
    took: Vec<(Verb, Duration)>,
    refused: usize,
    raced: usize,
}

impl Worker<'_> {
    fn work(mut self) -> Self {
        while Instant::now() < self.crowd.end {
            match self.random.below(10) {
                0..4 if self.own.len() < KEPT => self.load(),
                0..6 => self.unload(),
                6 | 7 => self.list(),
                _ => self.get(),
            }
        }
        self
    }

    fn run(&mut self, verb: Verb, words: &[String]) -> Output {
        let start = Instant::now();
        let output = Output::quietly(&mut self.crowd.sandbox.command(words));
        self.took.push((verb, start.elapsed()));
        output
    }

    /// A program, and where it will be. The first interface is asked for more than it takes.
    fn choose(&mut self) -> (Load, At) {
        let veth = [
            0,
            self.random.below(u32::try_from(INTERFACES).unwrap()) as usize,
        ];
        let veth = veth[usize::from(self.random.below(4) > 0)];
        let iface = &self.crowd.veths[veth].name;
        let inbound = self.random.below(2) == 0;
        let side = if inbound { "ingress" } else { "egress" };
        let priority = self.random.below(1000);
        let line = At::Line { veth, inbound };
        let load = match self.random.below(4) {
            0 => {
                let load = xdp("pass").xdp(iface).priority(priority);
                return (
                    load,
                    At::Line {
                        veth,
                        inbound: true,
                    },
                );
            }
            1 if self.crowd.chains => tc("ok").tc(side, iface),
            2 if self.crowd.tcx => tc("unspec").tcx(side, iface),
            _ => {
                let event = self.random.of(&EVENTS).unwrap();
                let load = object("probes").name("count_tracepoint");
                let load = load.global("only_pid", &self.crowd.pid);
                return (load.attach(&["tracepoint", "-t", event]), At::Calls);
            }
        };
        (load.priority(priority), line)
    }

    fn load(&mut self) {
        let (load, at) = self.choose();
        let output = self.run(Verb::Load, &load.args());
        if output.status != 0 {
            // A chain takes 10, a tracepoint 64: where there are no chains, most go to tracepoints.
            let full = if at == At::Calls { "64" } else { "10" };
            let full = format!("already runs {full} programs");
            let single = !self.crowd.chains && output.stderr.contains("BPF_PROG_TYPE_EXT");
            assert!(output.stderr.contains(&full) || single, "{output}");
            self.refused += 1;
            return;
        }
        let id = output.stdout.trim().parse().unwrap();
        if self.random.below(4) == 0 {
            self.crowd.offered.lock().unwrap().insert(id, (at, 0));
        } else {
            self.own.push((id, at));
        }
    }

    /// One of those that everybody may unload; perhaps somebody just did.
    fn offered(&mut self) -> Option<u32> {
        let offered = self.crowd.offered.lock().unwrap();
        let there = offered.iter().filter(|(_, (_, unloaded))| *unloaded == 0);
        let ids: Vec<u32> = there.map(|(id, _)| *id).collect();
        drop(offered);
        self.random.of(&ids).copied()
    }

    fn unload(&mut self) {
        let shared = self.random.below(3) == 0;
        if let (true, Some(id)) = (shared, self.offered()) {
            let output = self.run(Verb::Unload, &["unload".into(), id.to_string()]);
            if output.status == 0 {
                let mut offered = self.crowd.offered.lock().unwrap();
                offered.get_mut(&id).unwrap().1 += 1;
            } else {
                self.raced += 1;
                assert_not_found(&output);
            }
        } else if !self.own.is_empty() {
            let at = self.random.below(u32::try_from(self.own.len()).unwrap());
            let (id, _) = self.own.swap_remove(at as usize);
            let output = self.run(Verb::Unload, &["unload".into(), id.to_string()]);
            assert_eq!(output.status, 0, "{output}");
            self.gone.insert(id);
        }
    }

    fn list(&mut self) {
        let output = self.run(Verb::List, &["list", "-o", "id"].map(ToOwned::to_owned));
        assert_eq!(output.status, 0, "{output}");
        let listed: BTreeSet<u32> = output
            .stdout
            .lines()
            .map(|id| id.parse().unwrap())
            .collect();
        for (id, _) in &self.own {
            assert!(
                listed.contains(id),
                "{id} is loaded, and not listed: {output}"
            );
        }
        assert!(
            listed.is_disjoint(&self.gone),
            "unloaded and listed: {output}"
        );
    }

    fn get(&mut self) {
        let offered = self.offered();
        let own = self.random.of(&self.own).copied();
        if let Some((id, at)) = own {
            let output = self.run(Verb::Get, &["get".into(), id.to_string()]);
            let shown = Details::parse(&output.clone().ok());
            if at != At::Calls {
                let position = shown.bpfman("Position");
                assert!(position.parse::<usize>().is_ok(), "{output}");
            }
        } else if let Some(id) = offered {
            let output = self.run(Verb::Get, &["get".into(), id.to_string()]);
            if output.status != 0 {
                self.raced += 1;
                assert_not_found(&output);
            }
        }
    }
}

#[track_caller]
fn assert_not_found(output: &Output) {
    assert_eq!(output.status, 1, "{output}");
    let said = output.stderr.to_lowercase();
    assert!(said.contains("no program"), "{output}");
}

/// How long the commands of one verb took.
fn report(verb: Verb, workers: &[Worker<'_>]) {
    let of = workers.iter().flat_map(|worker| &worker.took);
    let mut times: Vec<Duration> = of.filter(|(v, _)| *v == verb).map(|(_, t)| *t).collect();
    times.sort_unstable();
    let at = |part: f64| {
        let last = times.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "thousands of times"
        )]
        let index = (last as f64 * part) as usize;
        times
            .get(index)
            .map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    eprintln!(
        "figure: {} {verb:?}: median {:.1} ms, 99 % {:.1} ms, slowest {:.1} ms",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

#[test]
fn sixty_four_processes() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let veths: Vec<Veth> = (0..INTERFACES).map(|_| sandbox.veth()).collect();
    let start = World::now();
    let crowd = Crowd {
        sandbox: &sandbox,
        veths: &veths,
        end: Instant::now() + lasting(),
        chains: Feature::Ext.is_present(),
        tcx: Feature::Tcx.is_present(),
        pid: hex(i32::try_from(std::process::id()).unwrap()),
        offered: Mutex::default(),
    };
    let mut random = Random::new();
    let workers: Vec<Worker<'_>> = (0..PROCESSES)
        .map(|_| Worker {
            crowd: &crowd,
            random: random.fork(),
            own: Vec::new(),
            gone: BTreeSet::new(),
            took: Vec::new(),
            refused: 0,
            raced: 0,
        })
        .collect();
    let workers: Vec<Worker<'_>> = thread::scope(|scope| {
        let workers = workers.into_iter();
        let running: Vec<_> = workers.map(|w| scope.spawn(|| w.work())).collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for verb in [Verb::Load, Verb::Unload, Verb::List, Verb::Get] {
        report(verb, &workers);
    }
    let sum = |of: fn(&Worker<'_>) -> usize| workers.iter().map(of).sum::<usize>();
    eprintln!(
        "figure: {} loads refused, {} unloads and gets came too late",
        sum(|worker| worker.refused),
        sum(|worker| worker.raced)
    );
    let mut left: BTreeMap<u32, At> = workers.iter().flat_map(|w| w.own.iter().copied()).collect();
    let offered = crowd.offered.lock().unwrap();
    for (id, (at, unloaded)) in &*offered {
        assert!(*unloaded <= 1, "{id} was unloaded {unloaded} times");
        if *unloaded == 0 {
            left.insert(*id, *at);
        }
    }
    assert_agreement(&sandbox, &veths, &start, &left);
}

/// State, kernel and packets say the same.
fn assert_agreement(sandbox: &Sandbox, veths: &[Veth], start: &World, left: &BTreeMap<u32, At>) {
    const PACKETS: u32 = 3;
    let ids: Vec<u32> = left.keys().copied().collect();
    assert_eq!(sandbox.ids(), ids);
    start.assert_no_orphans(&ids, "when all had ended");
    let counts = || {
        ids.iter()
            .map(|id| (*id, counted(*id)))
            .collect::<BTreeMap<u32, u64>>()
    };
    let before = counts();
    for veth in veths {
        assert_eq!(veth.ingress(PACKETS), PACKETS, "into {}", veth.name);
        assert_eq!(veth.egress(PACKETS), PACKETS, "out of {}", veth.name);
    }
    for _ in 0..PACKETS {
        symlink("/run/nothing", "/run/no/where").unwrap_err();
        fs::hard_link("/run/nothing", "/run/no/where").unwrap_err();
    }
    for (id, count) in counts() {
        let grown = count - before[&id];
        assert_eq!(grown, u64::from(PACKETS), "program {id} at {:?}", left[&id]);
    }
}
