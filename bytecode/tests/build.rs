//! Images made of the committed objects.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

#[allow(dead_code, reason = "not every test file uses all of it")]
mod common;

use std::{collections::BTreeMap, fs, io::Read as _, path::Path};

use bytecode::{
    Endianness,
    build::{Arch, Bytecode, Error, Image, Input, write_layout},
};
use common::{all, path};
use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest};
use sha2::{Digest as _, Sha256};

const LITTLE: &str = "examples/xdp_counter.bpf.o";
const BIG: &str = "test/xdp_counter_bpfeb.bpf.o";

fn host(name: &str) -> Input {
    Input::Host(path(name))
}

fn machines(files: &[(Arch, &str)]) -> Input {
    Input::Machines(
        files
            .iter()
            .map(|(arch, name)| (*arch, path(name)))
            .collect(),
    )
}

fn refused(input: &Input) -> Error {
    Bytecode::read(input).unwrap_err()
}

/// A cilium/ebpf project with these files, each a copy of an object.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (file, object) in files {
        fs::copy(path(object), dir.path().join(file)).unwrap();
    }
    dir
}

fn args(bytecode: &Bytecode) -> Vec<String> {
    let pairs = bytecode.build_args().into_iter();
    pairs
        .map(|(name, value)| format!("{name}={}", value.display()))
        .collect()
}

#[test]
fn one_object_for_this_host() {
    let bytecode = Bytecode::read(&host(LITTLE)).unwrap();
    assert_eq!(
        args(&bytecode),
        [
            format!("BYTECODE_FILE={}", path(LITTLE).display()),
            r#"PROGRAMS={"xdp_stats":"xdp"}"#.to_owned(),
            r#"MAPS={"xdp_stats_map":"per_cpu_array"}"#.to_owned(),
        ]
    );
}

/// The order is that of the machines, not of the files, and the names of the files are kept.
#[test]
fn a_cilium_project() {
    let dir = project(&[
        ("bpf_s390_bpfeb.o", BIG),
        ("bpf_powerpc_bpfel.o", LITTLE),
        ("bpf_arm64_bpfel.o", LITTLE),
        ("bpf_x86_bpfel.o", LITTLE),
        ("bpf_x86_bpfel.go", LITTLE),
        ("unrelated.o", "test/several.bpf.o"),
    ]);
    let bytecode = Bytecode::read(&Input::Project(dir.path().to_owned())).unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    assert_eq!(
        args(&bytecode),
        [
            format!("BC_AMD64_EL={}", file("bpf_x86_bpfel.o")),
            format!("BC_ARM64_EL={}", file("bpf_arm64_bpfel.o")),
            format!("BC_PPC64LE_EL={}", file("bpf_powerpc_bpfel.o")),
            format!("BC_S390X_EB={}", file("bpf_s390_bpfeb.o")),
            r#"PROGRAMS={"xdp_stats":"xdp"}"#.to_owned(),
            r#"MAPS={"xdp_stats_map":"per_cpu_array"}"#.to_owned(),
        ]
    );
}

#[test]
fn projects_that_are_none() {
    let dir = project(&[("bpf_bpfel.o", LITTLE)]);
    let error = refused(&Input::Project(dir.path().to_owned()));
    assert!(matches!(error, Error::EmptyProject { .. }), "{error:?}");
    let dir = project(&[("a_x86_bpfel.o", LITTLE), ("b_amd64_bpfel.o", LITTLE)]);
    let error = refused(&Input::Project(dir.path().to_owned()));
    assert!(
        matches!(
            &error,
            Error::SameMachine {
                arch: Arch::Amd64,
                ..
            }
        ),
        "{error:?}"
    );
    let error = refused(&Input::Project(dir.path().join("absent")));
    assert!(matches!(error, Error::Project { .. }), "{error:?}");
}

