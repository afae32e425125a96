//! What is too large, too much or too slow.

use std::{thread, time::Duration};

use testkit::{
    Sandbox,
    servers::{Daemon, Gate, Options, Registry},
    waits_for_a_lock,
};
use tonic::Code;

use crate::client::{Client, image, tracepoint, xdp};

#[test]
fn an_oversized_request_is_refused() {
    let sandbox = Sandbox::new();
    let _daemon = Daemon::start(&sandbox);
    let client = Client::new();
    let mut request = xdp("lo", 50, 2);
    let large = vec![0; 5 << 20];
    request.global_data.insert("large".into(), large);
    let error = client.load(request).unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange, "{error}");
    // The connection goes on.
    assert_eq!(client.ids(), [0; 0]);
}

/// More pulls than there are threads for them hang, and everything else works as if there were
/// none.
#[test]
fn stuck_pulls_delay_nobody_else() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    let gate = Gate::new(registry.port(), 0);
    let _daemon = Daemon::start(&sandbox);
    let pulls: Vec<_> = (0..20)
        .map(|n| {
            let url = format!("{}/image{n}", gate.host());
            thread::spawn(move || Client::new().pull(image(&url)))
        })
        .collect();
    gate.wait_held();
    let client = Client::new();
    let id = client.loaded(tracepoint("syscalls/sys_enter_getcwd"));
    for _ in 0..50 {
        assert_eq!(client.ids(), [id]);
    }
    client.unload(id).unwrap();
    assert!(pulls.iter().all(|pull| !pull.is_finished()));
    gate.open();
    for pull in pulls {
        let error = pull.join().unwrap().unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
    }
}

/// The lock of the state is held by somebody else: changes wait, the client's patience ends, and
/// looking needs no lock.
#[test]
fn a_deadline_ends_a_wait() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let daemon = Daemon::start(&sandbox);
    let client = Client::new();
    let id = client.loaded(xdp(&veth.name, 50, 2));
    let lock = lock(&sandbox);
    let mut patience = Duration::from_millis(500);
    // Longer on a machine on which it had not even been begun by then.
    while !waits_for_a_lock(daemon.pid()) {
        let mut unload = tonic::Request::new(daemon::proto::UnloadRequest { id });
        unload.set_timeout(patience);
        let error = client.wait(client.raw().unload(unload)).unwrap_err();
        assert!(
            matches!(error.code(), Code::DeadlineExceeded | Code::Cancelled),
            "{error}"
        );
        patience *= 2;
    }
    assert_eq!(client.ids(), [id]);
    drop(lock);
    // It had been begun.
    assert!(testkit::wait_until(|| client.ids().is_empty()));
}

/// The lock that every change takes.
fn lock(sandbox: &Sandbox) -> nix::fcntl::Flock<std::fs::File> {
    let file = std::fs::File::options()
        .write(true)
        .open(sandbox.runtime_dir().join("lock"))
        .unwrap();
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .unwrap()
}
