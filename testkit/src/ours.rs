//! Which of the kernel's objects are the sandbox's.
//!
//! A program, map or link lives only as long as something holds it, so what is ours is found from
//! what holds things and is ours: pins in the bpffs that the sandbox or a command in it mounted, the
//! interfaces of its network namespaces, the descriptors of its processes. What hangs together with
//! those is ours too: a link with its program, a program with its maps, a replaced function with
//! the program around it, in both directions, for no stranger attaches a program of ours or uses
//! its maps. And what was ours once is, until it is gone: a leak is found that way although nobody
//! sees who holds it.
//!
//! What a test cannot tell apart from the objects of others on the same machine is therefore what
//! no command named, no look ever saw, and none of those holds: a program that only a cgroup, a
//! socket, a route, a perf event without a link, or a process outside of all namespaces of the
//! sandbox that the test did not start keeps loaded, or a pin in a bpffs of a mount namespace that
//! only such a process is in. (bpfman attaches nothing in these ways.) In guests nobody else loads
//! anything: there the whole kernel is compared, and those are found as well.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

use libbpf_rs::{
    ErrorKind, Link, MapCore as _, MapHandle, MapType, ProgramType,
    query::{
        LinkInfo, LinkInfoIter, LinkTypeInfo, MapInfoIter, ProgInfoIter, ProgInfoQueryOptions,
    },
};
use serde_json::Value;

use crate::Lane;

/// An object of the kernel, by its id. They are given out in turn, and not again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Object {
    Program(u32),
    Map(u32),
    Link(u32),
}

/// What tells the sandbox from the rest of the machine.
#[derive(Debug)]
struct Scope {
    /// The bpffs that were there before it, by device: a mount keeps its own in every namespace.
    foreign: BTreeSet<String>,
    /// Inodes of its mount and of its first network namespace.
    namespaces: [u64; 2],
    /// Nobody else is there, so everything is its own.
    whole: bool,
    seen: BTreeSet<Object>,
}

/// A process is a test, a test is a sandbox.
static SCOPE: Mutex<Option<Scope>> = Mutex::new(None);

/// The calling thread has new namespaces, and has mounted nothing in them.
pub(crate) fn begin(strangers: bool) {
    let scope = Scope {
        foreign: bpffs().into_iter().map(|(device, _)| device).collect(),
        namespaces: ["mnt", "net"]
            .map(|kind| inode(&format!("/proc/thread-self/ns/{kind}")).unwrap()),
        whole: Lane::current() != Lane::Host && !strangers,
        seen: BTreeSet::new(),
    };
    *lock() = Some(scope);
}

fn lock() -> MutexGuard<'static, Option<Scope>> {
    // A test that failed in between still shows what it left.
    SCOPE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A command said that it loaded this program.
pub fn loaded(program: u32) {
    if let Some(scope) = lock().as_mut() {
        scope.seen.insert(Object::Program(program));
    }
}

/// Whether what is compared is only what hangs together with the sandbox.
pub(crate) fn has_strangers() -> bool {
    lock().as_ref().is_some_and(|scope| !scope.whole)
}

/// Mount points of the bpffs that the sandbox has made.
pub(crate) fn mounts() -> Vec<PathBuf> {
    let guard = lock();
    let scope = guard.as_ref().expect("a world is one of a sandbox");
    let all = bpffs().into_iter();
    all.filter(|(device, _)| !scope.foreign.contains(device))
        .map(|(_, path)| path)
        .collect()
}

/// The calling thread's bpffs: device and mount point.
fn bpffs() -> Vec<(String, PathBuf)> {
    // proc(5): id, parent, device, root, mount point, options, optional fields, `-`, type, …
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let parse = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        let (device, point) = (fields.next()?, fields.nth(1)?);
        let point = PathBuf::from(point.replace("\\040", " "));
        kind.starts_with("bpf ").then(|| (device.to_owned(), point))
    };
    mounts.lines().filter_map(parse).collect()
}

/// What a pin is a name of; None when it is gone.
pub(crate) fn pinned(path: &Path) -> Option<Object> {
    // The one function of libbpf-rs that opens a pin without asking what it is.
    let opened = Link::open(path).ok()?;
    let descriptor = opened.as_fd().as_raw_fd();
    object(&format!("/proc/thread-self/fdinfo/{descriptor}"))
}

/// What the descriptor of this file in `fdinfo` is one of.
fn object(fdinfo: &str) -> Option<Object> {
    let text = fs::read_to_string(fdinfo).ok()?;
    let field = |name: &str| {
        let (_, rest) = text.split_once(&format!("{name}:\t"))?;
        rest.lines().next()?.parse::<u32>().ok()
    };
    // A link says which program it has as well.
    let link = field("link_id").map(Object::Link);
    link.or_else(|| field("map_id").map(Object::Map))
        .or_else(|| field("prog_id").map(Object::Program))
}

/// The programs that the kernel's tools name in what they answer.
pub(crate) fn programs_in(answer: &Value, found: &mut BTreeSet<Object>) {
    match answer {
        Value::Array(values) => values.iter().for_each(|value| programs_in(value, found)),
        Value::Object(fields) => {
            let id = fields
                .get("prog")
                .and_then(|program| program["id"].as_u64());
            found.extend(id.map(|id| Object::Program(u32::try_from(id).unwrap())));
            fields.values().for_each(|value| programs_in(value, found));
        }
        _ => {}
    }
}

