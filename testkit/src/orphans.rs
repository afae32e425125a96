//! What the kernel holds, and no record of bpfman names.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd as _,
    path::Path,
};

use libbpf_rs::{
    MapHandle, MapInfo,
    query::{LinkInfoIter, ProgInfoIter, ProgInfoQueryOptions},
};

use crate::{World, run::settles, world::reach};

impl World {
    /// Fails with what came since this world and belongs to none of the programs that bpfman
    /// lists, and with what one of those lacks or has twice. The kernel takes its time to free
    /// things, so only what stays counts.
    #[track_caller]
    pub fn assert_no_orphans(&self, listed: &[u32], when: &str) {
        let found = settles(|| self.orphans(listed));
        assert!(
            found.is_empty(),
            "{when}, beside {listed:?}{}:\n{}",
            reach(),
            found.join("\n")
        );
    }

    /// What `assert_no_orphans` fails with when it stays.
    pub fn orphans(&self, listed: &[u32]) -> Vec<String> {
        let now = Self::now();
        let came: BTreeMap<&String, &String> = now
            .0
            .iter()
            .filter(|(name, _)| !self.0.contains_key(*name))
            .collect();
        let mut known = Known::of(listed, &came);
        let mut found = known.programs(&came, listed);
        found.extend(known.links(listed));
        for (name, what) in &came {
            if !known.explains(name, what, &came) {
                found.push(format!("nobody's {name}: {what}"));
            }
        }
        found
    }
}

/// The objects that the listed programs account for.
struct Known {
    programs: BTreeSet<u32>,
    dispatchers: BTreeSet<u32>,
    maps: BTreeSet<u32>,
}

impl Known {
    /// A dispatcher that is not loaded any more excuses no pin.
    fn of(listed: &[u32], came: &BTreeMap<&String, &String>) -> Self {
        let is_loaded = |id: &u32| came.contains_key(&format!("program {id}"));
        let named = came.keys().filter_map(|name| dispatcher(name));
        let dispatchers: BTreeSet<u32> = named.filter(is_loaded).collect();
        let programs = listed.iter().copied().chain(dispatchers.iter().copied());
        Self {
            programs: programs.collect(),
            dispatchers,
            maps: BTreeSet::new(),
        }
    }

    /// Learns the maps; answers programs that are missing.
    fn programs(&mut self, came: &BTreeMap<&String, &String>, listed: &[u32]) -> Vec<String> {
        let options = ProgInfoQueryOptions::default().include_map_ids(true);
        for program in ProgInfoIter::with_query_opts(options) {
            if self.programs.contains(&program.id) {
                self.maps.extend(program.map_ids);
            }
        }
        let there = |id: &&u32| came.contains_key(&format!("program {id}"));
        let missing = listed.iter().filter(|id| !there(id));
        missing
            .map(|id| format!("listed, and not loaded: program {id}"))
            .collect()
    }

    /// Programs that hang on two links: a chain that was not taken apart still holds them.
    fn links(&self, listed: &[u32]) -> Vec<String> {
        let mut links: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for link in LinkInfoIter::default() {
            links.entry(link.prog_id).or_default().push(link.id);
        }
        let ours = listed.iter().chain(&self.dispatchers);
        ours.filter_map(|id| links.get(id).filter(|links| links.len() > 1))
            .map(|links| format!("one program, several links: {links:?}"))
            .collect()
    }

    fn explains(&self, name: &str, what: &str, came: &BTreeMap<&String, &String>) -> bool {
        let (kind, of) = name.split_once(' ').unwrap_or((name, ""));
        let has = |id: &str| id.parse().is_ok_and(|id| self.programs.contains(&id));
        match kind {
            "program" => has(of),
            "map" => of.parse().is_ok_and(|id| self.maps.contains(&id)),
            "link" => what.strip_prefix("of program ").is_some_and(has),
            "descriptor" => false,
            "pin" => self.explains_pin(Path::new(of)),
            // The note of the last change stays.
            "file" => of == "/run/bpfman/pending.json",
            "xdp" => {
                let xdp: serde_json::Value = serde_json::from_str(what).unwrap();
                let id = xdp["prog"]["id"].as_u64();
                id.is_some_and(|id| has(&id.to_string()))
            }
            // An empty qdisc is one that somebody forgot.
            "qdisc" => {
                let dev = of.split_once(' ').map_or(of, |(dev, _)| dev);
                let filter = format!("filter {dev} ");
                came.keys().any(|name| name.starts_with(&filter))
            }
            _ => true,
        }
    }

    fn explains_pin(&self, pin: &Path) -> bool {
        let file = |path: &Path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        let (own, folder) = (file(pin).unwrap(), pin.parent().unwrap());
        let number = |name: &str| name.parse::<u32>().ok();
        let is_ours = |id: u32| self.programs.contains(&id);
        match file(folder).as_deref() {
            Some("progs" | "links") => number(&own).is_some_and(is_ours),
            // The owner of maps may go before those who share them.
            Some("maps") => number(&own).is_some_and(is_ours) || self.has_map_in(pin),
            Some("tc") if own.starts_with("hook-") => !self.dispatchers.is_empty(),
            Some(name) if number(name).is_some() => self.is_map(pin),
            _ => dispatcher(&pin.to_string_lossy()).is_some_and(is_ours),
        }
    }

    fn is_map(&self, pin: &Path) -> bool {
        let map = MapHandle::from_pinned_path(pin).and_then(|map| MapInfo::new(map.as_fd()));
        map.is_ok_and(|map| self.maps.contains(&map.info.id))
    }

    fn has_map_in(&self, folder: &Path) -> bool {
        let pins = std::fs::read_dir(folder).into_iter().flatten();
        pins.filter_map(Result::ok)
            .any(|pin| self.is_map(&pin.path()))
    }
}

/// The id in `…/dispatch-<ifindex>-<id>/…` and `…/dispatch-<id>/…`.
fn dispatcher(path: &str) -> Option<u32> {
    let (_, rest) = path.split_once("/dispatch-")?;
    let folder = rest.split('/').next()?;
    folder.rsplit('-').next()?.parse().ok()
}
