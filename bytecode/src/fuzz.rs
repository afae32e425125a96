//! Objects, and the BTF in them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise ends the run"
)]

use crate::{
    Global, Inventory, Object, Program,
    btf::{Btf, Debug, KIND_DATASEC, MapDef, with_maps},
    map_type,
};

pub use crate::image::fuzz::{
    docker_archive, image_config, layer, oci_manifest, registry_headers, tar_split,
};

/// What is read as an object can be rewritten for each of its programs, and is the same then.
pub fn elf(data: &[u8]) {
    let inventory = Inventory::read(data);
    let Ok(object) = Object::parse(data.to_vec()) else {
        return;
    };
    // A rewritten object grows by its own tables at most, and by 40 bytes and BTF for each map.
    let (before, after) = (data.len(), object.bytes().len());
    assert!(after < before * 8, "{before} bytes grew to {after}");
    let again = Object::parse(object.bytes().to_vec()).expect("a rewritten object is one");
    assert_eq!(again.bytes(), object.bytes(), "nothing is left to rewrite");
    assert_eq!(again.programs(), object.programs());
    assert_eq!(again.globals(), object.globals());
    assert_eq!(again.license(), object.license());
    for program in object.programs() {
        let maps = object.maps_of(program);
        assert_eq!(again.maps_of(program), maps);
        assert!(!object.tail_calls_of(program).contains(&program));
        let Ok(bytes) = object.bytes_for(program) else {
            continue;
        };
        assert_eq!(bytes.len(), after, "nothing moves");
        let alone = Object::parse(bytes.into_owned()).expect("what is loaded is an object");
        let same = |other: &&Program| {
            (other.name(), other.section()) == (program.name(), program.section())
        };
        assert!(alone.programs().iter().any(|other| same(&other)));
    }
    if let Ok(inventory) = inventory {
        let found = inventory.programs.len();
        assert!(found > 0 && found <= before / 24);
    }
    for global in object.globals() {
        assert!(object.patch(&global.name, &[]).is_err());
        // Several variables may have one name; the first is meant.
        let same = |other: &&Global| other.name == global.name;
        let meant = object.globals().iter().find(same).unwrap();
        let Ok(size @ ..=4096) = usize::try_from(meant.size) else {
            continue;
        };
        let patch = object.patch(&global.name, &vec![1; size]).unwrap();
        assert_eq!((&patch.map, patch.value.len()), (&meant.map, size));
        assert_eq!(patch.offset as u64, meant.offset);
    }
    let unknown = object.patch("none of these", &[]).unwrap_err();
    assert!(!unknown.to_string().is_empty());
    unknown.hint();
}

/// The length of `.BTF` in two bytes, `.BTF`, and `.BTF.ext`. Maps that are added to BTF are found
/// in it, and nothing else changes.
pub fn btf(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk() else {
        return;
    };
    let Some((section, ext)) = rest.split_at_checked(u16::from_le_bytes(*length).into()) else {
        return;
    };
    // Each reader has a limit of its own.
    let parsed = || Btf::parse(section);
    let Some(btf) = parsed() else {
        return;
    };
    let debug = parsed().and_then(|btf| Debug::parse(&btf, ext));
    assert!(debug.is_none_or(|debug| !debug.describes("no such section", 0)) || ext.len() > 15);
    let (types, declared) = (btf.types(), parsed().as_ref().and_then(map_type::declared));
    let added = MapDef {
        name: "added by us".to_owned(),
        numbers: [6, 4, 8, 1, 0],
    };
    let Ok(grown) = with_maps(Some(section), &[added]) else {
        return;
    };
    let types = types.expect("types that are copied can be read");
    let grown = Btf::parse(&grown).expect("what is written can be read");
    let copies = grown.types().expect("its types can be read");
    assert!(copies.len() > types.len());
    for (copy, ty) in copies.iter().zip(&types) {
        let moved = ty.kind == KIND_DATASEC && copy.kind != ty.kind;
        let same = (copy.kind, copy.name, copy.number, copy.body)
            == (ty.kind, ty.name, ty.number, ty.body);
        assert!(same || moved);
    }
    if let Some(mut declared) = declared {
        declared.push(("added by us", 6));
        assert_eq!(map_type::declared(&grown), Some(declared));
    }
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::replay::replay;

    #[test]
    fn elf() {
        replay("elf", super::elf);
    }

    #[test]
    fn btf() {
        replay("btf", super::btf);
    }

    #[test]
    fn layer() {
        replay("layer", super::layer);
    }

    #[test]
    fn oci_manifest() {
        replay("oci_manifest", super::oci_manifest);
    }

    #[test]
    fn image_config() {
        replay("image_config", super::image_config);
    }

    #[test]
    fn tar_split() {
        replay("tar_split", super::tar_split);
    }

    #[test]
    fn docker_archive() {
        replay("docker_archive", super::docker_archive);
    }

    #[test]
    fn registry_headers() {
        replay("registry_headers", super::registry_headers);
    }
}