#[test]
fn the_byte_order_must_fit_the_machine() {
    for (arch, object) in [(Arch::Amd64, BIG), (Arch::S390x, LITTLE)] {
        let error = refused(&machines(&[(arch, object)]));
        assert!(matches!(error, Error::Endianness { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("--bc-"), "{error:?}");
    }
    // Labels are the same everywhere; an image for this host is refused.
    let foreign = if Endianness::HOST == Endianness::Little {
        BIG
    } else {
        LITTLE
    };
    let bytecode = Bytecode::read(&host(foreign)).unwrap();
    let error = Image::assemble(&bytecode).unwrap_err();
    assert!(matches!(error, Error::Endianness { .. }), "{error:?}");
}

#[test]
fn one_image_holds_one_set_of_programs() {
    let error = refused(&machines(&[
        (Arch::Amd64, LITTLE),
        (Arch::S390x, "test/xdp_bpfeb.bpf.o"),
    ]));
    assert!(
        matches!(
            error,
            Error::Differ {
                what: "programs",
                ..
            }
        ),
        "{error:?}"
    );
    let both = [
        (Arch::Amd64, "test/xdp_verdict.bpf.o"),
        (Arch::Arm64, "test/xdp_verdict.bpf.o"),
    ];
    assert_eq!(Bytecode::read(&machines(&both)).unwrap().entries.len(), 2);
}

#[test]
fn files_that_are_no_bytecode() {
    let error = refused(&host("README.md"));
    assert!(
        error.to_string().contains("README.md: not an ELF file"),
        "{error}"
    );
    let error = refused(&host("absent.o"));
    assert!(
        error.to_string().ends_with("absent.o: no such file"),
        "{error}"
    );
    let error = refused(&host("test/sections_other.bpf.o"));
    assert!(matches!(error, Error::NothingLoadable { .. }), "{error:?}");
}

/// Whatever a load takes has a label, and every label is of a known kind.
#[test]
fn every_loadable_program_is_labelled() {
    let mut types = std::collections::BTreeSet::new();
    for name in all().iter().filter(|name| !name.contains("sections_other")) {
        let labels = Bytecode::read(&host(name)).unwrap().labels;
        let object = common::object(name);
        for program in object.programs() {
            let loadable = model::Section::find(program.section()).is_some();
            assert_eq!(
                labels.programs.contains_key(program.name()),
                loadable,
                "{name}"
            );
        }
        types.extend(labels.programs.into_values());
    }
    assert_eq!(
        types.into_iter().collect::<Vec<_>>(),
        [
            "fentry",
            "fexit",
            "kprobe",
            "kretprobe",
            "tc",
            "tcx",
            "tracepoint",
            "uprobe",
            "uretprobe",
            "xdp"
        ]
    );
}

fn sha256(bytes: &[u8]) -> String {
    model::Digest::new(Sha256::digest(bytes).into()).to_string()
}

/// The contents of a blob, checked against its name.
fn blob(dir: &Path, digest: &str) -> Vec<u8> {
    let hex = digest.strip_prefix("sha256:").unwrap();
    let bytes = fs::read(dir.join("blobs/sha256").join(hex)).unwrap();
    assert_eq!(sha256(&bytes), digest);
    bytes
}

/// Checks one platform of a layout, and tells its architecture and the object in it.
fn platform(dir: &Path, manifest: &str, labels: &BTreeMap<&str, &str>) -> (String, Vec<u8>) {
    let manifest = ImageManifest::from_reader(&*blob(dir, manifest)).unwrap();
    let config = blob(dir, manifest.config().digest().as_ref());
    assert_eq!(manifest.config().size(), config.len() as u64);
    let config = ImageConfiguration::from_reader(&*config).unwrap();
    let found = config.config().as_ref().unwrap().labels().clone().unwrap();
    let found: BTreeMap<_, _> = found
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(&found, labels);
    let [layer] = &manifest.layers()[..] else {
        panic!("one layer")
    };
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(&*blob(dir, layer.digest().as_ref()))
        .read_to_end(&mut tar)
        .unwrap();
    assert_eq!(config.rootfs().diff_ids(), &[sha256(&tar)]);
    let mut archive = tar::Archive::new(&*tar);
    let mut entries = archive.entries().unwrap();
    let mut file = entries.next().unwrap().unwrap();
    assert_eq!(file.path().unwrap().components().count(), 1);
    let header = file.header();
    assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
    let mut object = Vec::new();
    file.read_to_end(&mut object).unwrap();
    drop(file);
    assert!(entries.next().is_none());
    (config.architecture().to_string(), object)
}

fn entry<'a>(index: &'a ImageIndex, tag: &str) -> &'a oci_spec::image::Descriptor {
    let named = |entry: &&oci_spec::image::Descriptor| {
        let name = entry.annotations().as_ref().unwrap().values().next();
        name.map(String::as_str) == Some(tag)
    };
    index.manifests().iter().find(named).unwrap()
}

