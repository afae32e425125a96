//! From a registry to packets, all of it inside one kernel. What else there is to images is in the
//! binary `image`, which needs no other kernel than the machine's.

use testkit::{
    Feature, Load, Sandbox, example,
    servers::{Options, Registry},
};

use crate::support::{ingress, positions, xdp};

fn pushed(sandbox: &Sandbox, registry: &Registry, name: &str, from: Load) -> Load {
    let url = registry.build(sandbox, name, &from.path);
    from.of_image(&url)
}

#[test]
fn two_programs_of_a_registry_share_an_interface() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let registry = Registry::start(&sandbox, &Options::default());
    let verdict = pushed(&sandbox, &registry, "xdp/verdict:1", xdp("pass"));
    let stats = pushed(&sandbox, &registry, "xdp/stats", example("xdp_counter"));
    // One is pulled ahead of time and needs the registry no more, the other by its load.
    let pull = ["image", "pull", "-i", &registry.image("xdp/verdict:1")];
    sandbox.bpfman(pull).ok();
    let second = sandbox.load(&stats.xdp(&veth.name).priority(60));
    drop(registry);
    let first = sandbox.load(&verdict.xdp(&veth.name).priority(50));
    assert_eq!(positions(&sandbox, &[first, second]), [0, 1]);
    assert_eq!(ingress(&sandbox, &veth, 10, &[first]), (vec![10], 10));
    assert_eq!(sandbox.count(second, "xdp_stats_map"), 10);
    for (id, policy) in [(first, "xdp/verdict:1"), (second, "xdp/stats")] {
        assert!(sandbox.get(id).bpfman("Image URL").ends_with(policy));
    }
    sandbox.unload(first);
    assert_eq!(veth.ingress(10), 10);
    assert_eq!(sandbox.count(second, "xdp_stats_map"), 20);
    sandbox.unload(second);
    assert_eq!(sandbox.ids(), [0; 0]);
    assert_eq!(veth.ingress(10), 10);
}
