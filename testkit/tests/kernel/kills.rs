//! Killed at any moment, again and again, while packets come: nothing is left over, nothing that
//! was promised is lost, and no packet passes by.
//!
//! `BPFMAN_SEED` has a run again, `BPFMAN_KILLS` makes it longer or shorter.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use testkit::{Feature, Lane, Output, Random, Sandbox, World, wait_until};

use crate::{
    flow::{Flow, Paused},
    kill_scene::{Scene, Spot, call},
    recovering::NOBODY,
    support::counted,
};

const CHECK_EVERY: usize = 25;
/// Programs on one spot beside the one that stays.
const MANY: usize = 4;

/// A program that was promised: its load was answered, or it was listed after the load was killed.
#[derive(Clone, Copy, Debug)]
struct Promised {
    spot: usize,
    /// The program whose maps it uses.
    owner: u32,
    /// Whether packets come to it, before one takes them.
    reached: bool,
    stays: bool,
    fate: Fate,
}

/// What a command that was killed leaves open until the next one has made state and kernel agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is there and runs.
    Sure,
    /// Another one may be in its place, which was never committed.
    Displaced,
    /// Its unload was killed.
    MayGo,
}

/// One command that may be killed.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Load { owner: Option<u32>, reached: bool },
    Unload(u32),
    Apply,
}

impl Deed {
    fn kind(self) -> usize {
        match self {
            Self::Load { .. } => 0,
            Self::Unload(_) => 1,
            Self::Apply => 2,
        }
    }
}

struct Run<'a> {
    sandbox: &'a Sandbox,
    scene: &'a Scene,
    random: Random,
    programs: BTreeMap<u32, Promised>,
    /// How long each kind of command takes on each spot when nobody disturbs it.
    lasts: BTreeMap<(usize, usize), Duration>,
    killed: usize,
    ended: usize,
    applied: u32,
}

impl<'a> Run<'a> {
    /// Loads what stays.
    fn new(sandbox: &'a Sandbox, scene: &'a Scene) -> Self {
        let mut run = Self {
            sandbox,
            scene,
            random: Random::new(),
            programs: BTreeMap::new(),
            lasts: BTreeMap::new(),
            killed: 0,
            ended: 0,
            applied: 0,
        };
        for at in 0..scene.spots.len() {
            let spot = &scene.spots[at];
            if let Some(load) = &spot.resident {
                let id = sandbox.load(load);
                run.promise(id, at, None, true, true);
            } else if spot.manifest.is_some() {
                run.undisturbed(at, Deed::Apply);
                let id = run.newest();
                run.promise(id, at, None, true, true);
            }
        }
        run
    }

    /// How long each kind of command takes, once it is warm.
    fn measure_all(&mut self) {
        for at in (0..self.scene.spots.len())
            .cycle()
            .take(2 * self.scene.spots.len())
        {
            self.measure(at);
        }
    }

