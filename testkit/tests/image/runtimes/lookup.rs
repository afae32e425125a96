//! Who is asked, in which order, and what the configuration changes.

use serde_json::json;
use testkit::{
    Sandbox, example, object,
    servers::{Containerd, Dockerd, Options, Podman, Registry},
};

use super::{Runtime, command, forget, pull, pulled};
use crate::support::layout;

fn from(answer: &serde_json::Value) -> &str {
    answer["from"].as_str().unwrap()
}

#[test]
fn docker_then_podman_then_containerd_unless_one_is_preferred() {
    let sandbox = Sandbox::new();
    let docker = Runtime::Docker(Dockerd::start(&sandbox));
    let podman = Runtime::Storage(Podman::new(&sandbox));
    let containerd = Runtime::Containerd(Containerd::start(&sandbox));
    let all = [&docker, &podman, &containerd];
    for (runtime, name) in all.iter().zip(["xdp_pass", "xdp_counter", "tc_counter"]) {
        runtime.build(&sandbox, &example(name), "x:dev");
    }
    podman.build(&sandbox, &example("xdp_pass"), "only:podman");

    assert_eq!(from(&pulled(&sandbox, &all, "x:dev")), "docker");
    assert_eq!(from(&pulled(&sandbox, &all, "only:podman")), "podman");
    for name in ["docker", "podman", "containerd"] {
        forget(&sandbox);
        let config = format!("[container_runtime]\npreferred_runtime = \"{name}\"\n");
        sandbox.config(&config);
        assert_eq!(from(&pulled(&sandbox, &all, "x:dev")), name);
    }
    // The preferred one does not have it.
    assert_eq!(from(&pulled(&sandbox, &all, "only:podman")), "podman");

    let listed = command(
        &sandbox,
        &all,
        &["image", "list", "--runtimes", "-o", "json"],
    );
    let listed = testkit::Output::of(&mut { listed }).ok();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let short: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|image| {
            (
                &image["runtime"]["name"],
                &image["references"],
                &image["programs"],
            )
        })
        .collect();
    let pass = json!({"pass": "xdp"});
    assert_eq!(
        short,
        [
            (
                &json!("containerd"),
                &json!(["docker.io/library/x:dev"]),
                &json!({"stats": "tc"})
            ),
            (&json!("docker"), &json!(["x:dev"]), &pass),
            (&json!("podman"), &json!(["localhost/only:podman"]), &pass),
            (
                &json!("podman"),
                &json!(["localhost/x:dev"]),
                &json!({"xdp_stats": "xdp"})
            ),
        ]
    );

    // Switched off, nobody is asked, and what came from them stays.
    sandbox.config("[container_runtime]\nenabled = false\n");
    assert_eq!(from(&pulled(&sandbox, &all, "only:podman")), "store");
    pull(&sandbox, &all, "x:none", &["-p", "Never"]).fails(1, &["neither the image store"]);
    let listed = command(&sandbox, &all, &["image", "list", "--runtimes", "-o", "id"]);
    assert_eq!(testkit::Output::of(&mut { listed }).ok(), "");
}

#[test]
fn the_configuration_names_sockets_and_namespaces() {
    let sandbox = Sandbox::new();
    let docker = Dockerd::start(&sandbox);
    let containerd = Containerd::start(&sandbox);
    let (first, second) = (docker.socket(), containerd.socket());
    sandbox.config(&format!(
        "[container_runtime]\ndocker_socket = \"{}\"\ncontainerd_socket = \"unix://{}\"\n\
         containerd_namespaces = [\"mine\"]\n",
        first.display(),
        second.display()
    ));
    let layout = layout(&sandbox, &example("xdp_pass"));
    containerd.import("k8s.io", &layout, "docker.io/library/x:hidden");
    containerd.import("mine", &layout, "docker.io/library/x:shown");
    Runtime::Docker(docker).build(&sandbox, &example("xdp_counter"), "y:dev");
    pull(&sandbox, &[], "x:hidden", &["-p", "Never"]).fails(1, &["neither the image store"]);
    let shown = pulled(&sandbox, &[], "x:shown");
    assert_eq!(
        shown["runtime"],
        json!({"name": "containerd", "at": second, "user": null, "namespace": "mine"})
    );
}

#[test]
fn what_each_policy_asks() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    let podman = Runtime::Storage(Podman::new(&sandbox));
    let all = [&podman];
    let url = registry.image("a:tag");
    registry.push(&layout(&sandbox, &example("xdp_pass")), "a:tag", &[]);
    let file = |policy: &str| {
        let output = pull(&sandbox, &all, &url, &["-p", policy, "-o", "json"]).ok();
        let answer: serde_json::Value = serde_json::from_str(&output).unwrap();
        let file = answer["image"]["file"].as_str().unwrap().to_owned();
        (from(&answer).to_owned(), file)
    };
    let expected = |from: &str, file: &str| (from.to_owned(), format!("{file}.bpf.o"));

    // Only the registry has it.
    pull(&sandbox, &all, &url, &["-p", "Never"]).fails(1, &["'Never' forbids"]);
    assert_eq!(file("IfNotPresent"), expected("registry", "xdp_pass"));
    // Podman has something else of that name. What came from the registry stays until somebody
    // asks for the newest.
    podman.build(&sandbox, &example("xdp_counter"), &url);
    assert_eq!(file("IfNotPresent"), expected("store", "xdp_pass"));
    assert_eq!(file("Never"), expected("store", "xdp_pass"));
    let requests = registry.requests("GET").len();
    assert_eq!(file("Always"), expected("podman", "xdp_counter"));
    assert_eq!(file("Always"), expected("store", "xdp_counter"));
    assert_eq!(file("IfNotPresent"), expected("store", "xdp_counter"));
    podman.build(&sandbox, &object("xdp_verdict"), &url);
    assert_eq!(file("Never"), expected("podman", "xdp_verdict"));
    assert_eq!(registry.requests("GET").len(), requests);
    // What is not what it was is taken again.
    let damaged = crate::support::stored(&sandbox);
    for blob in damaged.iter().filter(|name| name.starts_with("blobs")) {
        std::fs::write(sandbox.images().join(blob), "").unwrap();
    }
    assert_eq!(file("Never"), expected("podman", "xdp_verdict"));
}
