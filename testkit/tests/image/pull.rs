//! From a registry into the store.

use testkit::{
    Sandbox, object,
    servers::{Options, Registry},
};

use crate::support::{layout, pulled};

#[test]
fn a_plain_registry_of_this_machine() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    registry.push(&layout(&sandbox, &object("xdp_verdict")), "a/b:c", &[]);
    let answer = pulled(&sandbox, &registry.image("a/b:c"), &[]);
    assert_eq!(answer["from"], "registry");
    assert_eq!(answer["image"]["programs"]["xdp_verdict"], "xdp");
}
