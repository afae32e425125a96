//! Images for several machines.

use std::{fs, os::unix::fs::PermissionsExt as _};

use testkit::{example, object};

use super::{PROJECT, Workshop, counter_labels, digest};

/// Each machine, and whether its bytecode is big-endian.
const MACHINES: [(&str, bool); 13] = [
    ("386", false),
    ("amd64", false),
    ("arm", false),
    ("arm64", false),
    ("loong64", false),
    ("mips", true),
    ("mipsle", false),
    ("mips64", true),
    ("mips64le", false),
    ("ppc64", true),
    ("ppc64le", false),
    ("riscv64", false),
    ("s390x", true),
];

/// `--bc-…` of each machine with an object of its own.
fn flags(shop: &Workshop, machines: &[(&str, bool)]) -> Vec<String> {
    let mut words = Vec::new();
    for (machine, big) in machines {
        let from = if *big {
            object("xdp_counter_bpfeb")
        } else {
            example("xdp_counter")
        };
        let mut bytes = fs::read(from.path).unwrap();
        bytes.extend(machine.bytes());
        let name = format!("{machine}.o");
        fs::write(shop.dir.join(&name), bytes).unwrap();
        let order = if *big { "eb" } else { "el" };
        words.extend([format!("--bc-{machine}-{order}"), name]);
    }
    words
}

