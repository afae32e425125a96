//! From start to end of the daemon.

use std::time::Duration;

use manager::{Manager, report::explain};
use sd_notify::NotifyState;
use tokio::{
    net::{UnixListener, UnixStream},
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::{
    service::{Routes, RoutesBuilder},
    transport::Server,
};
use tonic_health::server::{HealthReporter, health_reporter};

use crate::{
    Args, Error,
    activity::Activity,
    calls,
    connections::counted,
    logger,
    proto::{DESCRIPTORS, bpfman_server::BpfmanServer},
    remote,
    service::Service,
    socket::Sockets,
};

/// Bytes of a request. The largest part of one is what it sets global variables to.
const MESSAGE: usize = 4 << 20;
/// Calls at the same time on one connection.
const STREAMS: u32 = 64;
/// How often a silent connection is asked whether it still is one, and for how long.
const KEEPALIVE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_secs(20));
/// How long unfinished work may hold up the end. A kill after that leaves nothing half done either.
const FINISH: Duration = Duration::from_mins(1);
/// How long answers may take on their way out, and streams that would never end.
const DELIVER: Duration = Duration::from_secs(2);

/// Runs the daemon to its end.
pub fn run(args: &Args) -> Result<(), Error> {
    logger::start(args.verbose, args.quiet);
    // One thread: it only passes on what the threads of the calls do.
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed("start the runtime"))?;
    let ended = runtime.block_on(daemon(args));
    // Not waiting for what was given up.
    runtime.shutdown_background();
    ended
}

fn failed(doing: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Runtime { doing, source }
}

async fn daemon(args: &Args) -> Result<(), Error> {
    // Before anybody can see that there is a daemon, and end it.
    let mut end = End::new()?;
    let sockets = Sockets::open(&args.socket)?;
    end.idle = args.idle(sockets.handed_over);
    let manager = Manager::new(args.options());
    let remote = manager.remote();
    let activity = Activity::default();
    let (health, routes) = routes(Service::new(manager, activity.clone())).await;
    let mut servers = Servers::new(routes, activity.clone());
    for listener in &sockets.listeners {
        servers.unix(listener)?;
    }
    // Whoever is on this machine can be served whatever is wrong with this.
    match remote {
        Ok(None) => {}
        Ok(Some(remote)) => match servers.remote(&remote).await {
            Ok(()) => log::info!("listening on {} as well", remote.listen),
            Err(error) => complain(&error, None),
        },
        Err(error) => complain(&error, error.hint().as_deref()),
    }
    match sockets.path() {
        Some(path) => log::info!("listening on {}", path.display()),
        None => log::info!("listening on the socket that systemd handed over"),
    }
    notify(NotifyState::Ready);
    let why = end.wait(&activity).await;
    log::info!("ending: {why}");
    drop(sockets);
    notify(NotifyState::Stopping);
    health.set_not_serving::<BpfmanServer<Service>>().await;
    servers.finish(&activity).await;
    Ok(())
}

fn complain(error: &dyn std::error::Error, hint: Option<&str>) {
    let mut text = String::new();
    // A String takes everything.
    let _ = explain(&mut text, "no listener for other machines", error, hint);
    log::error!("{}", text.trim_start_matches("error: "));
}

/// Outside of systemd there is nobody to tell.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn!("cannot notify systemd: {error}");
    }
}

async fn routes(service: Service) -> (HealthReporter, Routes) {
    let (reporter, health) = health_reporter();
    reporter.set_serving::<BpfmanServer<Service>>().await;
    let mut routes = RoutesBuilder::default();
    routes.add_service(BpfmanServer::new(service).max_decoding_message_size(MESSAGE));
    routes.add_service(health);
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Older tools ask for the second one. The descriptors are those of this build: a test sees them
    // served.
    if let Ok(reflection) = described().build_v1() {
        routes.add_service(reflection);
    }
    if let Ok(reflection) = described().build_v1alpha() {
        routes.add_service(reflection);
    }
    (reporter, routes.routes())
}

/// What ends the daemon.
struct End {
    terminate: Signal,
    interrupt: Signal,
    idle: Option<Duration>,
}

impl End {
    fn new() -> Result<Self, Error> {
        let on = |kind| signal(kind).map_err(failed("wait for signals"));
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            idle: None,
        })
    }

    async fn wait(&mut self, activity: &Activity) -> String {
        let idle = async {
            match self.idle {
                Some(limit) => activity.idle(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM".into(),
            _ = self.interrupt.recv() => "SIGINT".into(),
            () = idle => format!(
                "nothing was asked for {} seconds",
                self.idle.unwrap_or_default().as_secs()
            ),
        }
    }
}

/// One server a listener, with the same services behind all of them.
struct Servers {
    routes: Routes,
    activity: Activity,
    end: watch::Sender<bool>,
    running: JoinSet<Result<(), tonic::transport::Error>>,
}

impl Servers {
    fn new(routes: Routes, activity: Activity) -> Self {
        Self {
            routes,
            activity,
            end: watch::Sender::new(false),
            running: JoinSet::new(),
        }
    }

    fn builder() -> Server {
        Server::builder()
            .max_concurrent_streams(STREAMS)
            .http2_keepalive_interval(Some(KEEPALIVE.0))
            .http2_keepalive_timeout(Some(KEEPALIVE.1))
            // The calls have limits of their own; this one is for requests that never arrive whole.
            .timeout(calls::LONGEST + Duration::from_secs(10))
    }

    /// Ready at the end.
    fn ended(&self) -> impl Future<Output = ()> + use<> {
        let mut end = self.end.subscribe();
        async move {
            // Also when the sender is gone.
            let _ = end.wait_for(|end| *end).await;
        }
    }

    fn unix(&mut self, listener: &std::os::unix::net::UnixListener) -> Result<(), Error> {
        let listen = || {
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener.try_clone()?)
        };
        let listener = listen().map_err(failed("listen"))?;
        let incoming = counted::<UnixStream>(UnixListenerStream::new(listener));
        let server = Self::builder()
            .layer(self.activity.clone())
            .add_routes(self.routes.clone())
            .serve_with_incoming_shutdown(incoming, self.ended());
        self.running.spawn(server);
        Ok(())
    }

    async fn remote(&mut self, remote: &manager::Remote) -> Result<(), remote::Error> {
        let tls = remote::tls(remote)?;
        let builder = Self::builder().tls_config(tls);
        let builder = builder.map_err(|source| remote::Error::Certificates { source })?;
        let listener = remote::listen(remote).await?;
        let incoming = counted(TcpListenerStream::new(listener));
        let server = builder
            .layer(self.activity.clone())
            .add_routes(self.routes.clone())
            .serve_with_incoming_shutdown(incoming, self.ended());
        self.running.spawn(server);
        Ok(())
    }

    /// Takes no more connections, answers what was asked, and closes.
    async fn finish(mut self, activity: &Activity) {
        self.end.send_replace(true);
        let closed = async { while self.running.join_next().await.is_some() {} };
        // Calls may go on that nobody waits for any more.
        if timeout(FINISH, activity.quiet()).await.is_err() {
            log::warn!("{} requests were not finished", activity.unfinished());
        }
        // A health watch would never end by itself.
        let _ = timeout(DELIVER, closed).await;
    }
}
