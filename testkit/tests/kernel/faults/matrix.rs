//! Operations by points: each operation fails, and is killed, at every point that it passes.
//!
//! Which points those are is found out by a run without a fault, so none can be forgotten. A point
//! that is passed several times counts at its first and its last time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    time::Instant,
};

use testkit::{Lane, Load, Output, Sandbox, Veth, World, maps, receive, send, wait_until};

use super::shapes::{alike, same, shape};
use crate::{
    manifests::{Manifest, write},
    support::{all_faults, never_ran, positions},
};

/// What makes the programs of a hook count, and answers how often it did.
pub(super) type Traffic<'a> = dyn Fn(u32) -> u32 + 'a;

pub(super) fn inbound(veth: &Veth) -> impl Fn(u32) -> u32 + '_ {
    |packets| {
        let (near, far) = veth.sockets();
        arrived(far, near, packets)
    }
}

pub(super) fn outbound(veth: &Veth) -> impl Fn(u32) -> u32 + '_ {
    |packets| {
        let (near, far) = veth.sockets();
        arrived(near, far, packets)
    }
}

/// Sends packets that should all arrive, however slow the machine is.
fn arrived(from: &UdpSocket, to: &UdpSocket, packets: u32) -> u32 {
    let address = to.local_addr().unwrap();
    (0..packets).for_each(|number| send(from, address, number));
    let mut arrived = 0;
    wait_until(|| {
        arrived += u32::from(receive(to).is_some());
        arrived == packets
    });
    arrived
}

/// An operation that must be whole or nothing.
pub(super) enum Operation<'a> {
    /// The program comes.
    Load(Load),
    /// The program, which was there, goes.
    Unload(Load),
    /// A program of a manifest is exchanged for one of another priority.
    Exchange(&'a dyn Fn(u32) -> Manifest),
    /// The program, whose maps another one uses, goes.
    Orphan(Load),
    /// The program comes where bpfman never ran.
    First(Load),
    /// Whatever the operation left that was killed at the point: the next command clears it up.
    Recover(Box<Self>, &'static str),
}

/// How much of an operation is proved.
#[derive(Clone, Copy)]
pub(super) enum Reach {
    /// Failed and killed at all of its points; on older kernels killed, at those where they differ.
    Full,
    /// Where commands are slow, killed at those of its points alone that begin so: the others, and
    /// failures, are proved by an operation that differs in nothing that matters there. In full on
    /// the machine itself, and with `BPFMAN_FAULTS=all`.
    Brief(&'static [&'static str]),
}

impl Reach {
    fn here(self) -> Self {
        match Lane::current() {
            _ if all_faults() => Self::Full,
            Lane::Host => Self::Full,
            Lane::V6_12 => self,
            // What they do differently than 6.12 is in the kernel, so at these points.
            Lane::V5_10 | Lane::V6_1 => match self {
                Self::Full => Self::Brief(&["chain.", "load.attached", "unload."]),
                brief @ Self::Brief(_) => brief,
            },
        }
    }

    fn manners(self) -> &'static [&'static str] {
        match self {
            Self::Full => &["fail", "abort"],
            Self::Brief(_) => &["abort"],
        }
    }

    fn has(self, point: &str) -> bool {
        match self {
            Self::Full => true,
            Self::Brief(begins) => begins.iter().any(|begin| point.starts_with(begin)),
        }
    }
}

/// Where operations take place.
pub(super) struct Stage<'a> {
    sandbox: &'a Sandbox,
    traffic: &'a Traffic<'a>,
    /// All points that were passed.
    pub(super) passed: BTreeSet<String>,
    /// Programs that are there all the time.
    pub(super) residents: Vec<u32>,
    /// Their counters also count what another program does.
    pub(super) shared: bool,
    /// How much of the operations to come is proved.
    pub(super) reach: Reach,
}