    fn spot(&self, at: usize) -> &'a Spot {
        &self.scene.spots[at]
    }

    fn promise(&mut self, id: u32, spot: usize, owner: Option<u32>, reached: bool, stays: bool) {
        let promised = Promised {
            spot,
            owner: owner.unwrap_or(id),
            reached: reached && !self.spot(spot).quiet,
            stays,
            fate: Fate::Sure,
        };
        self.programs.insert(id, promised);
    }

    /// The listed program that is not promised yet.
    fn newest(&self) -> u32 {
        let mut ids = self.sandbox.ids().into_iter();
        ids.find(|id| !self.programs.contains_key(id)).unwrap()
    }

    fn measure(&mut self, at: usize) {
        if self.spot(at).takes_guests() {
            let (owner, reached) = (None, true);
            let said = self.undisturbed(at, Deed::Load { owner, reached });
            self.undisturbed(at, Deed::Unload(said.trim().parse().unwrap()));
        }
        if self.spot(at).manifest.is_some() {
            let old = *self.resident(at);
            self.undisturbed(at, Deed::Apply);
            self.programs.remove(&old);
            let id = self.newest();
            self.promise(id, at, None, true, true);
        }
    }

    fn resident(&self, at: usize) -> &u32 {
        let mut here = self.programs.iter().filter(|(_, p)| p.spot == at);
        here.find(|(_, p)| p.stays).unwrap().0
    }

    /// Runs a command undisturbed, and keeps how long it took. Answers what it printed.
    fn undisturbed(&mut self, at: usize, deed: Deed) -> String {
        let mut command = self.command(at, deed);
        let start = Instant::now();
        let said = Output::quietly(&mut command).ok();
        self.lasts.insert((at, deed.kind()), start.elapsed());
        said
    }

    fn command(&mut self, at: usize, deed: Deed) -> Command {
        let spot = self.spot(at);
        match deed {
            Deed::Load { owner, reached } => {
                let load = spot.guest(reached);
                let load = match owner {
                    Some(id) => load.map_owner(id),
                    None => load,
                };
                self.sandbox.command(load.args())
            }
            Deed::Unload(id) => self.sandbox.command(["unload", &id.to_string()]),
            Deed::Apply => {
                self.applied += 1;
                let path = spot.write_manifest(self.scene, self.sandbox, self.applied);
                self.sandbox
                    .command(["apply", "-f", path.to_str().unwrap()])
            }
        }
    }

    /// Something that could be done now.
    fn choose(&mut self) -> (usize, Deed) {
        let at = self
            .random
            .below(u32::try_from(self.scene.spots.len()).unwrap()) as usize;
        let spot = self.spot(at);
        if spot.manifest.is_some() && (!spot.takes_guests() || self.random.below(3) == 0) {
            return (at, Deed::Apply);
        }
        let guests = self.ids(|p| p.spot == at && !p.stays);
        let many = if spot.quiet { 1 } else { MANY };
        if guests.len() >= many || self.random.below(5) < 2 {
            let id = self.random.of(&guests).copied();
            let id = id.unwrap_or_else(|| self.add_guest(at));
            return (at, Deed::Unload(id));
        }
        // What the one that takes all packets counts is compared with what was sent.
        let has_packets = spot.has_packets();
        let owners =
            self.ids(|p| p.spot == at && p.fate != Fate::MayGo && !(p.stays && has_packets));
        let shares = self.random.below(3) == 0;
        let owner = self.random.of(&owners).copied().filter(|_| shares);
        let reached = !has_packets || self.random.below(3) > 0;
        (at, Deed::Load { owner, reached })
    }

    /// Loads one to the end, to have something to unload.
    fn add_guest(&mut self, at: usize) -> u32 {
        let (owner, reached) = (None, true);
        let said = self.undisturbed(at, Deed::Load { owner, reached });
        let id = said.trim().parse().unwrap();
        self.settle(&self.sandbox.ids());
        self.promise(id, at, owner, reached, false);
        id
    }

    fn ids(&self, which: impl Fn(&Promised) -> bool) -> Vec<u32> {
        let all = self.programs.iter().filter(|(_, p)| which(p));
        all.map(|(id, _)| *id).collect()
    }

    /// Starts one command and kills it. What was promised before is still there.
    fn kill_one(&mut self, number: usize) {
        let (at, deed) = self.choose();
        let lasts = self.lasts[&(at, deed.kind())];
        let delay = lasts.mul_f64(self.random.fraction());
        let what = format!(
            "kill {number}: {deed:?} on {} after {delay:?} of {lasts:?}",
            self.spot(at).name
        );
        let mut command = self.command(at, deed);
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = Instant::now();
        let mut child = command.spawn().unwrap();
        sleep(delay.saturating_sub(start.elapsed()));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let landed = output.status.signal() == Some(Signal::SIGKILL as i32);
        eprintln!("{what}: {}\n{said}", output.status);
        assert!(
            landed || output.status.success() || self.may_fail(deed),
            "{what}: {said}"
        );
        // Whatever else the machine does, most kills come midway, and some of them late.
        let pace = if landed { 1.05 } else { 0.8 };
        self.lasts.insert((at, deed.kind()), lasts.mul_f64(pace));
        self.account(at, deed, landed, &what);
        if landed {
            self.killed += 1;
        } else {
            self.ended += 1;
            // What went has been accounted for.
            self.programs.values_mut().for_each(|p| p.fate = Fate::Sure);
        }
        self.check_counting(&what);
    }

    /// Another command may have dropped a program whose unload was killed.
    fn may_fail(&self, deed: Deed) -> bool {
        matches!(deed, Deed::Unload(id) if self.programs[&id].fate == Fate::MayGo)
    }

    /// What is listed now is what was promised, give or take what the command was about.
    fn account(&mut self, at: usize, deed: Deed, landed: bool, what: &str) {
        let listed: BTreeSet<u32> = self.sandbox.ids().into_iter().collect();
        let known: BTreeSet<u32> = self.programs.keys().copied().collect();
        let came: Vec<u32> = listed.difference(&known).copied().collect();
        let went: Vec<u32> = known.difference(&listed).copied().collect();
        let mut may_go = self.ids(|p| p.fate == Fate::MayGo);
        match deed {
            Deed::Load { owner, reached } => {
                assert!(
                    came.len() <= 1 && (landed || came.len() == 1),
                    "{what}: {came:?}"
                );
                for id in &came {
                    let owner = owner.map(|id| self.programs[&id].owner);
                    self.promise(*id, at, owner, reached, false);
                }
            }
            Deed::Unload(id) => {
                assert!(came.is_empty(), "{what}: {came:?}");
                assert!(landed || went.contains(&id), "{what}: still listed");
                may_go.push(id);
                self.doubt(id, Fate::MayGo);
            }
            Deed::Apply => {
                assert!(
                    came.len() <= 1 && (landed || came.len() == 1),
                    "{what}: {came:?}"
                );
                if let Some(id) = came.first() {
                    let old = *self.resident(at);
                    assert!(went.contains(&old), "{what}: {old} and {came:?}");
                    may_go.push(old);
                    self.promise(*id, at, None, true, true);
                } else {
                    self.doubt(*self.resident(at), Fate::Displaced);
                }
            }
        }
        for id in went {
            assert!(may_go.contains(&id), "{what}: program {id} was lost");
            self.programs.remove(&id);
        }
    }

    fn doubt(&mut self, id: u32, fate: Fate) {
        self.programs.get_mut(&id).unwrap().fate = fate;
    }

    /// A command has made state and kernel agree, and this is listed now.
    fn settle(&mut self, listed: &[u32]) {
        let may_go = |p: &Promised| p.fate == Fate::MayGo;
        self.programs
            .retain(|id, p| listed.contains(id) || !may_go(p));
        for promised in self.programs.values_mut() {
            promised.fate = Fate::Sure;
        }
    }

    /// Every program that was promised and that packets or calls come to counts, and no packet has
    /// passed by those that take all.
    fn check_counting(&self, what: &str) {
        let maps: BTreeSet<(usize, u32)> = self
            .programs
            .values()
            .filter(|p| p.reached && p.fate == Fate::Sure)
            .map(|p| (p.spot, p.owner))
            .collect();
        let before: Vec<u64> = maps.iter().map(|(_, owner)| counted(*owner)).collect();
        call(1);
        for ((spot, owner), before) in maps.iter().zip(before) {
            let counts = wait_until(|| counted(*owner) > before);
            let name = self.scene.spots[*spot].name;
            assert!(counts, "{what}: the maps of {owner} on {name} stand still");
        }
        for spot in &self.scene.spots {
            assert_eq!(
                spot.bypassed(self.scene),
                0,
                "{what}: packets passed by on {}",
                spot.name
            );
        }
    }

    /// Brings kernel and state together and looks at everything.
    fn check_all(&mut self, flow: &Flow<'_>, start: &World, what: &str) {
        self.sandbox.bpfman(NOBODY).fails(1, &["no program"]);
        let listed = self.sandbox.ids();
        self.settle(&listed);
        assert_eq!(listed, self.ids(|_| true), "{what}");
        let paused = flow.pause();
        self.check_exactly(&paused, what);
        start.assert_no_orphans(&listed, what);
        drop(paused);
        assert_eq!(processes("bpfman"), [0; 0], "{what}: processes were left");
    }

    /// With nothing else under way, each program counts each packet and each call once.
    fn check_exactly(&self, paused: &Paused<'_>, what: &str) {
        const PACKETS: u32 = 3;
        for (at, spot) in self.scene.spots.iter().enumerate() {
            if spot.manifest.is_none() && spot.has_packets() {
                let resident = self.programs[self.resident(at)].owner;
                paused.assert_all_seen(at, || counted(resident), what);
            }
            let mut expected: BTreeMap<u32, u64> = BTreeMap::new();
            for promised in self.programs.values().filter(|p| p.spot == at) {
                let count = u64::from(PACKETS) * u64::from(promised.reached);
                *expected.entry(promised.owner).or_default() += count;
            }
            let counts = || -> BTreeMap<u32, u64> {
                let owners = expected.keys();
                owners.map(|owner| (*owner, counted(*owner))).collect()
            };
            let before = counts();
            if spot.has_packets() {
                let came = paused.strike(at, PACKETS);
                assert_eq!(came, 0, "{what}: passed by on {}", spot.name);
            } else {
                call(PACKETS);
            }
            let grown = || -> BTreeMap<u32, u64> {
                let now = counts().into_iter();
                now.map(|(owner, count)| (owner, count - before[&owner]))
                    .collect()
            };
            assert_eq!(grown(), expected, "{what}: {}", spot.name);
        }
    }
}

