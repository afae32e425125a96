//! The ONE table of fields: which kind of manifest takes which.

use model::Kind;

const ALL: &[Kind] = &[
    Kind::Xdp,
    Kind::Tc,
    Kind::Tcx,
    Kind::Tracepoint,
    Kind::Kprobe,
    Kind::Uprobe,
    Kind::Fentry,
    Kind::Fexit,
];
const NET: &[Kind] = &[Kind::Xdp, Kind::Tc, Kind::Tcx];
const CHAINED: &[Kind] = &[Kind::Xdp, Kind::Tc];
const SIDED: &[Kind] = &[Kind::Tc, Kind::Tcx];
const FUNCTION: &[Kind] = &[Kind::Kprobe, Kind::Uprobe, Kind::Fentry, Kind::Fexit];
const PROBE: &[Kind] = &[Kind::Kprobe, Kind::Uprobe];
const UPROBE: &[Kind] = &[Kind::Uprobe];
const TRACEPOINT: &[Kind] = &[Kind::Tracepoint];

/// Fields of `spec`, and the kinds that take them.
pub(crate) const FIELDS: &[(&str, &[Kind])] = &[
    ("bpffunctionname", ALL),
    ("bpfProgram", ALL),
    ("bytecode", ALL),
    ("globaldata", ALL),
    ("mapownerselector", ALL),
    ("nodeselector", ALL),
    ("interfaceselector", NET),
    ("netns", NET),
    ("priority", NET),
    ("proceedon", CHAINED),
    ("direction", SIDED),
    ("names", TRACEPOINT),
    ("func_name", FUNCTION),
    ("offset", PROBE),
    ("retprobe", PROBE),
    ("target", UPROBE),
    ("pid", UPROBE),
    ("containerpid", UPROBE),
    ("containers", UPROBE),
];

/// Whether a kind takes a field.
pub(crate) fn takes(kind: Kind, field: &str) -> bool {
    FIELDS
        .iter()
        .any(|(name, kinds)| *name == field && kinds.contains(&kind))
}

/// All kinds.
pub(crate) const KINDS: &[Kind] = ALL;

/// The fields that a kind takes, for messages.
pub(crate) fn of(kind: Kind) -> String {
    let names = FIELDS.iter().filter(|(_, kinds)| kinds.contains(&kind));
    names.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
