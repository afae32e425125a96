//! Builds that do not come to their end.

use std::{ffi::OsStr, fs};

use testkit::{Output, example, object, servers::Options};

use super::{PROJECT, Workshop, counter_labels};

const SINGLE: &str = "Containerfile.bytecode";
const OBJECT: &str = "./examples/go-xdp-counter/bpf_x86_bpfel.o";

#[test]
fn a_bad_containerfile() {
    let shop = Workshop::with_docker(&Options::default());
    let image = shop.registry.image("bad:1");
    let file = shop.sandbox.tmp().join("Bad");
    fs::write(&file, "FROM scratch\nCOPY never-was.o /\n").unwrap();
    let file = file.display().to_string();
    for runtime in ["docker", "podman"] {
        let said = shop.build(runtime, &file, &image, &["-b", OBJECT]).fails(
            1,
            &[
                &format!("'{runtime} build' failed: exit status"),
                "never-was.o",
            ],
        );
        let own = said.find("never-was.o").unwrap();
        assert!(
            own < said.find("error: cannot build").unwrap(),
            "shown as it comes"
        );
        let quiet = ["-b", OBJECT, "--quiet"];
        let said = shop
            .build(runtime, &file, &image, &quiet)
            .fails(1, &["never-was.o"]);
        assert!(said.starts_with("error: cannot build"), "{said}");
        assert!(said.contains("\noutput:\n  "), "{said}");
    }
    assert_eq!(shop.registry.requests("PUT"), [""; 0]);
    shop.build("docker", "No-such-file", &image, &["-b", OBJECT])
        .fails(1, &["cannot read No-such-file", "no such file"]);
    shop.tidy();
}