impl<'a> Stage<'a> {
    pub(super) fn new(sandbox: &'a Sandbox, traffic: &'a Traffic<'a>) -> Self {
        // What the first command makes for all that follow, `Operation::First` proves.
        sandbox.bpfman(unload(NOBODY));
        fs::create_dir_all("/sys/fs/bpf/xdp").unwrap();
        Self {
            sandbox,
            traffic,
            passed: BTreeSet::new(),
            residents: Vec::new(),
            shared: false,
            reach: Reach::Full,
        }
    }

    /// Other programs for the hook, in place of those before.
    pub(super) fn residents(&mut self, loads: &[Load]) {
        for id in self.residents.drain(..) {
            self.sandbox.unload(id);
        }
        self.residents = loads.iter().map(|load| self.sandbox.load(load)).collect();
    }

    /// Puts an operation through all points it passes. `position`: where its program then runs.
    pub(super) fn put_through(&mut self, operation: &Operation<'_>, position: Option<usize>) {
        let (reach, begun) = (self.reach.here(), Instant::now());
        let mut row = Row {
            stage: self,
            operation,
            subject: None,
            user: None,
            priority: 100,
            before: None,
            after: None,
            document: Vec::new(),
        };
        let cases = row.cases();
        let mut count = 0_u32;
        for (point, turn) in cases.iter().filter(|(point, _)| reach.has(point)) {
            for what in reach.manners() {
                eprintln!("--- {what} at {point}#{turn}");
                row.case(point, *turn, what);
                count += 1;
            }
        }
        eprintln!("=== {count} cases in {:?}", begun.elapsed());
        row.comes_out_right(position);
        self.passed
            .extend(cases.into_iter().map(|(point, _)| point));
    }
}

/// One operation.
struct Row<'s, 'a, 'o> {
    stage: &'s mut Stage<'a>,
    operation: &'o Operation<'o>,
    /// The program that the operation is about, while it is loaded.
    subject: Option<u32>,
    /// The program that uses the subject's maps, and whose they are.
    user: Option<(u32, u32)>,
    /// Of the manifest.
    priority: u32,
    /// What is there before the operation, and what is listed.
    before: Option<(World, Vec<u32>)>,
    /// What is there after it, but for ids.
    after: Option<Vec<String>>,
    /// The state before the fault.
    document: Vec<u8>,
}

impl<'o> Row<'_, '_, 'o> {
    /// Runs the operation once without a fault and answers the points on its way.
    fn cases(&mut self) -> Vec<(String, usize)> {
        let trace = self.stage.sandbox.tmp().join("trace");
        let _ = fs::remove_file(&trace);
        let words = self.ready();
        let mut command = self.stage.sandbox.command(&words);
        let output = Output::of(command.env("BPFMAN_FAULT_TRACE", &trace));
        assert_eq!(output.status, i32::from(self.is_recovery()), "{output}");
        self.flows();
        let mut passed: BTreeMap<String, usize> = BTreeMap::new();
        for name in fs::read_to_string(&trace).unwrap_or_default().lines() {
            *passed.entry(name.to_owned()).or_default() += 1;
        }
        assert!(!passed.is_empty(), "{output}");
        let listed = self.stage.sandbox.ids();
        self.after = Some(shape(&World::here()));
        self.settle(&listed);
        let ends = |(name, times): (String, usize)| {
            let last = (times > 1).then(|| (name.clone(), times));
            std::iter::once((name, 1)).chain(last)
        };
        passed.into_iter().flat_map(ends).collect()
    }

    fn is_recovery(&self) -> bool {
        matches!(self.operation, Operation::Recover(..))
    }

    /// The operation, or the one that is cleared up after.
    fn base(&self) -> &'o Operation<'o> {
        match self.operation {
            Operation::Recover(base, _) => base,
            operation => operation,
        }
    }

