//! For `cargo xtask bench`: what a running daemon takes, beside the same calls of the manager in
//! this process. Arguments: the socket, an object with one tracepoint program.
#![expect(clippy::print_stdout, reason = "its output is what the bench reads")]

use std::{
    env,
    error::Error,
    path::PathBuf,
    time::{Duration, Instant},
};

use daemon::proto::{
    AttachInfo, BytecodeLocation, ListRequest, LoadRequest, TracepointAttachInfo, UnloadRequest,
    attach_info::Info, bpfman_client::BpfmanClient, bytecode_location::Location,
};
use manager::{Manager, Options};
use model::{Attach, ProgramId, Source};
use tokio::{runtime::Builder, task::JoinSet};
use tonic::transport::{Channel, Endpoint};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const RUNS: usize = 41;
const PROGRAMS: usize = 100;
const CLIENTS: usize = 8;
const LISTS: usize = 1000;
/// The kernel takes 64 programs on one event; these are hardly ever called.
const EVENTS: [&str; 4] = [
    "syscalls/sys_enter_acct",
    "syscalls/sys_enter_add_key",
    "syscalls/sys_enter_adjtimex",
    "syscalls/sys_enter_chroot",
];

fn main() -> Result<()> {
    let mut args = env::args().skip(1);
    let socket = args.next().ok_or("no socket")?;
    let object = args.next().ok_or("no object")?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(&socket, &object))
}

async fn measure(socket: &str, object: &str) -> Result<()> {
    let endpoint = Endpoint::from_shared(format!("unix:{socket}"))?;
    let mut client = BpfmanClient::new(endpoint.connect().await?);
    let manager = Manager::new(Options::default());
    let (asked, called) = loads(&mut client, &manager, object, 10 * RUNS, 60).await?;
    println!("load {asked} {called}");
    let (asked, called) = loads(&mut client, &manager, object, RUNS, 1).await?;
    println!("load-rested {asked} {called}");

    let mut ids = Vec::new();
    for n in 0..PROGRAMS {
        let loaded = client
            .load(message(object, EVENTS[n % EVENTS.len()]))
            .await?;
        ids.extend(loaded.into_inner().kernel_info.map(|kernel| kernel.id));
    }
    let mut listed = Vec::new();
    for round in 0..=RUNS {
        let (took, programs) = list(&mut client).await?;
        if programs != PROGRAMS {
            return Err(format!("{programs} programs were listed").into());
        }
        if round > 0 {
            listed.push(took);
        }
    }
    println!("list {}", median(listed));
    many(&endpoint).await?;
    for id in ids {
        client.unload(UnloadRequest { id }).await?;
    }
    Ok(())
}

/// Loads by the daemon and here in turn, so many in a row: the kernel takes 64 programs on one event.
/// What ends a row takes the kernel some ten milliseconds, in which processors go to sleep.
async fn loads(
    client: &mut BpfmanClient<Channel>,
    manager: &Manager,
    object: &str,
    rounds: usize,
    row: usize,
) -> Result<(u128, u128)> {
    let (mut asked, mut called) = (Vec::new(), Vec::new());
    let mut loaded = Vec::new();
    // The first round warms the caches.
    for round in 0..=rounds {
        for (times, by_daemon) in [(&mut asked, true), (&mut called, false)] {
            let (took, id) = if by_daemon {
                ask(client, object).await?
            } else {
                call(manager, object)?
            };
            if round > 0 {
                times.push(took);
            }
            loaded.push(id);
            if loaded.len() >= row {
                unload(manager, &mut loaded)?;
            }
        }
    }
    unload(manager, &mut loaded)?;
    Ok((median(asked), median(called)))
}

/// Lists from several clients at once; an error ends everything.
async fn many(endpoint: &Endpoint) -> Result<()> {
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let endpoint = endpoint.clone();
        clients.spawn(async move {
            let mut client = BpfmanClient::new(endpoint.connect().await?);
            for _ in 0..LISTS / CLIENTS {
                list(&mut client).await?;
            }
            Result::Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    println!("many {LISTS} {CLIENTS} {}", start.elapsed().as_micros());
    Ok(())
}

fn message(object: &str, event: &str) -> LoadRequest {
    let tracepoint = event.to_owned();
    let info = Some(Info::TracepointAttachInfo(TracepointAttachInfo {
        tracepoint,
    }));
    LoadRequest {
        bytecode: Some(BytecodeLocation {
            location: Some(Location::File(object.to_owned())),
        }),
        program_type: 5,
        attach: Some(AttachInfo { info }),
        ..LoadRequest::default()
    }
}

/// One load through the daemon.
async fn ask(client: &mut BpfmanClient<Channel>, object: &str) -> Result<(Duration, ProgramId)> {
    let message = message(object, EVENTS[0]);
    let start = Instant::now();
    let loaded = client.load(message).await?.into_inner();
    let took = start.elapsed();
    let id = loaded.kernel_info.ok_or("no program")?.id;
    Ok((took, ProgramId(id)))
}

/// The same in this process.
fn call(manager: &Manager, object: &str) -> Result<(Duration, ProgramId)> {
    let request = manager::LoadRequest {
        source: Source::File {
            path: PathBuf::from(object),
        },
        registry_auth: None,
        name: None,
        globals: std::collections::BTreeMap::new(),
        metadata: std::collections::BTreeMap::new(),
        map_owner_id: None,
        attach: Attach::Tracepoint {
            tracepoint: EVENTS[0].parse()?,
        },
    };
    let start = Instant::now();
    let loaded = manager.load(&request, &|_| ())?;
    let took = start.elapsed();
    Ok((took, loaded.kernel.id))
}

fn unload(manager: &Manager, loaded: &mut Vec<ProgramId>) -> Result<()> {
    match manager.unload(&std::mem::take(loaded))?.pop() {
        Some((_, error)) => Err(error.into()),
        None => Ok(()),
    }
}

async fn list(client: &mut BpfmanClient<Channel>) -> Result<(Duration, usize)> {
    let request = ListRequest {
        bpfman_programs_only: Some(true),
        ..ListRequest::default()
    };
    let start = Instant::now();
    let listed = client.list(request).await?.into_inner();
    Ok((start.elapsed(), listed.results.len()))
}

/// In microseconds.
fn median(mut times: Vec<Duration>) -> u128 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0, Duration::as_micros)
}
