//! What goes on at this moment, and since when nothing does.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{Request, Response};
use tokio::{sync::Notify, time::sleep};
use tonic::Status;
use tower::{Layer, Service};

/// Requests at the same time, over all connections. A refusal costs less than what is waiting.
const REQUESTS: usize = 256;

/// Counts requests and the work that they started, which may outlast them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activity(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    counts: Mutex<Counts>,
    less: Notify,
}

#[derive(Debug)]
struct Counts {
    requests: usize,
    works: usize,
    /// When the last request came or went.
    last: Instant,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            requests: 0,
            works: 0,
            last: Instant::now(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum What {
    Request,
    Work,
}

/// One request or work, until it is dropped.
#[derive(Debug)]
pub(crate) struct Busy {
    activity: Activity,
    what: What,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut counts = self.activity.counts();
        match self.what {
            What::Request => counts.requests -= 1,
            What::Work => counts.works -= 1,
        }
        counts.last = Instant::now();
        drop(counts);
        self.activity.0.less.notify_waiters();
    }
}

impl Activity {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Counting is never left half done.
        let counts = self.0.counts.lock();
        counts.unwrap_or_else(PoisonError::into_inner)
    }

    fn busy(&self, what: What) -> Busy {
        Busy {
            activity: self.clone(),
            what,
        }
    }

    /// A piece of work begins.
    pub(crate) fn work(&self) -> Busy {
        self.counts().works += 1;
        self.busy(What::Work)
    }

    /// A request begins; None when there are too many.
    fn request(&self) -> Option<Busy> {
        let mut counts = self.counts();
        counts.last = Instant::now();
        if counts.requests >= REQUESTS {
            return None;
        }
        counts.requests += 1;
        drop(counts);
        Some(self.busy(What::Request))
    }

    /// Requests and work that have not ended.
    pub(crate) fn unfinished(&self) -> usize {
        let counts = self.counts();
        counts.requests.max(counts.works)
    }

    /// Waits until nothing goes on.
    pub(crate) async fn quiet(&self) {
        loop {
            let less = self.0.less.notified();
            if self.unfinished() == 0 {
                return;
            }
            less.await;
        }
    }

    /// Waits until nothing was asked for so long.
    pub(crate) async fn idle(&self, limit: Duration) {
        loop {
            let since = if self.unfinished() == 0 {
                self.counts().last.elapsed()
            } else {
                Duration::ZERO
            };
            match limit.checked_sub(since) {
                Some(left) if !left.is_zero() => sleep(left).await,
                _ => return,
            }
        }
    }
}

impl<S> Layer<S> for Activity {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            activity: self.clone(),
            inner,
        }
    }
}

/// A service whose requests are counted.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    activity: Activity,
    inner: S,
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>, Future: Send + 'static>,
    S::Error: Send + 'static,
    B: Default + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let Some(busy) = self.activity.request() else {
            let why = format!("bpfman-rpc is at {REQUESTS} requests already: try again later");
            let refusal = Status::resource_exhausted(why).into_http();
            return Box::pin(async { Ok(refusal) });
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let _busy = busy;
            answer.await
        })
    }
}
