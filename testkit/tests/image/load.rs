//! Programs out of images, in the kernel.

use testkit::{
    Feature, Load, Sandbox, example, object,
    oci::{Image, write_layout},
    servers::{Options, Registry},
};

use crate::support::layout;

/// A registry with the image of an object, and the load of it.
fn image(sandbox: &Sandbox, registry: &Registry, from: Load) -> Load {
    let name = from
        .path
        .file_stem()
        .unwrap()
        .to_string_lossy()
        .replace('.', "-");
    registry.push(&layout(sandbox, &from), &name, &[]);
    from.of_image(&registry.image(&name))
}

#[test]
fn xdp_counts_packets() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    let veth = sandbox.veth();
    let load = image(&sandbox, &registry, object("xdp_verdict"));
    let load = load.name("xdp_verdict").global("verdict", "01000000");
    let load = load.metadata("owner=me").xdp(&veth.name).priority(50);
    let id = sandbox.load(&load);
    assert_eq!(veth.ingress(10), 0);
    assert_eq!(sandbox.count(id, "counter"), 10);
    let shown = sandbox.get(id);
    assert_eq!(shown.bpfman("Name"), "xdp_verdict");
    assert_eq!(shown.bpfman("Image URL"), registry.image("xdp_verdict-bpf"));
    assert_eq!(shown.bpfman("Pull Policy"), "IfNotPresent");
    assert!(!shown.has("Path"));
    assert_eq!(sandbox.list(&["--metadata-selector", "owner=me"]).len(), 1);

    // The program needs neither the image nor the registry any more.
    drop(registry);
    sandbox.bpfman(["image", "prune", "--all"]).ok();
    sandbox
        .bpfman(["image", "remove", &shown.bpfman("Image URL")])
        .ok();
    assert_eq!(sandbox.get(id).text, shown.text);
    assert_eq!(veth.ingress(10), 0);
    sandbox.unload(id);
    assert_eq!(veth.ingress(10), 10);
}

#[test]
fn tcx_on_both_sides() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Tcx]) else {
        return;
    };
    let registry = Registry::start(&sandbox, &Options::default());
    let veth = sandbox.veth();
    let load = image(&sandbox, &registry, object("tc_verdict"));
    let load = load.name("tc_verdict").global("verdict", "FFFFFFFF");
    let inbound = sandbox.load(&load.clone().tcx("ingress", &veth.name));
    let outbound = sandbox.load(&load.tcx("egress", &veth.name));
    assert_eq!((veth.ingress(5), veth.egress(7)), (5, 7));
    let counts = [inbound, outbound].map(|id| sandbox.count(id, "counter"));
    assert_eq!(counts, [5, 7]);
    assert_eq!(
        sandbox.get(outbound).bpfman("Image URL"),
        registry.image("tc_verdict-bpf")
    );
}

#[test]
fn a_tracepoint_counts() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let registry = Registry::start(&sandbox, &Options::default());
    let load = image(&sandbox, &registry, example("tracepoint_counter")).name("sched_switch");
    let id = sandbox.load(&load.attach(&["tracepoint", "--tracepoint", "sched/sched_switch"]));
    testkit::tool("sleep", &["0.05"]).ok();
    assert!(sandbox.count(id, "switch_count") > 0);
    assert_eq!(sandbox.get(id).kernel("Type"), "tracepoint");
}

/// Who names no program gets the one that fits, by the labels, or else by the object.
#[test]
fn the_program_that_is_meant() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    let veth = sandbox.veth();
    let image = Image::of_file(&object("several").path);
    let push = |name: &str, image: Image| {
        registry.push(
            &write_layout(&sandbox.tmp().join(name), &[image]),
            name,
            &[],
        );
        object("several").of_image(&registry.image(name))
    };
    let labels = serde_json::json!({"io.ebpf.programs": r#"{"only_tc":"tc","second":"xdp"}"#});
    let labelled = push("labelled", image.clone().labels(labels));
    let id = sandbox.load(&labelled.clone().xdp(&veth.name));
    assert_eq!(sandbox.get(id).bpfman("Name"), "second");
    sandbox.unload(id);
    let id = sandbox.load(&labelled.name("first").xdp(&veth.name));
    assert_eq!(sandbox.get(id).bpfman("Name"), "first");
    sandbox.unload(id);

    let bare = push("bare", image);
    sandbox
        .unchanged(|| sandbox.try_load(&bare.clone().xdp(&veth.name)))
        .fails(1, &["first", "second"]);
    let id = sandbox.load(&bare.clone().tc("ingress", &veth.name));
    assert_eq!(sandbox.get(id).bpfman("Name"), "only_tc");
    sandbox.unload(id);
    sandbox
        .try_load(&bare.name("thrid").xdp(&veth.name))
        .fails(1, &["thrid"]);
}
