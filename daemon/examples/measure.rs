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
    let (mut asked, mut called) = (Vec::new(), Vec::new());
    // The first round warms the caches.
    for round in 0..=RUNS {
        let times = (ask(&mut client, object).await?, call(&manager, object)?);
        if round > 0 {
            asked.push(times.0);
            called.push(times.1);
        }
    }
    println!("load {} {}", median(asked), median(called));

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

/// One load through the daemon; the unload is not part of the time.
async fn ask(client: &mut BpfmanClient<Channel>, object: &str) -> Result<Duration> {
    let message = message(object, EVENTS[0]);
    let start = Instant::now();
    let loaded = client.load(message).await?.into_inner();
    let took = start.elapsed();
    let id = loaded.kernel_info.ok_or("no program")?.id;
    client.unload(UnloadRequest { id }).await?;
    Ok(took)
}

/// The same in this process.
fn call(manager: &Manager, object: &str) -> Result<Duration> {
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
    let id: ProgramId = loaded.kernel.id;
    match manager.unload(&[id])?.pop() {
        Some((_, error)) => Err(error.into()),
        None => Ok(took),
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
