//! The points at which tests fail and kill bpfman, and who proves each.

use std::collections::BTreeSet;

/// Tests that go through all points of some operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Programs that a link of their own holds.
    Links,
    /// Chains; needs extension programs.
    Chains,
    /// Chains that a TCX link holds; needs both.
    TcxChains,
    /// Chains that a filter holds; kernels without TCX.
    Filters,
    /// The first command on a machine.
    First,
    /// The command after one that was killed.
    Recovery,
    /// The image store.
    Images,
}

/// Every `fault::point` of the sources, and the groups whose operations must pass it.
pub const POINTS: &[(&str, &[Group])] = &[
    ("state.root-made", &[Group::First]),
    ("pins.bpffs-mounted", &[Group::First]),
    (
        "pins.folder-made",
        &[Group::First, Group::Links, Group::Chains],
    ),
    ("pins.pin-removed", &[Group::Links, Group::Chains]),
    ("load.loaded", &[Group::Links, Group::Chains]),
    ("load.program-pinned", &[Group::Links, Group::Chains]),
    ("load.map-pinned", &[Group::Links, Group::Chains]),
    ("load.linked", &[Group::Links]),
    ("load.attached", &[Group::Links]),
    ("load.committed", &[Group::Links, Group::Chains]),
    ("unload.link-released", &[Group::Links]),
    ("unload.committed", &[Group::Links, Group::Chains]),
    ("unload.link-gone", &[Group::Links, Group::Chains]),
    ("unload.program-unpinned", &[Group::Links, Group::Chains]),
    ("chain.dispatcher-loaded", &[Group::Chains]),
    ("chain.note-written", &[Group::Chains]),
    ("chain.noted", &[Group::Chains]),
    ("chain.member-linked", &[Group::Chains]),
    ("chain.member-link-pinned", &[Group::Chains]),
    ("chain.member-attached", &[Group::Chains]),
    ("chain.tcx-linked", &[Group::TcxChains]),
    ("chain.clsact-made", &[Group::Filters]),
    ("chain.swapped", &[Group::Chains]),
    ("chain.retired", &[Group::Chains]),
    ("chain.note-cleared", &[Group::Chains]),
    ("chain.clsact-removed", &[Group::Filters]),
    ("state.written", &[Group::Links, Group::Chains]),
    ("state.previous-removed", &[Group::Links, Group::Chains]),
    ("state.previous-linked", &[Group::Links, Group::Chains]),
    ("recover.record-dropped", &[Group::Recovery]),
    ("recover.link-removed", &[Group::Recovery]),
    ("recover.program-removed", &[Group::Recovery]),
    ("store.folder-made", &[Group::Images]),
    ("store.file-named", &[Group::Images]),
    ("store.file-kept", &[Group::Images]),
    ("store.names-removed", &[Group::Images]),
    ("store.document-removed", &[Group::Images]),
    ("store.blob-removed", &[Group::Images]),
];

/// Fails when operations passed a point that is not in the table, or did not pass one that names
/// their group.
#[track_caller]
pub fn assert_passed(group: Group, passed: &BTreeSet<String>) {
    for name in passed {
        let known = POINTS.iter().any(|(point, _)| point == name);
        assert!(known, "{name} is not in the table of points");
    }
    for (point, groups) in POINTS {
        let named = groups.contains(&group);
        assert!(
            !named || passed.contains(*point),
            "{point} was not passed by {group:?}: {passed:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn names(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                names(&path, found);
                continue;
            }
            // `point` alone is a closure around it that says whose error it is.
            let text = fs::read_to_string(&path).unwrap();
            for call in [
                "fault::point(",
                " point(",
                "committed(",
                "remove(path, ",
                "remove(&path, ",
            ] {
                let calls = text.split(call).skip(1);
                let literals = calls.filter_map(|rest| rest.trim_start().strip_prefix('"'));
                found.extend(literals.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
    }

    /// A point that is not in the table is not proved, and one that is only there does not exist.
    #[test]
    fn the_table_has_every_point_of_the_sources() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = BTreeSet::new();
        for source in ["bytecode/src", "kernel/src", "manager/src"] {
            names(&root.join(source), &mut found);
        }
        let table: BTreeSet<String> = POINTS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(found, table);
        assert_eq!(table.len(), POINTS.len(), "one of them twice");
        assert!(POINTS.iter().all(|(_, groups)| !groups.is_empty()));
    }
}