#[test]
fn a_layout_with_several_platforms() {
    let both = machines(&[(Arch::Amd64, LITTLE), (Arch::S390x, BIG)]);
    let image = Image::assemble(&Bytecode::read(&both).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    write_layout(dir.path(), "v1", &image).unwrap();

    let index = ImageIndex::from_file(dir.path().join("index.json")).unwrap();
    let index = blob(dir.path(), entry(&index, "v1").digest().as_ref());
    let index = ImageIndex::from_reader(&*index).unwrap();
    let labels = BTreeMap::from([
        ("io.ebpf.programs", r#"{"xdp_stats":"xdp"}"#),
        ("io.ebpf.maps", r#"{"xdp_stats_map":"per_cpu_array"}"#),
    ]);
    let mut found = Vec::new();
    for manifest in index.manifests() {
        let (arch, object) = platform(dir.path(), manifest.digest().as_ref(), &labels);
        let named = manifest
            .platform()
            .as_ref()
            .unwrap()
            .architecture()
            .to_string();
        assert_eq!(arch, named);
        found.push((arch, object));
    }
    assert_eq!(
        found,
        [
            ("amd64".to_owned(), common::bytes(LITTLE)),
            ("s390x".to_owned(), common::bytes(BIG)),
        ]
    );
}

#[test]
fn a_layout_keeps_its_other_images() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("layout");
    let [first, second] = [LITTLE, "examples/xdp_pass.bpf.o"]
        .map(|name| Image::assemble(&Bytecode::read(&host(name)).unwrap()).unwrap());
    write_layout(&dir, "one", &first).unwrap();
    write_layout(&dir, "two", &second).unwrap();
    write_layout(&dir, "one", &second).unwrap();
    let index = ImageIndex::from_file(dir.join("index.json")).unwrap();
    assert_eq!(index.manifests().len(), 2);
    let digest = entry(&index, "one").digest().to_string();
    assert_eq!(digest, entry(&index, "two").digest().to_string());
    let labels = BTreeMap::from([
        ("io.ebpf.programs", r#"{"pass":"xdp"}"#),
        ("io.ebpf.maps", "{}"),
    ]);
    let (_, object) = platform(&dir, &digest, &labels);
    assert_eq!(object, common::bytes("examples/xdp_pass.bpf.o"));
}

#[test]
fn a_directory_with_other_files_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let image = Image::assemble(&Bytecode::read(&host(LITTLE)).unwrap()).unwrap();
    let error = write_layout(dir.path(), "v1", &image).unwrap_err();
    assert!(matches!(error, Error::NotALayout { .. }), "{error:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// No time, user or order of a hash map shows.
#[test]
fn the_same_object_makes_the_same_image() {
    let make = || {
        let input = machines(&[(Arch::Amd64, LITTLE), (Arch::S390x, BIG)]);
        Image::assemble(&Bytecode::read(&input).unwrap()).unwrap()
    };
    let first = make();
    for _ in 0..8 {
        assert_eq!(make().root.digest, first.root.digest);
    }
}