#[test]
fn a_registry_that_wants_to_know_who_pushes() {
    let shop = Workshop::with_docker(&Options::default().user("ada", "lovelace"));
    let image = shop.registry.image("closed/it:1");
    let build = |runtime| shop.build(runtime, SINGLE, &image, &["-b", OBJECT]);
    build("docker").fails(1, &["'docker push' failed: exit status", "no basic auth"]);
    build("podman").fails(
        1,
        &[
            "'podman push' failed: exit status",
            "authentication required",
        ],
    );
    let said = build("none").fails(1, &[&image, "podman login"]);
    assert!(
        !said.contains("--registry-auth"),
        "no flag of this command: {said}"
    );
    let several = "Containerfile.bytecode.multi.arch";
    shop.build("podman", several, &image, &["-c", PROJECT])
        .fails(
            1,
            &["'podman manifest push' failed", "authentication required"],
        );
    shop.tidy();

    // Logged in as the guide asks for it: one file serves all of them.
    let config = shop.sandbox.home().join(".docker/config.json");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    let auth = crate::support::basic("ada", "lovelace");
    let host = shop.registry.host();
    let text = format!(r#"{{"auths":{{"{host}":{{"auth":"{auth}"}}}}}}"#);
    fs::write(config, text).unwrap();
    for runtime in ["docker", "podman", "none"] {
        build(runtime).ok();
    }
    let pulled = shop.pulled(&image);
    assert_eq!(pulled["programs"]["xdp_stats"], "xdp");
    shop.tidy();
}

#[test]
fn a_daemon_that_is_not_there() {
    let shop = Workshop::new();
    let image = shop.registry.image("no/daemon:1");
    shop.build("docker", SINGLE, &image, &["-b", OBJECT]).fails(
        1,
        &[
            "'docker build' failed: exit status",
            "cannot connect to the docker daemon",
        ],
    );
    shop.tidy();
}

#[test]
fn a_registry_that_is_not_there() {
    let shop = Workshop::with_docker(&Options::default());
    for runtime in ["docker", "podman", "none"] {
        shop.build(runtime, SINGLE, "127.0.0.1:1/a:b", &["-b", OBJECT])
            .fails(1, &["cannot build 127.0.0.1:1/a:b", "connection refused"]);
    }
    shop.tidy();
}

/// bpfman where no runtime is installed: whatever it answers, it has started none.
fn alone(shop: &Workshop, args: &[&str]) -> Output {
    Output::of(shop.command(args).env("PATH", OsStr::new("/nowhere")))
}

#[test]
fn a_runtime_that_is_not_installed() {
    let shop = Workshop::new();
    let image = shop.registry.image("no/runtime:1");
    let several = "Containerfile.bytecode.multi.arch";
    for runtime in ["docker", "podman"] {
        for input in [["-f", SINGLE, "-b", OBJECT], ["-f", several, "-c", PROJECT]] {
            let mut args = vec!["image", "build", "-r", runtime, "-t", &image];
            args.extend(input);
            alone(&shop, &args).fails(
                1,
                &[
                    &format!("{runtime} is not installed"),
                    "hint: install it",
                    "--runtime none",
                ],
            );
        }
    }
    let args = ["image", "build", "-r", "none", "-t", &image, "-b", OBJECT];
    alone(&shop, &args).ok();
    assert_eq!(shop.facts(&image)["labels"], counter_labels());
    shop.tidy();
}

#[test]
fn objects_that_are_no_good_start_no_runtime() {
    let shop = Workshop::new();
    let big = "./examples/go-xdp-counter/bpf_s390_bpfeb.o";
    shop.put(&object("several"), "other.o");
    fs::write(shop.dir.join("text.o"), "no object").unwrap();
    fs::write(shop.dir.join("empty.o"), "").unwrap();
    let outside = example("xdp_counter").path.display().to_string();
    let twice = shop.sandbox.tmp().join("twice");
    let nothing = shop.sandbox.tmp().join("nothing");
    for dir in [&twice, &nothing] {
        fs::create_dir_all(dir).unwrap();
    }
    for name in ["bpf_x86_bpfel.o", "bpf_amd64_bpfel.o"] {
        fs::copy(shop.dir.join(OBJECT), twice.join(name)).unwrap();
    }
    let (twice, nothing) = (twice.display().to_string(), nothing.display().to_string());
    let cases: &[(&[&str], &[&str])] = &[
        (&["-b", "none.o"], &["none.o", "no such file"]),
        (&["-b", "text.o"], &["text.o", "elf"]),
        (&["-b", "empty.o"], &["empty.o"]),
        (&["-b", "."], &["directory"]),
        (&["-b", "/bin/true"], &["/bin/true"]),
        (&["-b", big], &["big-endian", "amd64", "--bc-s390x-eb"]),
        (
            &["--bc-amd64-el", big],
            &["big-endian", "amd64", "--bc-s390x-eb"],
        ),
        (
            &["--bc-s390x-eb", OBJECT],
            &["little-endian", "s390x", "--bc-amd64-el"],
        ),
        (
            &["--bc-amd64-el", OBJECT, "--bc-arm64-el", "other.o"],
            &["programs", "differ", "xdp_stats"],
        ),
        (&["-c", "none"], &["cannot read the directory none"]),
        (&["-c", &nothing], &["bpf_x86_bpfel.o"]),
        (&["-c", &twice], &["bpf_amd64_bpfel.o", "both for amd64"]),
        (&["-b", &outside], &["not below the current directory"]),
    ];
    for runtime in ["docker", "podman"] {
        for (words, fragments) in cases {
            let mut args = vec![
                "image",
                "build",
                "-r",
                runtime,
                "-f",
                SINGLE,
                "-t",
                "a.test/b:c",
            ];
            args.extend(*words);
            let said = alone(&shop, &args).fails(1, fragments);
            assert!(!said.contains("not installed"), "{said}");
        }
    }
    // Without a runtime a file may be anywhere; everything else holds.
    for (words, fragments) in &cases[..cases.len() - 1] {
        let mut args = vec!["image", "build", "-r", "none", "-t", "a.test/b:c"];
        args.extend(*words);
        alone(&shop, &args).fails(1, fragments);
    }
}

#[test]
fn command_lines_that_say_too_little_or_too_much() {
    let shop = Workshop::new();
    let digest = format!("a.test/b@sha256:{}", "0".repeat(64));
    let cases: &[(&[&str], &str)] = &[
        (&["-t", "a/b", "-b", OBJECT], "--container-file is required"),
        (&["-f", SINGLE, "-b", OBJECT], "--tag"),
        (&["-f", SINGLE, "-t", "a/b"], "--bytecode"),
        (
            &["-f", SINGLE, "-t", "a/b", "-b", OBJECT, "-c", "."],
            "cannot be used with",
        ),
        (
            &[
                "-f",
                SINGLE,
                "-t",
                "a/b",
                "-b",
                OBJECT,
                "--bc-arm64-el",
                OBJECT,
            ],
            "cannot be used with",
        ),
        (
            &[
                "-f",
                SINGLE,
                "-t",
                "a/b",
                "-c",
                ".",
                "--bc-arm64-el",
                OBJECT,
            ],
            "cannot be used with",
        ),
        (
            &["-f", SINGLE, "-t", "a/b", "-b", OBJECT, "--output", "x"],
            "--output needs --runtime none",
        ),
        (
            &["-r", "none", "-t", &digest, "-b", OBJECT],
            "without a digest",
        ),
        (&["-r", "crio", "-t", "a/b", "-b", OBJECT], "crio"),
        (&["-r", "none", "-t", "A/b", "-b", OBJECT], "A/b"),
    ];
    for (words, fragment) in cases {
        let args: Vec<&str> = ["image", "build"].iter().chain(*words).copied().collect();
        alone(&shop, &args).fails(2, &[fragment]);
    }
    shop.tidy();
}
