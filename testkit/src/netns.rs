//! Network namespaces of a sandbox.

use std::{fs::File, thread};

use nix::sched::{CloneFlags, setns};

/// Runs the closure in a thread of its own that lives in the named network namespace: sockets and
/// commands that it makes belong there.
pub fn in_netns<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    let path = format!("/run/netns/{name}");
    let file = File::open(&path).unwrap_or_else(|error| panic!("cannot open {path}: {error}"));
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            setns(&file, CloneFlags::CLONE_NEWNET).expect("cannot enter the namespace");
            work()
        });
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
