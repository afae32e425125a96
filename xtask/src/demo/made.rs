//! What the demo made in the kernel, by ids.
//!
//! The demo's bpffs are its own, so what is pinned there is what its commands made. The kernel gives
//! ids out in turn and begins again only after two thousand millions of them: an id that is gone is
//! not given to somebody else's object meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::sh;
use crate::stage::IFACE;

/// bpfman's own bpffs, and the one that it shares with libxdp.
const TREES: [&str; 2] = ["/run/bpfman/fs", "/sys/fs/bpf"];
/// The kernel frees an object a moment after its last user has gone, a busy one later.
const PATIENCE: Duration = Duration::from_mins(1);

/// As bpftool calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Prog,
    Map,
    Link,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Prog, Self::Map, Self::Link];

    fn word(self) -> &'static str {
        match self {
            Self::Prog => "prog",
            Self::Map => "map",
            Self::Link => "link",
        }
    }
}

/// Programs, maps and links that commands of the demo made.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Each with what it was to the demo.
    objects: BTreeMap<(Kind, u64), String>,
    /// Pins and folders that were looked at.
    seen: BTreeSet<PathBuf>,
}

impl Made {
    /// Notes a program by the id that `load` printed.
    pub(super) fn loaded(&mut self, id: &str, name: &str) -> Result<()> {
        let shown = show(Kind::Prog, &["id", id])?;
        let shown = shown
            .with_context(|| format!("the kernel has no program {id}, though `load` gave it"))?;
        self.note(Kind::Prog, &shown, name)?;
        self.look()
    }

    /// Notes what commands have pinned since the last look.
    ///
    /// With each change a chain gets a new dispatcher in a new folder: who looks after each command
    /// meets all of them.
    pub(super) fn look(&mut self) -> Result<()> {
        for entry in entries()? {
            if !self.seen.insert(entry.clone()) {
                continue;
            }
            let name = entry.to_string_lossy();
            if entry.is_dir() {
                // The dispatcher itself has no pin: the folder of its members bears its id.
                if let Some(id) = dispatcher(&entry)
                    && let Some(shown) = show(Kind::Prog, &["id", id])?
                {
                    self.note(Kind::Prog, &shown, &format!("the dispatcher of {name}"))?;
                }
                continue;
            }
            let (kind, shown) = pinned(&name)?;
            self.note(kind, &shown, &name)?;
        }
        Ok(())
    }

    fn note(&mut self, kind: Kind, shown: &Value, what: &str) -> Result<()> {
        let id = shown["id"].as_u64();
        let id = id.with_context(|| format!("bpftool shows no id of {what}: {shown}"))?;
        let maps = shown["map_ids"].as_array().into_iter().flatten();
        for map in maps.filter_map(Value::as_u64) {
            let of = || format!("of program {id}");
            self.objects.entry((Kind::Map, map)).or_insert_with(of);
        }
        self.objects
            .entry((kind, id))
            .and_modify(|known| known.extend([", ", what]))
            .or_insert_with(|| what.to_owned());
        Ok(())
    }

    /// Insists that nothing of it is there any more. Answers with what was made, in words.
    pub(super) fn must_be_gone(&self) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        let mut left = self.left()?;
        while !left.is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
            left = self.left()?;
        }
        ensure!(
            left.is_empty(),
            "all is unloaded, and {} s later the kernel still has {}",
            PATIENCE.as_secs(),
            left.join(", ")
        );
        let pins: Vec<_> = entries()?
            .into_iter()
            .filter(|entry| !entry.is_dir())
            .collect();
        ensure!(
            pins.is_empty(),
            "all is unloaded, and these pins are left: {pins:?}"
        );
        interface_is_bare()?;
        let count = |kind| self.objects.keys().filter(|(of, _)| *of == kind).count();
        Ok(format!(
            "{} programs, {} maps and {} links",
            count(Kind::Prog),
            count(Kind::Map),
            count(Kind::Link)
        ))
    }

    fn left(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for ((kind, id), what) in &self.objects {
            if show(*kind, &["id", &id.to_string()])?.is_some() {
                let kind = if *kind == Kind::Prog {
                    "program"
                } else {
                    kind.word()
                };
                left.push(format!("{kind} {id} ({what})"));
            }
        }
        Ok(left)
    }
}

/// The id in `dispatch-<ifindex>-<id>` and `dispatch-<id>`.
fn dispatcher(folder: &Path) -> Option<&str> {
    let name = folder.file_name()?.to_str()?;
    name.strip_prefix("dispatch-")?.rsplit('-').next()
}

/// What bpftool shows of one object, unless there is none.
fn show(kind: Kind, which: &[&str]) -> Result<Option<Value>> {
    let mut command = Command::new("bpftool");
    command.args(["-j", kind.word(), "show"]).args(which);
    let shown = command.output().context("start `bpftool`")?;
    let said = String::from_utf8_lossy(&shown.stdout);
    let failed = || {
        format!(
            "read what `bpftool {} show {}` says: {said}",
            kind.word(),
            which.join(" ")
        )
    };
    let value: Value = serde_json::from_str(&said).with_context(failed)?;
    match value["error"].as_str() {
        None if shown.status.success() => Ok(Some(value)),
        Some(error) if error.ends_with("No such file or directory") => Ok(None),
        _ => bail!(failed()),
    }
}

/// What is pinned there; its kind only shows when it is asked for.
fn pinned(path: &str) -> Result<(Kind, Value)> {
    for kind in Kind::ALL {
        let mut command = Command::new("bpftool");
        command.args(["-j", kind.word(), "show", "pinned", path]);
        let shown = command.output().context("start `bpftool`")?;
        // Its status is no help: Debian 13's bpftool 7.5 shows a link and ends with 255.
        let value: Value = serde_json::from_slice(&shown.stdout).unwrap_or_default();
        if value["id"].is_u64() {
            return Ok((kind, value));
        }
    }
    bail!("bpftool cannot say what is pinned at {path}")
}

/// All that lies in the demo's bpffs, without the two files that a kernel may put there by itself.
fn entries() -> Result<Vec<PathBuf>> {
    let mut folders: Vec<_> = TREES.iter().map(PathBuf::from).collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        if !folder.exists() {
            continue;
        }
        for entry in
            std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            if !["maps.debug", "progs.debug"]
                .iter()
                .any(|own| path.ends_with(own))
            {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Insists that nothing is attached to the demo's interface.
fn interface_is_bare() -> Result<()> {
    let link = sh::output(Command::new("ip").args(["-json", "link", "show", "dev", IFACE]))?;
    let link: Value = serde_json::from_str(&link).context("read what ip says")?;
    let xdp = &link[0]["xdp"];
    ensure!(
        xdp.is_null(),
        "all is unloaded, and {IFACE} still runs an XDP program: {xdp}"
    );
    let qdiscs = sh::output(Command::new("tc").args(["qdisc", "show", "dev", IFACE]))?;
    ensure!(
        !qdiscs.contains("clsact"),
        "all is unloaded, and {IFACE} still has the qdisc that holds TC programs: {}",
        qdiscs.trim()
    );
    Ok(())
}
