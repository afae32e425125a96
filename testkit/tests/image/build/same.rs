//! One object, three runtimes, one image.

use std::fs;

use serde_json::json;
use testkit::{example, object, servers::Options, wait_until};

use super::{Workshop, counter_labels, digest, tracepoint_labels};

#[test]
fn docker_podman_and_none_build_the_same_image_and_it_loads() {
    let shop = Workshop::with_docker(&Options::default());
    shop.put(&example("tracepoint_counter"), "bpf_x86_bpfel.o");
    let object = digest(shop.dir.join("bpf_x86_bpfel.o"));
    let expected = json!({
        "machine": "amd64",
        "system": "linux",
        "labels": tracepoint_labels(),
        "file": "bpf_x86_bpfel.o",
        "object": object,
    });
    let single = "Containerfile.bytecode";
    let several = "Containerfile.bytecode.multi.arch";
    let inputs = [
        ("file", single, ["--bytecode", "bpf_x86_bpfel.o"]),
        ("flag", several, ["--bc-amd64-el", "bpf_x86_bpfel.o"]),
        ("dir", several, ["--cilium-ebpf-project", "."]),
    ];
    for runtime in ["docker", "podman", "none"] {
        for (name, file, words) in &inputs {
            let image = shop.registry.image(&format!("{runtime}/{name}:1"));
            let output = shop.build(runtime, file, &image, words);
            let said = output.ok();
            assert_eq!(said, format!("Successfully pushed {image}\n"));
            assert_eq!(shop.facts(&image), expected, "{image}");
            let pulled = shop.pulled(&image);
            assert_eq!(pulled["object"], object, "{image}");
            assert_eq!(pulled["architecture"], "amd64");
            assert_eq!(pulled["file"], "bpf_x86_bpfel.o");
        }
        counts(&shop, &shop.registry.image(&format!("{runtime}/file:1")));
    }
    shop.tidy();
}

/// The image loads, and its program runs.
fn counts(shop: &Workshop, image: &str) {
    let args = [
        "load",
        "image",
        "-o",
        "id",
        "--image-url",
        image,
        "--name",
        "sched_switch",
    ];
    let attach = ["tracepoint", "--tracepoint", "sched/sched_switch"];
    let args: Vec<&str> = args.into_iter().chain(attach).collect();
    let id = shop.bpfman(&args).ok().trim().parse().unwrap();
    let details = shop.sandbox.get(id);
    assert_eq!(details.bpfman("Image URL"), image);
    assert!(wait_until(|| shop.sandbox.count(id, "switch_count") > 0));
    shop.sandbox.unload(id);
}

#[test]
fn the_rest_of_the_directory_goes_into_no_image() {
    let shop = Workshop::with_docker(&Options::default());
    fs::write(shop.dir.join("ballast.o"), vec![b'x'; 2_000_000]).unwrap();
    let image = shop.registry.image("slim:1");
    let file = "Containerfile.bytecode.multi.arch";
    let object = ["--bc-amd64-el", "./examples/go-xdp-counter/bpf_x86_bpfel.o"];
    for runtime in ["docker", "podman"] {
        let output = shop.build(runtime, file, &image, &object);
        // Of stages for other machines there is nothing to say.
        let said = output.stderr.to_lowercase();
        assert!(!said.contains("warning"), "{said}");
        output.ok();
    }
    let all = ["images", "--all", "--format", "{{.Size}}"];
    let sizes = shop.docker.as_ref().unwrap().docker(&all).ok();
    assert!(!sizes.is_empty() && !sizes.contains('M'), "{sizes}");
    let sizes = shop.podman.podman(&all).ok();
    assert!(!sizes.is_empty() && !sizes.contains('M'), "{sizes}");
    // Names are not patterns, nor several words.
    shop.put(&example("xdp_pass"), "my pass.o");
    for runtime in ["docker", "podman", "none"] {
        let input = ["-b", "my pass.o"];
        shop.build(runtime, "Containerfile.bytecode", &image, &input)
            .ok();
        assert_eq!(shop.facts(&image)["file"], "my pass.o", "{runtime}");
    }
}

#[test]
fn the_examples_of_the_guide_as_they_are_typed() {
    let shop = Workshop::with_docker(&Options::default());
    let image = shop.registry.image("user/go-xdp-counter:test");
    let object = "./examples/go-xdp-counter/bpf_x86_bpfel.o";
    let typed = |line: &str| {
        let line = line.replace("quay.io/$QUAY_USER/go-xdp-counter:test", &image);
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        shop.bpfman(&words)
    };
    typed(
        "bpfman image build -f Containerfile.bytecode -t quay.io/$QUAY_USER/go-xdp-counter:test \
         -b ./examples/go-xdp-counter/bpf_x86_bpfel.o",
    )
    .ok();
    let facts = shop.facts(&image);
    assert_eq!(facts["labels"], counter_labels());
    assert_eq!(facts["object"], digest(shop.dir.join(object)));

    // Several platforms need buildx, which Debian 12's docker has not. Debian 13's has it, and needs
    // a store or a driver for them that docker does not come with.
    let line = "bpfman image build -f Containerfile.bytecode.multi.arch \
                -t quay.io/$QUAY_USER/go-xdp-counter:test -c ./examples/go-xdp-counter/";
    let docker = shop.docker.as_ref().unwrap();
    let reason = if docker.docker(&["buildx", "version"]).status == 0 {
        &["docker buildx build", "multi-platform"][..]
    } else {
        &[
            "buildx plugin, which is not installed",
            "docker-buildx",
            "--runtime podman",
        ]
    };
    typed(line).fails(1, reason);
    for runtime in ["podman", "none"] {
        typed(&format!("{line} --runtime {runtime}")).ok();
        let index = Workshop::raw(&image);
        let platforms = index["manifests"].as_array().unwrap().iter();
        let machines: Vec<_> = platforms
            .map(|one| one["platform"]["architecture"].as_str().unwrap())
            .collect();
        assert_eq!(
            machines,
            ["amd64", "arm64", "ppc64le", "s390x"],
            "{runtime}"
        );
        assert_eq!(shop.facts(&image), facts, "{runtime}");
    }
    shop.tidy();
}

#[test]
fn images_of_podman_and_docker_stay_in_their_stores_under_their_names() {
    let shop = Workshop::with_docker(&Options::default());
    let image = shop.registry.image("kept:here");
    let file = "Containerfile.bytecode.multi.arch";
    let words = ["-c", super::PROJECT];
    shop.build("podman", file, &image, &words).ok();
    let format = "{{.Architecture}}";
    let kept = shop
        .podman
        .podman(&["image", "inspect", "--format", format, &image])
        .ok();
    assert_eq!(kept.trim(), "amd64", "of several platforms the host's");
    shop.put(&object("xdp_counter_bpfeb"), "big.o");
    // BuildKit, because the older builder makes everything an image of this machine.
    shop.build("docker", file, &image, &["--bc-s390x-eb", "big.o"])
        .ok();
    let docker = shop.docker.as_ref().unwrap();
    let kept = docker
        .docker(&["image", "inspect", "--format", format, &image])
        .ok();
    assert_eq!(kept.trim(), "s390x");
    assert_eq!(shop.facts(&image)["object"], digest(shop.dir.join("big.o")));
}
