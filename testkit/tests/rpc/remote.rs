//! Other machines: only with certificates on both sides.

use std::{fs, net::TcpListener};

use testkit::{
    Sandbox,
    servers::{Ca, Daemon},
    wait_until,
};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::client::{Client, tracepoint};

/// A configuration that asks for the listener, and its port.
fn configure(sandbox: &Sandbox, server: &Ca, clients: &Ca) -> u16 {
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    let (certificate, key) = server.server();
    let [certificate, key, authority] =
        [certificate, key, clients.certificate()].map(|path| path.display().to_string());
    sandbox.config(&format!(
        "[grpc]\nlisten = \"127.0.0.1:{port}\"\ncertificate = \"{certificate}\"\n\
         key = \"{key}\"\nclient_ca = \"{authority}\"\n"
    ));
    port
}

fn connect(port: u16, trusts: &Ca, shows: Option<&Ca>) -> Result<Client, String> {
    let pem = fs::read_to_string(trusts.certificate()).unwrap();
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
    if let Some((certificate, key)) = shows.map(Ca::identity) {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = Endpoint::from_shared(format!("https://localhost:{port}")).unwrap();
    let client = Client::connect(&endpoint.tls_config(tls).unwrap());
    let client = client.map_err(|error| format!("{error:?}"))?;
    // With TLS 1.3 a client hears of a refusal after its own part is done.
    let asked = client.list(crate::client::ours());
    asked.map(|_| client).map_err(|error| format!("{error:?}"))
}

#[test]
fn both_sides_show_certificates() {
    let sandbox = Sandbox::new();
    let [server, clients, strangers] =
        ["server", "clients", "strangers"].map(|name| Ca::new(&sandbox.tmp().join(name)));
    let port = configure(&sandbox, &server, &clients);
    let daemon = Daemon::start(&sandbox);
    let ready = || {
        daemon
            .log()
            .contains(&format!("listening on 127.0.0.1:{port} as well"))
    };
    assert!(wait_until(ready), "{}", daemon.log());
    let client = connect(port, &server, Some(&clients)).unwrap();
    let id = client.loaded(tracepoint("syscalls/sys_enter_getcwd"));
    client.unload(id).unwrap();
    for shows in [None, Some(&strangers), Some(&server)] {
        assert!(connect(port, &server, shows).is_err(), "{shows:?}");
    }
    assert!(connect(port, &clients, Some(&clients)).is_err());
    // Without TLS there is nothing to hear.
    let plain = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
    let asked = Client::connect(&plain).map(|client| client.list(crate::client::ours()).is_ok());
    assert!(!asked.unwrap_or(false));
    let log = daemon.stop();
    let line = log.lines().find(|line| line.contains("load tracepoint"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(
        line.contains("127.0.0.1:") && line.contains("certificate sha256:"),
        "{line}"
    );
}

#[test]
fn whatever_is_wrong_with_it_the_socket_works() {
    let sandbox = Sandbox::new();
    let ca = Ca::new(&sandbox.tmp().join("ca"));
    let port = configure(&sandbox, &ca, &ca);
    let missing = "[grpc]\nlisten = \"127.0.0.1:1\"\ncertificate = \"/c\"\n";
    let unreadable = "[grpc]\nlisten = \"127.0.0.1:1\"\ncertificate = \"/nowhere/c\"\n\
                      key = \"/nowhere/k\"\nclient_ca = \"/nowhere/a\"\n";
    for (config, word) in [(missing, "line 1"), (unreadable, "/nowhere/c")] {
        sandbox.config(config);
        let daemon = Daemon::start(&sandbox);
        assert_eq!(Client::new().ids(), [0; 0]);
        let log = daemon.stop();
        assert!(
            log.contains("error: no listener for other machines"),
            "{log}"
        );
        assert!(log.contains(word), "{log}");
    }
    // Without the section there is no port at all.
    sandbox.config("");
    let daemon = Daemon::start(&sandbox);
    let table = format!("/proc/{}/net/tcp", daemon.pid());
    let wanted = format!(":{port:04X} ");
    assert!(!fs::read_to_string(table).unwrap().contains(&wanted));
    let listening = testkit::tool("ss", &["-tln"]).ok();
    assert_eq!(listening.lines().count(), 1, "{listening}");
}
