//! Pull policies: who is asked, and which bytecode runs.

use std::fs;

use testkit::{
    Output, Sandbox, Veth, example,
    servers::{Options, Registry},
};

use crate::support::{json, layout, origin, pull, pulled, under};

/// Loads what a name means, without saying which program; answers its name. It is gone after that.
#[track_caller]
fn loaded(sandbox: &Sandbox, veth: &Veth, url: &str, policy: &str) -> String {
    let load = example("xdp_pass").of_image(url).with(&["-p", policy]);
    let id = sandbox.load(&load.xdp(&veth.name));
    let shown = sandbox.get(id);
    assert_eq!(shown.bpfman("Image URL"), url);
    assert_eq!(shown.bpfman("Pull Policy"), policy);
    if shown.bpfman("Name") == "xdp_stats" {
        veth.ingress(3);
        assert_eq!(sandbox.count(id, "xdp_stats_map"), 3);
    }
    sandbox.unload(id);
    shown.bpfman("Name")
}

#[test]
fn which_bytecode_runs_after_a_tag_has_moved() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let registry = Registry::start(&sandbox, &Options::default());
    let [old, new] = ["xdp_pass", "xdp_counter"].map(|name| layout(&sandbox, &example(name)));
    let url = registry.image("a:tag");
    let runs = |policy| loaded(&sandbox, &veth, &url, policy);

    registry.push(&old, "a:tag", &[]);
    sandbox
        .try_load(
            &example("xdp_pass")
                .of_image(&url)
                .with(&["-p", "Never"])
                .xdp("lo"),
        )
        .fails(
            1,
            &[
                &url,
                "neither the image store nor a container runtime has it",
                "'Never' forbids",
                "hint: bpfman image pull",
            ],
        );
    assert_eq!(runs("IfNotPresent"), "pass");
    registry.push(&new, "a:tag", &[]);
    assert_eq!(runs("Never"), "pass");
    assert_eq!(runs("IfNotPresent"), "pass");
    assert_eq!(runs("Always"), "xdp_stats");
    assert_eq!(runs("IfNotPresent"), "xdp_stats");
    assert_eq!(runs("Never"), "xdp_stats");

    // Without the registry, two of three go on.
    drop(registry);
    assert_eq!(runs("IfNotPresent"), "xdp_stats");
    assert_eq!(runs("Never"), "xdp_stats");
    let always = example("xdp_counter")
        .of_image(&url)
        .with(&["-p", "Always"]);
    sandbox
        .unchanged(|| sandbox.try_load(&always.xdp(&veth.name)))
        .fails(1, &[&url, "cannot be reached", "refused"]);
}

#[test]
fn where_each_policy_looks() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    registry.push(&layout(&sandbox, &example("xdp_pass")), "a:tag", &[]);
    let url = registry.image("a:tag");
    let requests = || registry.requests("GET").len();

    let pushed = requests();
    pull(&sandbox, &url, &["-p", "Never"]).fails(1, &["'Never' forbids"]);
    assert_eq!(requests(), pushed);
    assert_eq!(origin(&sandbox, &url, &[]), "registry");
    let first = requests();
    assert!(first > pushed);
    for policy in ["IfNotPresent", "Never"] {
        assert_eq!(origin(&sandbox, &url, &["-p", policy]), "store");
    }
    assert_eq!(requests(), first);
    // The registry is asked, and what the store has is not sent again.
    let answer = pulled(&sandbox, &url, &["-p", "Always"]);
    assert_eq!(answer["from"], "store");
    let new = &registry.requests("GET")[first..];
    assert!(
        new.iter().any(|path| path.ends_with("/manifests/tag")),
        "{new:?}"
    );
    assert!(!new.iter().any(|path| path.contains("/blobs/")), "{new:?}");
    // A digest that is in the store is that image under any name of its own.
    let digest = answer["digest"].as_str().unwrap();
    let pinned = registry.image(&format!("a:other@{digest}"));
    assert_eq!(origin(&sandbox, &pinned, &["-p", "Never"]), "store");
    assert_eq!(
        json(&sandbox, &["image", "list"]).as_array().unwrap().len(),
        1
    );
}

/// Not even a socket to ask for a name.
#[test]
fn never_touches_no_socket_of_the_network() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let registry = Registry::start(&sandbox, &Options::default());
    registry.push(&layout(&sandbox, &example("xdp_pass")), "a:tag", &[]);
    let (here, absent) = (registry.image("a:tag"), registry.image("a:absent"));
    let sockets = |args: &[&str]| {
        let strace = "strace -f -qq -e trace=socket,connect -o /run/test/trace";
        let strace: Vec<&str> = strace.split(' ').collect();
        let output = Output::of(&mut under(&strace, &sandbox.command(args)));
        let trace = fs::read_to_string("/run/test/trace").unwrap();
        // Those of runtimes lead to nowhere but this machine.
        let lines = trace
            .lines()
            .filter(|line| line.contains("socket(") && !line.contains("AF_UNIX"));
        let lines: Vec<String> = lines.map(ToOwned::to_owned).collect();
        (output, lines)
    };
    let none = Vec::<String>::new();
    let pull = |url: &str, policy: &str| sockets(&["image", "pull", "-i", url, "-p", policy]);
    let (output, seen) = pull(&here, "Never");
    output.fails(1, &["'Never' forbids"]);
    assert_eq!(seen, none);
    let (output, seen) = pull(&here, "IfNotPresent");
    output.ok();
    assert!(seen.iter().any(|line| line.contains("AF_INET")), "{seen:?}");
    let (output, seen) = pull(&here, "Never");
    output.ok();
    assert_eq!(seen, none);
    let (output, seen) = pull(&absent, "Never");
    output.fails(1, &["'Never' forbids"]);
    assert_eq!(seen, none);
    // Attaching takes sockets of the kernel's own, and no other.
    let load = [
        "load", "image", "-i", &here, "-p", "Never", "xdp", "-i", &veth.name,
    ];
    let (output, seen) = sockets(&load);
    output.ok();
    assert!(
        !seen.iter().any(|line| line.contains("AF_INET")),
        "{seen:?}"
    );
}
