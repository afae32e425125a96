//! What the kernel holds, before and after.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    path::Path,
};

use serde_json::Value;

use crate::{
    in_netns, json,
    ours::{self, Object, has_strangers, pinned, programs_in},
    run::settles,
};

/// Everything that a test could leave behind: a name for each thing, and what it is.
///
/// Only what its own commands could have made or touched, so that others may load programs beside
/// it: `ours` has how that is found, and what cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World(pub(crate) BTreeMap<String, String>);

impl World {
    /// Programs, maps and links that are the sandbox's (in guests: all of them); its pins,
    /// temporary files, queueing disciplines, filters and XDP programs, and its perf events.
    pub fn now() -> Self {
        Self::of(netns_names())
    }

    /// The same without the interfaces of other network namespaces.
    pub fn here() -> Self {
        Self::of(Vec::new())
    }

    fn of(namespaces: Vec<String>) -> Self {
        let (mut all, mut roots) = (BTreeMap::new(), BTreeSet::new());
        for mount in ours::mounts() {
            pins(&mount, &mut all, &mut roots);
        }
        files(&mut all);
        interfaces("", &mut all, &mut roots);
        for name in namespaces {
            in_netns(&name, || interfaces(&name, &mut all, &mut roots));
        }
        ours::objects(roots, &mut all);
        Self(all)
    }

    /// What came (`+`), went (`-`) or is another (`~`), a line each.
    ///
    /// Programs, maps and links that went are left out: the kernel takes apart at its leisure what
    /// an earlier test or command left, and whatever matters of those that a test made has a pin
    /// or an attachment as well.
    pub fn diff(&self, after: &Self) -> Vec<String> {
        let has_id = |name: &str| {
            ["program ", "map ", "link "]
                .iter()
                .any(|kind| name.starts_with(kind))
        };
        let mut lines = Vec::new();
        for (name, what) in &self.0 {
            match after.0.get(name) {
                None if has_id(name) => {}
                None => lines.push(format!("- {name}: {what}")),
                Some(now) if now != what => lines.push(format!("~ {name}: {what} -> {now}")),
                Some(_) => {}
            }
        }
        let came = after
            .0
            .iter()
            .filter(|(name, _)| !self.0.contains_key(*name));
        lines.extend(came.map(|(name, what)| format!("+ {name}: {what}")));
        lines
    }

    /// Fails when there is more of anything now, whatever ids it has: a chain that changed and
    /// changed back is held by another dispatcher.
    #[track_caller]
    pub fn assert_no_more(&self, when: &str) {
        let left = settles(|| self.more());
        assert!(
            left.is_empty(),
            "there is more {when}{}:\n{}",
            reach(),
            left.join("\n")
        );
    }

    /// What `assert_no_more` fails with when it stays.
    pub fn more(&self) -> Vec<String> {
        let mut before = self.kinds();
        let after = Self::now().kinds().into_iter();
        let is_new = |kind: &String| match before.iter().position(|known| known == kind) {
            Some(known) => {
                before.swap_remove(known);
                false
            }
            None => true,
        };
        after.filter(is_new).collect()
    }

    /// All names without the numbers in them.
    fn kinds(&self) -> Vec<String> {
        let without = |name: &str| {
            let parts = name.split(|c: char| c.is_ascii_digit());
            parts
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join("#")
        };
        let named = |(name, what): (&String, &String)| match name.split_once(' ') {
            Some(("program" | "map", _)) => format!("{} {what}", without(name)),
            _ => without(name),
        };
        self.0.iter().map(named).collect()
    }

    /// A line for each thing.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(name, what)| format!("{name}: {what}"))
    }

    /// Fails with the differences to what is there now. The kernel frees programs and maps some
    /// time after their last user is gone, so a difference counts only when it stays.
    #[track_caller]
    pub fn assert_same(&self, when: &str) {
        let diff = settles(|| self.diff(&Self::now()));
        assert!(
            diff.is_empty(),
            "the world is another one {when}{}:\n{}",
            reach(),
            diff.join("\n")
        );
    }
}

/// How far a snapshot sees, for the message of a failure.
pub(crate) fn reach() -> &'static str {
    if has_strangers() {
        " (of programs, maps and links those are compared that hang together with this sandbox: \
         pins, interfaces and processes of its namespaces, and ids that its commands named)"
    } else {
        " (all programs, maps and links of the kernel are compared)"
    }
}

/// Pins, and the directories that belong to one program or one dispatcher. The few that stay for
/// all programs to come do not count.
fn pins(dir: &Path, all: &mut BTreeMap<String, String>, roots: &mut BTreeSet<Object>) {
    let entries = match fs::read_dir(dir) {
        // Unpinned, or unmounted, while we look.
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        entries => entries.unwrap(),
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        // The kernel's own, in every bpffs of some kernels (`bpf_preload`).
        if path.extension().is_some_and(|suffix| suffix == "debug") {
            continue;
        }
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let own = entry
            .file_name()
            .to_string_lossy()
            .chars()
            .any(|c| c.is_ascii_digit());
        if !is_dir || own {
            all.insert(format!("pin {}", path.display()), String::new());
        }
        if is_dir {
            pins(&path, all, roots);
        } else {
            roots.extend(pinned(&path));
        }
    }
}

/// Files of the runtime root besides those that stay.
fn files(all: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir("/run/bpfman")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !["fs", "lock", "state.json", "state.previous.json"].contains(&name.as_str()) {
            all.insert(format!("file /run/bpfman/{name}"), String::new());
        }
    }
}

fn netns_names() -> Vec<String> {
    let named = fs::read_dir("/run/netns").into_iter().flatten();
    let named = named.filter_map(Result::ok);
    named
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// What hangs on the interfaces of the calling thread's namespace.
fn interfaces(netns: &str, all: &mut BTreeMap<String, String>, roots: &mut BTreeSet<Object>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for link in json("ip", &["-j", "-d", "link"])
        .as_array()
        .into_iter()
        .flatten()
    {
        if link["xdp"].is_object() {
            programs_in(&link["xdp"], roots);
            all.insert(
                format!("xdp {netns}/{}", text(&link["ifname"])),
                link["xdp"].to_string(),
            );
        }
    }
    for qdisc in json("tc", &["-j", "qdisc", "show"])
        .as_array()
        .into_iter()
        .flatten()
    {
        let (kind, dev) = (text(&qdisc["kind"]), text(&qdisc["dev"]));
        if kind == "noqueue" {
            continue;
        }
        all.insert(
            format!("qdisc {netns}/{dev} {kind}"),
            qdisc["handle"].to_string(),
        );
        if !["clsact", "ingress"].contains(&kind.as_str()) {
            continue;
        }
        for hook in ["ingress", "egress"] {
            let filters = json("tc", &["-j", "filter", "show", "dev", &dev, hook]);
            programs_in(&filters, roots);
            for (at, filter) in filters.as_array().into_iter().flatten().enumerate() {
                all.insert(
                    format!("filter {netns}/{dev} {hook} {at}"),
                    filter.to_string(),
                );
            }
        }
    }
}
