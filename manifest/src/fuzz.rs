//! Manifests, which may come from anybody who can write into a folder or a repository.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise ends the run"
)]

use std::{collections::BTreeMap, path::Path};

use model::{ProgramId, Record};

use crate::{Desired, Error, Host, expand, export, read_text};

/// What is wrong has a place in the text; what is right is the same when it was loaded, exported
/// and read again.
pub fn yaml_manifest(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let folder = Path::new("/srv");
    let set = read_text(text, folder);
    for error in &set.errors {
        check(error, text);
    }
    let host = Host {
        labels: BTreeMap::from([("role".to_owned(), "edge".to_owned())]),
        primary: Some("eth0".to_owned()),
    };
    let (desired, errors) = expand(&set.documents, &host);
    for error in &errors {
        check(error, text);
    }
    // Another owner of maps needs its program, and two manifests may want the same attachment.
    let plain = desired.iter().filter(|wish| wish.map_owner.is_none());
    let records: Vec<Record> = (1..)
        .zip(plain.clone())
        .map(|(id, wish)| record(wish, id))
        .collect();
    let exported = export(&records).unwrap();
    let again = read_text(&exported, folder);
    assert!(again.errors.is_empty(), "{:?} in\n{exported}", again.errors);
    let (again, errors) = expand(&again.documents, &host);
    assert!(errors.is_empty(), "{errors:?} in\n{exported}");
    let meaning = |wish: &Desired| {
        let Desired {
            source,
            globals,
            labels,
            attach,
            ..
        } = wish.clone();
        format!("{source:?} {globals:?} {labels:?} {attach:?}")
    };
    let mut wanted: Vec<_> = plain.map(meaning).collect();
    let mut got: Vec<_> = again.iter().map(meaning).collect();
    wanted.sort();
    got.sort();
    assert_eq!(got, wanted, "{exported}");
}

fn check(error: &Error, text: &str) {
    assert!(!error.to_string().is_empty());
    // YAML ends lines with either.
    let lines = text.split(['\n', '\r']).count() as u64;
    if let Some((line, column)) = error.at.0 {
        assert!((1..=lines + 1).contains(&line) && column > 0, "{error}");
    }
}

/// What the state says of a wish once it is loaded.
fn record(wish: &Desired, id: u32) -> Record {
    Record {
        provenance: None,
        id: ProgramId(id),
        name: wish.function.clone().unwrap_or("f".to_owned()),
        source: wish.source.clone(),
        digest: "aa".to_owned(),
        attach: wish.attach.clone(),
        place: None,
        globals: model::hex_globals(&wish.globals),
        metadata: wish.metadata(),
        map_owner: None,
        maps: ProgramId(id),
        seq: id.into(),
    }
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    #[test]
    fn yaml_manifest() {
        super::replay::replay("yaml_manifest", super::yaml_manifest);
    }
}
