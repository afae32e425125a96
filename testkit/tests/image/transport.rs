//! TLS, its authorities, and plain HTTP.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    thread,
};

use testkit::{
    Output, Sandbox, example,
    servers::{Options, Registry},
};

use crate::support::{layout, origin, pull, stored, under};

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

#[test]
fn an_authority_that_the_environment_names() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default().tls());
    registry.push(&layout(&sandbox, &example("xdp_pass")), "a", &[]);
    let url = registry.image("a");
    let file = registry.ca().certificate().display().to_string();
    pull(&sandbox, &url, &[]).fails(1, &["not trusted"]);
    sandbox
        .bpfman_env("SSL_CERT_FILE", &file, ["image", "pull", "-i", &url])
        .ok();
}

/// A registry may want to know who we are: `NAME.cert` and `NAME.key` say it.
#[test]
fn a_certificate_of_our_own() {
    let sandbox = Sandbox::new();
    let etc = sandbox.own_etc();
    let registry = Registry::start(&sandbox, &Options::default().client_certificates());
    let url = registry.image("a");
    let folder = etc.join("containers/certs.d").join(registry.host());
    trust(&folder, &registry);
    pull(&sandbox, &url, &[]).fails(1, &["cannot be reached"]);
    let (certificate, key) = registry.ca().server();
    fs::copy(certificate, folder.join("client.cert")).unwrap();
    pull(&sandbox, &url, &[]).fails(1, &["cannot use the certificates in", "client.key"]);
    fs::copy(key, folder.join("client.key")).unwrap();
    // Now it answers: there is no such image.
    pull(&sandbox, &url, &[]).fails(1, &["has no 'latest' in 'a'"]);
}

/// The system's authorities are read once, and only when a registry is asked that has TLS.
#[test]
fn how_often_the_authorities_are_read() {
    let sandbox = Sandbox::new();
    let etc = sandbox.own_etc();
    let secure = Registry::start(&sandbox, &Options::default().tls());
    let plain = Registry::start(&sandbox, &Options::default());
    trust(&etc.join("docker/certs.d").join(secure.host()), &secure);
    for registry in [&secure, &plain] {
        registry.push(&layout(&sandbox, &example("xdp_pass")), "a", &[]);
    }
    let reads = |registry: &Registry, policy: &str| {
        let url = registry.image("a");
        let command = sandbox.command(["image", "pull", "-i", &url, "-p", policy]);
        let strace = "strace -f -qq -e trace=openat -o /run/test/trace";
        let strace: Vec<&str> = strace.split(' ').collect();
        Output::of(&mut under(&strace, &command)).ok();
        let trace = fs::read_to_string("/run/test/trace").unwrap();
        let bundle = |line: &&str| line.contains("/etc/ssl/") && !line.contains("ENOENT");
        trace.lines().filter(bundle).count()
    };
    assert_eq!(reads(&plain, "Always"), 0);
    assert_eq!(reads(&secure, "Always"), 1);
    assert_eq!(reads(&secure, "IfNotPresent"), 0);
    assert_eq!(reads(&secure, "Never"), 0);
}

/// A proxy is asked for what is elsewhere, never for this machine.
#[test]
fn proxies_of_the_environment() {
    let sandbox = Sandbox::new();
    let etc = sandbox.own_etc();
    fs::write(etc.join("hosts"), HOSTS).unwrap();
    let registry = Registry::start(&sandbox, &Options::default().tls());
    registry.push(&layout(&sandbox, &example("xdp_pass")), "a", &[]);
    for host in ["registry.test", "127.0.0.1"] {
        let host = format!("{host}:{}", registry.port());
        trust(&etc.join("docker/certs.d").join(host), &registry);
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let asked = thread::spawn(move || {
        // It says no to the first, and is not there for a second.
        let (client, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&client).read_line(&mut line).unwrap();
        (&client)
            .write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            .unwrap();
        line
    });
    let pull = |host: &str, no_proxy: &str| {
        let url = format!("{host}:{}/a", registry.port());
        let mut command = sandbox.command(["image", "pull", "-p", "Always", "-i", &url]);
        command.env("HTTPS_PROXY", &proxy).env("NO_PROXY", no_proxy);
        Output::of(&mut command)
    };
    pull("127.0.0.1", "").ok();
    pull("registry.test", "registry.test").ok();
    pull("registry.test", "other.test").fails(1, &["registry.test", "cannot be reached"]);
    let line = asked.join().unwrap();
    let wanted = format!("CONNECT registry.test:{} ", registry.port());
    assert!(line.starts_with(&wanted), "{line}");
}
