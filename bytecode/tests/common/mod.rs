//! The committed objects of `bpf/`.

use std::path::PathBuf;

use bytecode::Object;

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../bpf")
        .join(name)
}

pub(crate) fn bytes(name: &str) -> Vec<u8> {
    bytecode::read_file(&path(name)).unwrap_or_else(|error| panic!("bpf/{name}: {error}"))
}

pub(crate) fn object(name: &str) -> Object {
    Object::parse(bytes(name)).unwrap_or_else(|error| panic!("bpf/{name}: {error}"))
}

/// Every committed object for hosts of this byte order, by its name below `bpf/`.
pub(crate) fn all() -> Vec<String> {
    let mut names = Vec::new();
    for dir in ["dispatcher", "examples", "test"] {
        for entry in std::fs::read_dir(path(dir)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".bpf.o") && !name.contains("_bpfeb.") {
                names.push(format!("{dir}/{name}"));
            }
        }
    }
    assert!(names.len() > 20, "only {names:?}");
    names.sort();
    names
}