fn words(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// Every machine of an image has its own object, and all have the same labels.
fn check(shop: &Workshop, image: &str, machines: &[(&str, bool)]) {
    let index = Workshop::raw(image);
    assert_eq!(
        index["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    let manifests = index["manifests"].as_array().unwrap();
    let platforms: Vec<_> = manifests
        .iter()
        .map(|one| {
            assert_eq!(one["platform"]["os"], "linux");
            one["platform"]["architecture"].as_str().unwrap()
        })
        .collect();
    let expected: Vec<_> = machines.iter().map(|(machine, _)| *machine).collect();
    assert_eq!(platforms, expected);
    let name = image.rsplit_once(':').unwrap().0;
    for (machine, one) in expected.iter().zip(manifests) {
        let facts = shop.facts(&format!("{name}@{}", one["digest"].as_str().unwrap()));
        assert_eq!(facts["machine"], *machine);
        assert_eq!(facts["labels"], counter_labels(), "{machine}");
        assert_eq!(facts["file"], format!("{machine}.o"));
        assert_eq!(
            facts["object"],
            digest(shop.dir.join(format!("{machine}.o")))
        );
    }
}

#[test]
fn none_builds_for_every_machine() {
    let shop = Workshop::new();
    let image = shop.registry.image("all:1");
    let flags = flags(&shop, &MACHINES);
    shop.build("none", "", &image, &words(&flags)).ok();
    check(&shop, &image, &MACHINES);
    let pulled = shop.pulled(&image);
    assert_eq!(pulled["architecture"], "amd64");
    assert_eq!(pulled["object"], digest(shop.dir.join("amd64.o")));

    // The same objects make the same image, to the byte.
    let before = Workshop::raw(&image);
    let again = shop.registry.image("all:2");
    shop.build("none", "", &again, &words(&flags)).ok();
    assert_eq!(Workshop::raw(&again), before);
    shop.tidy();
}

#[test]
fn podman_builds_for_machines_of_both_byte_orders() {
    let shop = Workshop::new();
    let machines = [("amd64", false), ("arm64", false), ("s390x", true)];
    let image = shop.registry.image("some:1");
    let flags = flags(&shop, &machines);
    let file = "Containerfile.bytecode.multi.arch";
    shop.build("podman", file, &image, &words(&flags)).ok();
    check(&shop, &image, &machines);
    assert_eq!(
        shop.pulled(&image)["object"],
        digest(shop.dir.join("amd64.o"))
    );
    shop.tidy();
}

#[test]
fn one_foreign_machine_alone() {
    let shop = Workshop::new();
    let file = "Containerfile.bytecode.multi.arch";
    let object = "./examples/go-xdp-counter/bpf_s390_bpfeb.o";
    for runtime in ["podman", "none"] {
        let image = shop.registry.image(&format!("{runtime}:s390x"));
        shop.build(runtime, file, &image, &["--bc-s390x-eb", object])
            .ok();
        let facts = shop.facts_of(
            &["--override-arch", "s390x", "--src-tls-verify=false"],
            &format!("docker://{image}"),
        );
        assert_eq!(facts["machine"], "s390x", "{runtime}");
        assert_eq!(facts["labels"], counter_labels());
        assert_eq!(facts["object"], digest(shop.dir.join(object)));
    }
}

#[test]
fn a_machine_that_is_missing_is_served_by_one_of_its_byte_order() {
    let shop = Workshop::new();
    let image = shop.registry.image("others:1");
    let flags = |machines: &[(&str, bool)]| flags(&shop, machines);
    let near = flags(&[("ppc64", true), ("arm64", false)]);
    shop.build("none", "", &image, &words(&near)).ok();
    let pulled = shop.pulled(&image);
    assert_eq!(pulled["architecture"], "arm64");
    assert_eq!(pulled["object"], digest(shop.dir.join("arm64.o")));

    let far = flags(&[("ppc64", true), ("s390x", true)]);
    let image = shop.registry.image("others:2");
    shop.build("none", "", &image, &words(&far)).ok();
    let args = ["image", "pull", "--image-url", &image];
    shop.bpfman(&args).fails(1, &["amd64", "ppc64", "s390x"]);
}

/// A plugin of the docker command that notes what it is asked. Debian has no buildx, and building
/// for several platforms with it takes images from the internet: what stays to be proven is that
/// the real docker command takes our words for its plugin's.
const PLUGIN: &str = r#"#!/bin/sh
case "$1" in
docker-cli-plugin-metadata)
    echo '{"SchemaVersion":"0.1.0","Vendor":"testkit","Version":"v0","ShortDescription":"notes"}' ;;
*)
    shift
    [ "$1" = version ] && exit 0
    printf '%s\n' "$@" "attestations=$BUILDX_NO_DEFAULT_ATTESTATIONS" >"$HOME/asked"
    [ ! -e "$HOME/refuse" ] || { echo "the builder is out of order" >&2; exit 7; } ;;
esac
"#;

#[test]
fn docker_builds_for_several_machines_with_buildx() {
    let shop = Workshop::new();
    let home = shop.sandbox.home();
    let plugins = home.join(".docker/cli-plugins");
    fs::create_dir_all(&plugins).unwrap();
    let plugin = plugins.join("docker-buildx");
    fs::write(&plugin, PLUGIN).unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    let image = shop.registry.image("several:1");
    let file = "Containerfile.bytecode.multi.arch";
    let build = || shop.build("docker", file, &image, &["-c", PROJECT]);
    build().ok();
    let asked = fs::read_to_string(home.join("asked")).unwrap();
    let expected = format!(
        "build\n--push\n--platform\nlinux/amd64,linux/arm64,linux/ppc64le,linux/s390x\n\
         --tag\n{image}\n\
         --build-arg\nBC_AMD64_EL=examples/go-xdp-counter/bpf_x86_bpfel.o\n\
         --build-arg\nBC_ARM64_EL=examples/go-xdp-counter/bpf_arm64_bpfel.o\n\
         --build-arg\nBC_PPC64LE_EL=examples/go-xdp-counter/bpf_powerpc_bpfel.o\n\
         --build-arg\nBC_S390X_EB=examples/go-xdp-counter/bpf_s390_bpfeb.o\n\
         --build-arg\nPROGRAMS={{\"xdp_stats\":\"xdp\"}}\n\
         --build-arg\nMAPS={{\"xdp_stats_map\":\"per_cpu_array\"}}\n\
         -f\n{file}\n.\nattestations=1\n"
    );
    assert_eq!(asked, expected);

    fs::write(home.join("refuse"), "").unwrap();
    build().fails(
        1,
        &[
            "'docker buildx build' failed: exit status: 7",
            "out of order",
        ],
    );
}