    /// Makes what the operation begins with, and answers its command.
    fn ready(&mut self) -> Vec<String> {
        let sandbox = self.stage.sandbox;
        let words = self.begin();
        if self.before.is_none() {
            self.before = Some((World::here(), sandbox.ids()));
        }
        let Operation::Recover(_, point) = self.operation else {
            return words;
        };
        let output = sandbox.bpfman_env("BPFMAN_FAULT", &format!("{point}:abort"), words);
        assert_eq!(output.status, 128 + 9, "{output}");
        unload(NOBODY)
    }

    fn begin(&mut self) -> Vec<String> {
        let sandbox = self.stage.sandbox;
        if self.subject.is_none() && !matches!(self.base(), Operation::Load(_)) {
            self.before = None;
        }
        match self.base() {
            Operation::Load(load) => load.args(),
            Operation::First(load) => {
                never_ran();
                load.args()
            }
            Operation::Unload(load) => {
                let subject = self.subject.get_or_insert_with(|| sandbox.load(load));
                unload(*subject)
            }
            Operation::Orphan(load) => {
                let subject = *self.subject.get_or_insert_with(|| sandbox.load(load));
                if self.user.is_none() {
                    let user = sandbox.load(&load.clone().map_owner(subject));
                    self.user = Some((user, subject));
                }
                unload(subject)
            }
            Operation::Exchange(make) => {
                let apply = |priority| {
                    let path = write(sandbox, "a.yaml", &[make(priority)]);
                    ["apply", "-f", path.to_str().unwrap()].map(str::to_owned)
                };
                if self.subject.is_none() {
                    sandbox.bpfman(apply(self.priority)).ok();
                    self.subject = sandbox.ids().last().copied();
                }
                self.priority += 1;
                apply(self.priority).to_vec()
            }
            Operation::Recover(..) => panic!("clearing up after clearing up"),
        }
    }

    /// One fault, and what is there then.
    fn case(&mut self, point: &str, turn: usize, what: &str) {
        let words = self.ready();
        let sandbox = self.stage.sandbox;
        self.document = document();
        let fault = format!("{point}#{turn}:{what}");
        let output = sandbox.bpfman_env("BPFMAN_FAULT", &fault, &words);
        self.flows();
        let is_failure = what == "fail" && output.status != 0 && !self.is_recovery();
        if is_failure {
            let said = format!("{}{}", output.stdout, output.stderr);
            assert!(
                said.contains("fault injected"),
                "never came there: {output}"
            );
        } else {
            assert!(what == "fail" || output.status == 128 + 9, "{output}");
            // The next command clears up, whatever it is.
            let output = sandbox.bpfman(unload(NOBODY));
            assert_eq!(output.status, 1, "{output}");
            self.flows();
        }
        let (world, ids) = self.before.as_ref().unwrap();
        // What is listed follows from the document and from the programs that are there.
        let listed = if is_failure && document() == self.document {
            ids.clone()
        } else {
            sandbox.ids()
        };
        let when = format!("{what} at {point}#{turn}");
        if is_failure {
            assert_eq!(listed, *ids, "an error, and yet done: {output}");
            same(world, &when);
        } else if listed == *ids {
            let undone = what == "abort" || self.is_recovery();
            assert!(undone, "no error, and yet nothing done: {output}");
            // The chain may have been built again.
            let now = alike(&shape(world), &when);
            self.before = Some((now, listed));
        } else {
            alike(self.after.as_ref().unwrap(), &when);
            self.settle(&listed);
        }
    }

