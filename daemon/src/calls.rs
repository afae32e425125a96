//! Calls of the manager, each on a thread of its own.
//!
//! The manager blocks, and goes into other network namespaces on the way: a thread that ends with
//! its call can take nothing of that into the next one.

use std::{sync::Arc, thread, time::Duration};

use manager::Manager;
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};
use tonic::Status;

use crate::activity::Activity;

/// Calls that wait for the same things: those of one lane never wait for those of another.
#[derive(Debug)]
struct Lane {
    free: Arc<Semaphore>,
    limit: Duration,
}

impl Lane {
    fn new(threads: usize, seconds: u64) -> Self {
        Self {
            free: Arc::new(Semaphore::new(threads)),
            limit: Duration::from_secs(seconds),
        }
    }
}

/// What a call may wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waits {
    /// Nothing.
    Never,
    /// The lock of the state.
    ForLock,
    /// A registry, and then perhaps the lock.
    ForRegistry,
}

/// The longest that any call may take.
pub(crate) const LONGEST: Duration = Duration::from_mins(10);

/// The manager behind its lanes.
#[derive(Debug)]
pub(crate) struct Calls {
    manager: Arc<Manager>,
    activity: Activity,
    looks: Lane,
    changes: Lane,
    pulls: Lane,
}

impl Calls {
    pub(crate) fn new(manager: Manager, activity: Activity) -> Self {
        Self {
            manager: Arc::new(manager),
            activity,
            looks: Lane::new(8, 60),
            changes: Lane::new(8, 60),
            pulls: Lane::new(8, LONGEST.as_secs()),
        }
    }

    /// Runs a call to its end, or says that it takes too long; then it goes on unheard.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        waits: Waits,
        call: impl FnOnce(&Manager) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let lane = match waits {
            Waits::Never => &self.looks,
            Waits::ForLock => &self.changes,
            Waits::ForRegistry => &self.pulls,
        };
        let answer = timeout(lane.limit, self.on_thread(lane, call)).await;
        answer.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!(
                "no result after {} seconds; what was begun may still succeed",
                lane.limit.as_secs()
            )))
        })
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        lane: &Lane,
        call: impl FnOnce(&Manager) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let lost = || Status::internal("the call ended without a result: see the daemon's log");
        // Never closed.
        let turn = Arc::clone(&lane.free).acquire_owned().await;
        let turn = turn.map_err(|_| lost())?;
        let (result, answer) = oneshot::channel();
        let (manager, work) = (Arc::clone(&self.manager), self.activity.work());
        let thread = thread::Builder::new().name("call".into());
        let started = thread.spawn(move || {
            // Both belong to the work: whoever asked may be gone before it ends.
            let (_turn, _work) = (turn, work);
            let _ = result.send(call(&manager));
        });
        started.map_err(|error| {
            Status::resource_exhausted(format!("cannot start a thread: {error}"))
        })?;
        answer.await.map_err(|_| lost())
    }
}
