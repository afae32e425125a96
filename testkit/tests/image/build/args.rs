//! `bpfman image generate-build-args`

use std::process::Command;

use testkit::{Output, object, servers::Options};

use super::{PROJECT, Workshop, counter_labels, digest};

const OBJECT: &str = "./examples/go-xdp-counter/bpf_x86_bpfel.o";

const LABELS: &str = r#"PROGRAMS={"xdp_stats":"xdp"}
MAPS={"xdp_stats_map":"per_cpu_array"}
"#;

fn args(shop: &Workshop, words: &[&str]) -> String {
    let words = ["image", "generate-build-args"].iter().chain(words);
    let output = shop.bpfman(&words.copied().collect::<Vec<_>>());
    assert_eq!(output.stderr, "");
    output.ok()
}

#[test]
fn the_lines_of_the_guide() {
    let shop = Workshop::new();
    let one = args(&shop, &["-b", OBJECT]);
    assert_eq!(one, format!("BYTECODE_FILE={OBJECT}\n{LABELS}"));
    // The guide's BC_ARM_EL of an arm64 object is a slip.
    let all = "BC_AMD64_EL=./examples/go-xdp-counter/bpf_x86_bpfel.o\n\
               BC_ARM64_EL=./examples/go-xdp-counter/bpf_arm64_bpfel.o\n\
               BC_PPC64LE_EL=./examples/go-xdp-counter/bpf_powerpc_bpfel.o\n\
               BC_S390X_EB=./examples/go-xdp-counter/bpf_s390_bpfeb.o\n";
    assert_eq!(args(&shop, &["-c", PROJECT]), format!("{all}{LABELS}"));
    let example = args(&shop, &["--bc-amd64-el", OBJECT]);
    assert_eq!(example, format!("BC_AMD64_EL={OBJECT}\n{LABELS}"));
}

#[test]
fn objects_of_either_byte_order_in_a_stable_order() {
    let shop = Workshop::new();
    let big = "./examples/go-xdp-counter/bpf_s390_bpfeb.o";
    // Nothing is built, so an object for other hosts is as good.
    let foreign = args(&shop, &["-b", big]);
    assert_eq!(foreign, format!("BYTECODE_FILE={big}\n{LABELS}"));
    let typed = [
        "--bc-s390x-eb",
        big,
        "--bc-mips-eb",
        big,
        "--bc-386-el",
        OBJECT,
    ];
    let expected = format!("BC_386_EL={OBJECT}\nBC_MIPS_EB={big}\nBC_S390X_EB={big}\n{LABELS}");
    for _ in 0..3 {
        assert_eq!(args(&shop, &typed), expected);
    }
    shop.put(&object("several"), "several.o");
    let several = args(&shop, &["-b", "several.o"]);
    let programs = several.lines().nth(1).unwrap();
    let names: Vec<_> = programs.split('"').skip(1).step_by(4).collect();
    assert!(names.len() > 1 && names.is_sorted(), "{programs}");
}

#[test]
fn what_they_are_for() {
    let shop = Workshop::with_docker(&Options::default());
    let lines = args(&shop, &["-b", OBJECT]);
    let image = shop.registry.image("by/hand:1");
    for runtime in ["docker", "podman"] {
        let runtime_runs = |words: &[&str]| {
            let mut command = Command::new(runtime);
            command.args(words).current_dir(&shop.dir);
            let docker = shop.docker.as_ref().unwrap();
            docker.aim(shop.podman.aim(&mut command));
            Output::of(&mut command).ok();
        };
        let mut build = vec!["build"];
        build.extend(lines.lines().flat_map(|line| ["--build-arg", line]));
        build.extend(["-f", "Containerfile.bytecode", ".", "-t", &image]);
        runtime_runs(&build);
        let insecure = ["push", "--tls-verify=false", &image];
        let plain = ["push", &image];
        runtime_runs(if runtime == "podman" {
            &insecure
        } else {
            &plain
        });
        let facts = shop.facts(&image);
        for (label, text) in counter_labels().as_object().unwrap() {
            assert_eq!(&facts["labels"][label], text, "{runtime}");
        }
        assert_eq!(facts["object"], digest(shop.dir.join(OBJECT)));
        assert_eq!(shop.pulled(&image)["object"], facts["object"]);
    }
}