    /// The operation was done: what is listed tells which program came or went.
    fn settle(&mut self, listed: &[u32]) {
        let sandbox = self.stage.sandbox;
        let (world, ids) = self.before.take().unwrap();
        let came: Vec<u32> = listed
            .iter()
            .copied()
            .filter(|id| !ids.contains(id))
            .collect();
        let went: Vec<u32> = ids
            .iter()
            .copied()
            .filter(|id| !listed.contains(id))
            .collect();
        match (self.base(), came.as_slice(), went.as_slice()) {
            (_, [], []) if self.is_recovery() => self.before = Some((world, ids)),
            (Operation::Load(_) | Operation::First(_), [id], []) => {
                sandbox.unload(*id);
                let now = alike(&shape(&world), "after load and unload");
                self.before = Some((now, ids));
            }
            (Operation::Unload(_), [], [id]) if self.subject == Some(*id) => self.subject = None,
            (Operation::Exchange(_), [new], [old]) if self.subject == Some(*old) => {
                self.subject = Some(*new);
            }
            (Operation::Orphan(_), [], [id]) if self.subject == Some(*id) => {
                let (user, _) = self.user.take().unwrap();
                sandbox.unload(user);
                self.subject = None;
            }
            _ => panic!("{ids:?} became {listed:?}"),
        }
    }

    /// Every program that is there counts each of three packets or calls, and none is held up.
    fn flows(&self) {
        let before: Vec<u64> = self.stage.residents.iter().map(|id| count(*id)).collect();
        let (sum, used) = (total(), self.user.map(|(_, owner)| (owner, count(owner))));
        assert_eq!((self.stage.traffic)(3), 3);
        for (id, before) in self.stage.residents.iter().zip(before) {
            let rise = count(*id) - before;
            let right = rise == 3 || self.stage.shared && rise > 3;
            assert!(right, "of 3 packets or calls program {id} saw {rise}");
        }
        if let Some((owner, before)) = used {
            assert!(
                count(owner) - before >= 3,
                "the user of the maps was bypassed"
            );
        }
        if matches!(self.base(), Operation::Exchange(_)) {
            // The old one or the new one; of those on links of their own perhaps both.
            let least = 3 * (self.stage.residents.len() as u64 + 1);
            assert!(
                total() - sum >= least,
                "neither the old nor the new one ran"
            );
        }
    }

    /// Once more without a fault, after all those.
    fn comes_out_right(&mut self, position: Option<usize>) {
        let words = self.ready();
        let sandbox = self.stage.sandbox;
        let output = sandbox.bpfman(&words);
        assert_eq!(output.status, i32::from(self.is_recovery()), "{output}");
        let listed = sandbox.ids();
        if let (Operation::Load(_) | Operation::Exchange(_), Some(position)) =
            (self.operation, position)
        {
            let newest = *listed.iter().max().unwrap();
            assert_eq!(positions(sandbox, &[newest]), [position]);
            // Where maps are shared, the counter is the resident's.
            let counter = if self.stage.shared {
                self.stage.residents[0]
            } else {
                newest
            };
            let before = count(counter);
            self.flows();
            let each = if self.stage.shared { 6 } else { 3 };
            assert_eq!(count(counter) - before, each);
        }
        alike(self.after.as_ref().unwrap(), "without a fault");
        self.settle(&listed);
        if let (Operation::Exchange(_), Some(id)) = (self.base(), self.subject) {
            sandbox.unload(id);
        }
    }
}

/// An id that no program has.
const NOBODY: u32 = 4_000_000_000;

fn unload(id: u32) -> Vec<String> {
    vec!["unload".to_owned(), id.to_string()]
}

fn counter(id: u32) -> PathBuf {
    Path::new("/run/bpfman/fs/maps")
        .join(id.to_string())
        .join("counter")
}

fn count(id: u32) -> u64 {
    maps::count(&counter(id), 0)
}

/// The state as it is written; nothing where there is none.
fn document() -> Vec<u8> {
    fs::read("/run/bpfman/state.json").unwrap_or_default()
}

/// Of all programs with maps of their own.
fn total() -> u64 {
    let folders = fs::read_dir("/run/bpfman/fs/maps").into_iter().flatten();
    let pins = folders.map(|entry| entry.unwrap().path().join("counter"));
    pins.filter(|pin| pin.exists())
        .map(|pin| maps::count(&pin, 0))
        .sum()
}