/// The processes of the sandbox: those in its namespaces, and those that the test has started.
fn processes(namespaces: &[u64]) -> BTreeSet<u32> {
    let named = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let named = named.filter_map(|entry| inode(&entry.path().to_string_lossy()));
    let namespaces: BTreeSet<u64> = namespaces.iter().copied().chain(named).collect();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: BTreeMap<u32, u32> = all.filter_map(|id| Some((id, parent(id)?))).collect();
    let is_inside = |id: &u32| {
        let within = |kind| inode(&format!("/proc/{id}/ns/{kind}"));
        let within =
            ["mnt", "net"].map(|kind| within(kind).is_some_and(|ns| namespaces.contains(&ns)));
        within.contains(&true)
    };
    let own = std::process::id();
    let is_child = |id: &u32| {
        let line = std::iter::successors(Some(*id), |id| parents.get(id).copied());
        // No line is longer than there are processes, whatever changes meanwhile.
        line.take(parents.len()).any(|id| id == own)
    };
    parents
        .keys()
        .copied()
        .filter(|id| is_child(id) || is_inside(id))
        .collect()
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

fn inode(path: &str) -> Option<u64> {
    fs::metadata(path).ok().map(|file| file.ino())
}

/// What descriptors of the sandbox's processes hold. Perf events do not say which program they
/// run, so they are things of their own.
fn descriptors(
    namespaces: &[u64],
    roots: &mut BTreeSet<Object>,
    all: &mut BTreeMap<String, String>,
) {
    for process in processes(namespaces) {
        let folder = format!("/proc/{process}/fd");
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (number, Ok(kind)) = (entry.file_name(), fs::read_link(entry.path())) else {
                continue;
            };
            let (number, kind) = (number.to_string_lossy(), kind.to_string_lossy());
            if kind.starts_with("anon_inode:bpf") {
                roots.extend(object(&format!("/proc/{process}/fdinfo/{number}")));
            } else if kind == "anon_inode:[perf_event]" {
                let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
                let what = format!("perf event of {}", name.trim_end());
                all.insert(format!("descriptor {process}/{number}"), what);
            }
        }
    }
}

/// Adds what is there of the sandbox, found from `roots` and from its processes.
pub(crate) fn objects(mut roots: BTreeSet<Object>, all: &mut BTreeMap<String, String>) {
    let mut guard = lock();
    let scope = guard.as_mut().expect("a world is one of a sandbox");
    descriptors(&scope.namespaces, &mut roots, all);
    let options = ProgInfoQueryOptions::default().include_map_ids(true);
    let programs: Vec<_> = ProgInfoIter::with_query_opts(options).collect();
    let links: Vec<_> = LinkInfoIter::default().collect();
    let mut edges = Vec::new();
    for program in &programs {
        let maps = program.map_ids.iter();
        edges.extend(maps.map(|map| (Object::Program(program.id), Object::Map(*map))));
    }
    for link in &links {
        let is_ext = programs
            .iter()
            .any(|p| p.id == link.prog_id && p.ty == ProgramType::Ext);
        let around = around(link).filter(|_| is_ext);
        let held = [Some(link.prog_id), around].into_iter().flatten();
        edges.extend(held.map(|program| (Object::Link(link.id), Object::Program(program))));
    }
    scope.seen.append(&mut roots);
    hang_together(&mut scope.seen, &edges);
    let is_ours = |object| scope.whole || scope.seen.contains(&object);
    for program in programs.iter().filter(|p| is_ours(Object::Program(p.id))) {
        let what = format!("{:?} {}", program.ty, program.name.to_string_lossy());
        all.insert(format!("program {}", program.id), what);
    }
    for link in links.iter().filter(|link| is_ours(Object::Link(link.id))) {
        all.insert(
            format!("link {}", link.id),
            format!("of program {}", link.prog_id),
        );
    }
    if scope.whole {
        let whole = MapInfoIter::default();
        whole.for_each(|map| add_map(map.id, map.ty, &map.name.to_string_lossy(), all));
        return;
    }
    scope.seen.retain(|object| {
        let Object::Map(id) = *object else {
            return true;
        };
        match MapHandle::from_map_id(id) {
            Ok(map) => add_map(id, map.map_type(), &map.name().to_string_lossy(), all),
            Err(error) => return error.kind() != ErrorKind::NotFound,
        }
        true
    });
}

fn add_map(id: u32, kind: MapType, name: &str, all: &mut BTreeMap<String, String>) {
    // The kernel clears a program array when its last descriptor goes, and loses count of it
    // when another one comes and goes at that moment (`prog_array_map_clear`, seen on 6.18):
    // looking at one is enough to make it stay for ever.
    if kind != MapType::ProgArray {
        all.insert(format!("map {id}"), format!("{kind:?} {name}"));
    }
}

/// The program in which the link replaces a function, if it is the link of an extension program:
/// for others the number is that of something else.
fn around(link: &LinkInfo) -> Option<u32> {
    match &link.info {
        LinkTypeInfo::Tracing(tracing) => Some(tracing.target_obj_id),
        _ => None,
    }
}

/// Adds whatever one of two ends is there already.
fn hang_together(ours: &mut BTreeSet<Object>, edges: &[(Object, Object)]) {
    let mut before = 0;
    while ours.len() > before {
        before = ours.len();
        for (one, other) in edges {
            if ours.contains(one) || ours.contains(other) {
                ours.extend([*one, *other]);
            }
        }
    }
}
