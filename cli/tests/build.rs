//! Images from local objects, by the real binary, without any container runtime.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests as well")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const LITTLE: &str = "./bpf/examples/xdp_counter.bpf.o";
const BIG: &str = "./bpf/test/xdp_counter_bpfeb.bpf.o";

/// Runs a command in the root of the repository. No word has a blank in it.
fn bpfman(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bpfman"))
        .args(line.split_whitespace())
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        // Neither docker nor podman is there, whatever this machine has.
        .env("PATH", "/nonexistent")
        .env_remove("BPFMAN_CONFIG")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command that succeeds prints.
fn prints(line: &str) -> String {
    let output = bpfman(line);
    let stderr = text(&output.stderr);
    assert_eq!(
        (output.status.code(), stderr.as_str()),
        (Some(0), ""),
        "{line}"
    );
    text(&output.stdout)
}

/// What a command that fails says.
fn fails(line: &str, status: i32) -> String {
    let output = bpfman(line);
    assert_eq!(output.status.code(), Some(status), "{line}: {output:?}");
    assert!(output.stdout.is_empty(), "{line}");
    text(&output.stderr)
}

#[test]
fn the_guides_lines_for_one_object() {
    assert_eq!(
        prints(&format!("image generate-build-args -b {LITTLE}")),
        "BYTECODE_FILE=./bpf/examples/xdp_counter.bpf.o\n\
         PROGRAMS={\"xdp_stats\":\"xdp\"}\n\
         MAPS={\"xdp_stats_map\":\"per_cpu_array\"}\n"
    );
    // An object for hosts of the other byte order has the same labels.
    assert_eq!(
        prints(&format!("image generate-build-args --bytecode {BIG}")),
        "BYTECODE_FILE=./bpf/test/xdp_counter_bpfeb.bpf.o\n\
         PROGRAMS={\"xdp_stats\":\"xdp\"}\n\
         MAPS={\"xdp_stats_map\":\"per_cpu_array\"}\n"
    );
}

#[test]
fn the_guides_lines_for_a_cilium_project() {
    let dir = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (name, object) in [
        ("bpf_s390_bpfeb.o", BIG),
        ("bpf_powerpc_bpfel.o", LITTLE),
        ("bpf_arm64_bpfel.o", LITTLE),
        ("bpf_x86_bpfel.o", LITTLE),
    ] {
        fs::copy(root.join(object), dir.path().join(name)).unwrap();
    }
    let dir = dir.path().display();
    let expected = format!(
        "BC_AMD64_EL={dir}/bpf_x86_bpfel.o\n\
         BC_ARM64_EL={dir}/bpf_arm64_bpfel.o\n\
         BC_PPC64LE_EL={dir}/bpf_powerpc_bpfel.o\n\
         BC_S390X_EB={dir}/bpf_s390_bpfeb.o\n\
         PROGRAMS={{\"xdp_stats\":\"xdp\"}}\n\
         MAPS={{\"xdp_stats_map\":\"per_cpu_array\"}}\n"
    );
    assert_eq!(
        prints(&format!("image generate-build-args -c {dir}")),
        expected
    );
    assert_eq!(
        prints(&format!("image generate-build-args -c {dir}/")),
        expected
    );
}

#[test]
fn every_machine_in_its_order() {
    let little = "386 amd64 arm arm64 loong64 mipsle mips64le ppc64le riscv64".split(' ');
    let big = "mips mips64 ppc64 s390x".split(' ');
    let flags: Vec<_> = big
        .map(|arch| format!("--bc-{arch}-eb {BIG}"))
        .chain(little.map(|arch| format!("--bc-{arch}-el {LITTLE}")))
        .collect();
    insta::assert_snapshot!(
        prints(&format!("image generate-build-args {}", flags.join(" "))),
        @r#"
    BC_386_EL=./bpf/examples/xdp_counter.bpf.o
    BC_AMD64_EL=./bpf/examples/xdp_counter.bpf.o
    BC_ARM_EL=./bpf/examples/xdp_counter.bpf.o
    BC_ARM64_EL=./bpf/examples/xdp_counter.bpf.o
    BC_LOONG64_EL=./bpf/examples/xdp_counter.bpf.o
    BC_MIPS_EB=./bpf/test/xdp_counter_bpfeb.bpf.o
    BC_MIPSLE_EL=./bpf/examples/xdp_counter.bpf.o
    BC_MIPS64_EB=./bpf/test/xdp_counter_bpfeb.bpf.o
    BC_MIPS64LE_EL=./bpf/examples/xdp_counter.bpf.o
    BC_PPC64_EB=./bpf/test/xdp_counter_bpfeb.bpf.o
    BC_PPC64LE_EL=./bpf/examples/xdp_counter.bpf.o
    BC_RISCV64_EL=./bpf/examples/xdp_counter.bpf.o
    BC_S390X_EB=./bpf/test/xdp_counter_bpfeb.bpf.o
    PROGRAMS={"xdp_stats":"xdp"}
    MAPS={"xdp_stats_map":"per_cpu_array"}
    "#
    );
}

#[test]
fn every_kind_of_program_and_map() {
    insta::assert_snapshot!(
        [
            "examples/tc_counter",
            "examples/tcx_counter",
            "examples/tracepoint_counter",
            "test/probes",
            "test/maps_xdp",
            "test/old_maps_bpfeb",
            "test/globals",
        ]
        .map(|name| prints(&format!("image generate-build-args -b bpf/{name}.bpf.o")))
        .concat()
    );
}

#[test]
fn other_formats() {
    let args = |format| {
        prints(&format!(
            "image generate-build-args -b {LITTLE} -o {format}"
        ))
    };
    let document: serde_json::Value = serde_json::from_str(&args("json")).unwrap();
    assert_eq!(document["BYTECODE_FILE"], LITTLE);
    assert_eq!(document["PROGRAMS"], r#"{"xdp_stats":"xdp"}"#);
    assert_eq!(args("id"), "BYTECODE_FILE\nPROGRAMS\nMAPS\n");
    assert!(args("yaml").contains(LITTLE));
}

#[test]
fn one_way_to_name_bytecode() {
    for line in [
        "image generate-build-args",
        "image generate-build-args -b x.o -c .",
        "image generate-build-args -b x.o --bc-arm64-el y.o",
        "image generate-build-args -c . --bc-s390x-eb y.o",
        "image build -t x",
        "image build -f Containerfile.bytecode -b x.o",
        "image build -t x -b x.o",
        "image build -t x -f Containerfile.bytecode -b x.o --output dir",
        "image build -t x -f Containerfile.bytecode -b x.o -r rkt",
        "image build -t UPPER -f Containerfile.bytecode -b x.o",
    ] {
        fails(line, 2);
    }
}

#[test]
fn failures_say_what_and_why() {
    insta::assert_snapshot!(
        [
            "image generate-build-args -b bpf/absent.o".to_owned(),
            "image generate-build-args -b Containerfile.bytecode".to_owned(),
            "image generate-build-args -c docs".to_owned(),
            format!("image generate-build-args --bc-s390x-eb {LITTLE}"),
            format!("image generate-build-args --bc-amd64-el {LITTLE} --bc-s390x-eb bpf/test/xdp_bpfeb.bpf.o"),
            format!("image build -t x -f Containerfile.bytecode -b {LITTLE}"),
            format!("image build -t x -f Containerfile.bytecode -b {LITTLE} -r podman"),
            format!("image build -t x -f absent -b {LITTLE}"),
            format!("image build -t x -r none --output bpf -b {LITTLE}"),
        ]
        .map(|line| format!("$ {line}\n{}", fails(&line, 1)))
        .concat()
    );
}

#[test]
fn a_runtime_copies_from_its_context_only() {
    let dir = tempfile::tempdir().unwrap();
    let object = dir.path().join("x.o");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::copy(root.join(LITTLE), &object).unwrap();
    let line = format!(
        "image build -t x -f Containerfile.bytecode -b {}",
        object.display()
    );
    let stderr = fails(&line, 1);
    assert!(
        stderr.contains("is not below the current directory"),
        "{stderr}"
    );
}

#[test]
fn a_layout_without_any_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("layout");
    let line = format!(
        "image build -r none -t quay.io/x/counter:v1 --bc-amd64-el {LITTLE} --bc-s390x-eb {BIG} --output {}",
        layout.display()
    );
    let said = prints(&line);
    assert_eq!(said, format!("Successfully wrote {}\n", layout.display()));
    let first = fs::read_to_string(layout.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&first).unwrap();
    let entry = &index["manifests"][0];
    assert_eq!(
        entry["annotations"]["org.opencontainers.image.ref.name"],
        "v1"
    );
    assert_eq!(
        entry["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    // Again, into the same directory: the same image.
    prints(&line);
    assert_eq!(
        fs::read_to_string(layout.join("index.json")).unwrap(),
        first
    );
}
