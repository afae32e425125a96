//! The five calls: message in, manager, message out, and a line in the log for each change.

use manager::Manager;
use model::ProgramId;
use tonic::{Request, Response, Status};

use crate::{
    activity::Activity,
    answer,
    calls::{Calls, Waits},
    peer::Peer,
    proto::{
        GetRequest, GetResponse, ListRequest, ListResponse, LoadRequest, LoadResponse,
        PullBytecodeRequest, PullBytecodeResponse, UnloadRequest, UnloadResponse,
        bpfman_server::Bpfman,
    },
    request::{self, Wrong},
    status::{short, status},
};

/// Answers the calls.
#[derive(Debug)]
pub(crate) struct Service {
    calls: Calls,
}

impl Service {
    pub(crate) fn new(manager: Manager, activity: Activity) -> Self {
        Self {
            calls: Calls::new(manager, activity),
        }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Bpfman for Service {
    async fn load(&self, request: Request<LoadRequest>) -> Answer<LoadResponse> {
        let peer = Peer::of(&request);
        let request = request::load(request.into_inner());
        let request = request.map_err(|why| refused("load", &why))?;
        let waits = match request.source {
            model::Source::File { .. } => Waits::ForLock,
            model::Source::Image { .. } => Waits::ForRegistry,
        };
        let load = move |manager: &Manager| {
            let loaded = manager.load(&request, &|_| ());
            let doing = format!("load {request}");
            changed(&peer, &doing, loaded, |view| {
                let from = &request.source;
                format!("from {from}: program {}", view.kernel.id)
            })
        };
        let (info, kernel_info) = answer::program(self.calls.run(waits, load).await??);
        Ok(Response::new(LoadResponse { info, kernel_info }))
    }

    async fn unload(&self, request: Request<UnloadRequest>) -> Answer<UnloadResponse> {
        let peer = Peer::of(&request);
        let id = ProgramId(request.get_ref().id);
        let unload = move |manager: &Manager| {
            let failed = manager.unload(&[id]);
            let done = failed.and_then(|failed| match failed.into_iter().next() {
                Some((_, error)) => Err(error),
                None => Ok(()),
            });
            changed(&peer, &format!("unload {id}"), done, |()| "done".into())
        };
        self.calls.run(Waits::ForLock, unload).await??;
        Ok(Response::new(UnloadResponse {}))
    }

    async fn list(&self, request: Request<ListRequest>) -> Answer<ListResponse> {
        let filter = request::list(request.into_inner());
        let list = move |manager: &Manager| manager.list_in_full(&filter);
        let listed = self.calls.run(Waits::Never, list).await?;
        let listed = listed.map_err(|error| status("cannot list programs", &error))?;
        Ok(Response::new(answer::list(listed)))
    }

    async fn pull_bytecode(
        &self,
        request: Request<PullBytecodeRequest>,
    ) -> Answer<PullBytecodeResponse> {
        let peer = Peer::of(&request);
        let request = request::pull(request.into_inner());
        let request = request.map_err(|why| refused("pull", &why))?;
        let pull = move |manager: &Manager| {
            let pulled = manager.image_pull(&request, &|_| ());
            changed(&peer, &format!("pull {}", request.url), pulled, |pulled| {
                format!(
                    "{} from {}",
                    pulled.image.digest,
                    pulled.provenance.from.name()
                )
            })
        };
        self.calls.run(Waits::ForRegistry, pull).await??;
        Ok(Response::new(PullBytecodeResponse {}))
    }

    async fn get(&self, request: Request<GetRequest>) -> Answer<GetResponse> {
        let id = ProgramId(request.get_ref().id);
        let get = move |manager: &Manager| manager.get(id);
        let got = self.calls.run(Waits::Never, get).await?;
        let got = got.map_err(|error| status(&format!("cannot get {id}"), &error))?;
        let (info, kernel_info) = answer::program(got);
        Ok(Response::new(GetResponse { info, kernel_info }))
    }
}

/// A message that is wrong in itself.
fn refused(verb: &str, why: &Wrong) -> Status {
    Status::invalid_argument(short(&format!("cannot {verb}: {why}")))
}

/// Logs who changed what, or tried to, whether or not somebody still waits for the answer.
fn changed<T>(
    peer: &Peer,
    doing: &str,
    done: manager::Result<T>,
    result: impl FnOnce(&T) -> String,
) -> Result<T, Status> {
    match done {
        Ok(done) => {
            log::info!("{peer}: {doing}: {}", result(&done));
            Ok(done)
        }
        Err(error) => {
            let status = status(&format!("cannot {doing}"), &error);
            log::warn!("{peer}: {}", status.message());
            Err(status)
        }
    }
}
