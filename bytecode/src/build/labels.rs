//! What an image says about the bytecode in it.

use std::collections::{BTreeMap, HashMap};

use model::{Kind, Section};

use crate::{
    Inventory,
    image::{MAPS, PROGRAMS},
    map_type_name,
};

/// The labels of an image, computed from an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Type of each entry function that can be loaded.
    pub programs: BTreeMap<String, &'static str>,
    /// Type of each map, without those that hold global variables.
    pub maps: BTreeMap<String, String>,
}

impl Labels {
    pub(crate) fn of(inventory: &Inventory) -> Self {
        let programs = inventory.programs.iter();
        let maps = inventory.maps.iter();
        Self {
            programs: programs
                .filter_map(|(name, section)| Some((name.clone(), program_type(section)?)))
                .collect(),
            maps: maps
                .map(|(name, number)| (name.clone(), map_type_name(*number).into_owned()))
                .collect(),
        }
    }

    /// The programs as compact JSON with sorted keys.
    pub fn programs_json(&self) -> String {
        json(&self.programs)
    }

    /// The maps as compact JSON with sorted keys.
    pub fn maps_json(&self) -> String {
        json(&self.maps)
    }

    /// The labels by their names.
    pub(crate) fn by_name(&self) -> HashMap<String, String> {
        HashMap::from([
            (PROGRAMS.to_owned(), self.programs_json()),
            (MAPS.to_owned(), self.maps_json()),
        ])
    }
}

fn json<V: AsRef<str>>(map: &BTreeMap<String, V>) -> String {
    let object = map
        .iter()
        .map(|(key, value)| (key.clone(), value.as_ref().into()))
        .collect();
    serde_json::Value::Object(object).to_string()
}

/// The label's word for a program, by its ELF section. Unlike the word of a command it tells entry
/// and return apart; none for programs that no command loads.
fn program_type(section: &str) -> Option<&'static str> {
    let found = Section::find(section)?;
    Some(match (found.kind, found.on_return) {
        (Kind::Kprobe, true) => "kretprobe",
        (Kind::Uprobe, true) => "uretprobe",
        // `tc/ingress` is attached as TCX where nothing else is said, and named for what it is.
        (Kind::Tcx, _) if !found.prefix.starts_with("tcx") => Kind::Tc.name(),
        (kind, _) => kind.name(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_section() {
        for (section, word) in [
            ("xdp", Some("xdp")),
            ("xdp.frags/filter", Some("xdp")),
            ("tc", Some("tc")),
            ("classifier/pass", Some("tc")),
            ("tc/egress", Some("tc")),
            ("tcx/ingress", Some("tcx")),
            ("tp/sched/sched_switch", Some("tracepoint")),
            ("kprobe.multi/a*", Some("kprobe")),
            ("ksyscall/openat", Some("kprobe")),
            ("kretprobe/f", Some("kretprobe")),
            ("kretsyscall/openat", Some("kretprobe")),
            ("uprobe.s//bin/sh:main", Some("uprobe")),
            ("uretprobe", Some("uretprobe")),
            ("fentry/f", Some("fentry")),
            ("fexit.s/f", Some("fexit")),
            ("lsm/file_open", None),
            ("xdp/devmap", None),
        ] {
            assert_eq!(program_type(section), word, "{section}");
        }
    }

    #[test]
    fn json_is_compact_sorted_and_quoted() {
        let labels = Labels {
            programs: BTreeMap::from([("b".to_owned(), "tc"), ("a\"".to_owned(), "xdp")]),
            maps: BTreeMap::new(),
        };
        assert_eq!(labels.programs_json(), r#"{"a\"":"xdp","b":"tc"}"#);
        assert_eq!(labels.maps_json(), "{}");
    }
}
