//! TLS, its authorities, and plain HTTP.

use std::{fs, path::Path};

use testkit::{
    Sandbox, example,
    servers::{Options, Registry},
};

use crate::support::{layout, origin, pull, stored};

const HOSTS: &str = "127.0.0.1 localhost registry.test\n";

#[test]
fn an_authority_that_docker_or_podman_was_told_of() {
    let sandbox = Sandbox::new();
    let etc = sandbox.own_etc();
    fs::write(etc.join("hosts"), HOSTS).unwrap();
    let registry = Registry::start(&sandbox, &Options::default().tls());
    registry.push(&layout(&sandbox, &example("xdp_pass")), "a", &[]);
    let names = ["localhost", "127.0.0.1", "registry.test"];
    let hosts = names.map(|name| format!("{name}:{}", registry.port()));
    let home = sandbox.home().join(".config/containers/certs.d");
    for host in &hosts {
        let url = format!("{host}/a");
        let refused = [
            "the certificate of registry",
            host,
            "not trusted",
            "hint: ",
            &format!("/etc/containers/certs.d/{host}/ca.crt"),
        ];
        pull(&sandbox, &url, &[]).fails(1, &refused);
        assert_eq!(stored(&sandbox), [""; 0]);
        for folder in [
            etc.join("docker/certs.d"),
            etc.join("containers/certs.d"),
            home.clone(),
        ] {
            let folder = folder.join(host);
            trust(&folder, &registry);
            pull(&sandbox, &url, &["-p", "Always"]).ok();
            fs::remove_dir_all(&folder).unwrap();
            pull(&sandbox, &url, &["-p", "Always"]).fails(1, &refused);
        }
        sandbox.bpfman(["image", "prune", "--all"]).ok();
    }
    // What was trusted for one name says nothing of another.
    trust(&etc.join("docker/certs.d").join(&hosts[2]), &registry);
    pull(&sandbox, &format!("{}/a", hosts[0]), &[]).fails(1, &["not trusted"]);
}

fn trust(folder: &Path, registry: &Registry) {
    fs::create_dir_all(folder).unwrap();
    fs::copy(registry.ca().certificate(), folder.join("ca.crt")).unwrap();
}

#[test]
fn an_authority_of_the_system() {
    let sandbox = Sandbox::new();
    let etc = sandbox.own_etc();
    let registry = Registry::start(&sandbox, &Options::default().tls());
    registry.push(&layout(&sandbox, &example("xdp_pass")), "a", &[]);
    let url = registry.image("a");
    pull(&sandbox, &url, &[]).fails(1, &["not trusted"]);
    let bundle = etc.join("ssl/certs/ca-certificates.crt");
    let authorities = fs::read_to_string(&bundle).unwrap();
    let own = fs::read_to_string(registry.ca().certificate()).unwrap();
    fs::write(&bundle, authorities + &own).unwrap();
    assert_eq!(origin(&sandbox, &url, &[]), "registry");
}

#[test]
fn a_folder_with_a_damaged_certificate() {
    let sandbox = Sandbox::new();
    let etc = sandbox.own_etc();
    let registry = Registry::start(&sandbox, &Options::default().tls());
    let folder = etc.join("docker/certs.d").join(registry.host());
    trust(&folder, &registry);
    fs::write(folder.join("bad.crt"), "no certificate").unwrap();
    let said = [
        "cannot use the certificates in",
        "docker/certs.d",
        "bad.crt",
    ];
    pull(&sandbox, &registry.image("a"), &[]).fails(1, &said);
}

/// Plain HTTP never leaves the machine, unless the configuration says where to.
#[test]
fn plain_http_needs_to_be_allowed() {
    let sandbox = Sandbox::new();
    let etc = sandbox.own_etc();
    fs::write(etc.join("hosts"), HOSTS).unwrap();
    let registry = Registry::start(&sandbox, &Options::default());
    registry.push(&layout(&sandbox, &example("xdp_pass")), "a", &[]);
    let port = registry.port();
    let url = format!("registry.test:{port}/a");
    let said = pull(&sandbox, &url, &[]).fails(1, &["does not speak TLS", "registry.test"]);
    let hint = format!("[registry] plain_http = [\"registry.test:{port}\"]");
    assert!(said.contains(&hint), "{said}");
    // Not a word of it came to the registry.
    let asked = registry.requests("GET").len();
    assert_eq!(stored(&sandbox), [""; 0]);
    for (config, allowed) in [
        (format!("registry.test:{port}"), true),
        ("registry.test".to_owned(), true),
        ("other.test".to_owned(), false),
        ("registry.test:1".to_owned(), false),
    ] {
        sandbox.config(&format!("[registry]\nplain_http = [\"{config}\"]\n"));
        let output = pull(&sandbox, &url, &["-p", "Always"]);
        if allowed {
            output.ok();
        } else {
            output.fails(1, &["does not speak TLS"]);
        }
    }
    assert!(registry.requests("GET").len() > asked);
    // Certificates for a host mean that it is to be asked over TLS, on this machine too.
    let folder = etc.join("containers/certs.d").join(registry.host());
    fs::create_dir_all(folder).unwrap();
    pull(&sandbox, &registry.image("a"), &["-p", "Always"]).fails(1, &["does not speak TLS"]);
}
