//! Reading, expanding and planning, without a kernel.

mod planning;
mod reading;
mod schema;

use std::{collections::BTreeMap, path::Path};

use model::{Place, ProgramId, Record};

use crate::{Desired, Host, Set, expand, read_text};

/// A host with a default route.
fn host() -> Host {
    Host {
        labels: BTreeMap::from([("role".to_owned(), "edge".to_owned())]),
        primary: Some("eth0".to_owned()),
    }
}

fn parse(text: &str) -> Set {
    read_text(text, Path::new("/srv"))
}

/// The programs of manifests in which nothing is wrong.
#[track_caller]
fn desired(text: &str) -> Vec<Desired> {
    let set = parse(text);
    assert!(set.errors.is_empty(), "{:?}", set.errors);
    let (desired, errors) = expand(&set.documents, &host());
    assert!(errors.is_empty(), "{errors:?}");
    desired
}

/// A manifest with these lines in `spec`.
fn manifest(kind: &str, name: &str, spec: &str) -> String {
    let spec: Vec<String> = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: bpfman.io/v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n{}",
        spec.concat()
    )
}

/// What the state says of a wish once it is loaded.
fn record(desired: &Desired, id: u32, maps: u32, owner: Option<u32>) -> Record {
    Record {
        provenance: None,
        id: ProgramId(id),
        name: desired.function.clone().unwrap_or("f".to_owned()),
        source: desired.source.clone(),
        digest: "aa".to_owned(),
        attach: desired.attach.clone(),
        place: desired.attach.net().map(|_| Place {
            ns_dev: 1,
            ns_ino: 2,
            ifindex: 3,
        }),
        globals: model::hex_globals(&desired.globals),
        metadata: desired.metadata(),
        map_owner: owner.map(ProgramId),
        maps: ProgramId(maps),
        seq: id.into(),
    }
}