/// Processes of this name, those among them that nobody has waited for.
fn processes(name: &str) -> Vec<u32> {
    let own = std::process::id();
    let all = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let named = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let parent = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.split(' ').nth(1));
        stat.contains(&format!("({name})")) && parent == Some(own.to_string().as_str())
    };
    numbers.filter(named).collect()
}

/// 500 in both tests together. An older kernel differs in how it holds chains, and fewer tell.
fn usual() -> usize {
    match Lane::current() {
        Lane::Host | Lane::V6_12 => 250,
        Lane::V5_10 | Lane::V6_1 => 60,
    }
}

/// Kills, with a full look every now and then. Most of the kills have to hit a command at work.
fn kill_again_and_again(sandbox: &Sandbox, scene: &Scene, start: &World) {
    let kills = env::var("BPFMAN_KILLS").map_or_else(|_| usual(), |text| text.parse().unwrap());
    let mut run = Run::new(sandbox, scene);
    let flow = Flow::new(scene.spots.iter().map(|spot| spot.line(scene)));
    flow.during(|flow| {
        run.measure_all();
        run.check_all(flow, start, "before the first kill");
        let (begin, mut looking) = (Instant::now(), Duration::ZERO);
        for number in 1..=kills {
            run.kill_one(number);
            if number.is_multiple_of(CHECK_EVERY) || number == kills {
                let look = Instant::now();
                run.check_all(flow, start, &format!("after kill {number}"));
                looking += look.elapsed();
                run.measure(number / CHECK_EVERY % scene.spots.len());
            }
        }
        eprintln!(
            "figure: {} commands killed midway, {} had ended, {} packets, none passed by; {:.0} s, \
             {:.0} s of them for looking at everything",
            run.killed,
            run.ended,
            flow.packets(),
            begin.elapsed().as_secs_f64(),
            looking.as_secs_f64()
        );
        assert!(run.killed > run.ended, "{} of {kills}", run.killed);
    });
}

#[test]
fn while_chains_change() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let scene = Scene::of_chains(&sandbox);
    let start = World::now();
    kill_again_and_again(&sandbox, &scene, &start);
}

#[test]
fn while_links_come_and_go() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let scene = Scene::of_links(&sandbox);
    let start = World::now();
    kill_again_and_again(&sandbox, &scene, &start);
}
