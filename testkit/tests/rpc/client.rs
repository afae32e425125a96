//! tonic's own client, and words for requests.

use std::path::Path;

use daemon::proto::{
    AttachInfo, BytecodeImage, BytecodeLocation, GetRequest, GetResponse, ListRequest,
    ListResponse, LoadRequest, LoadResponse, PullBytecodeRequest, TcxAttachInfo,
    TracepointAttachInfo, UnloadRequest, XdpAttachInfo, attach_info::Info,
    bpfman_client::BpfmanClient, bytecode_location::Location,
};
use testkit::{Load, object, servers::Daemon};
use tokio::runtime::{Builder, Runtime};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

pub(crate) const TRACEPOINT: u32 = 5;
pub(crate) const TC: u32 = 3;
pub(crate) const XDP: u32 = 6;

/// A connection to the daemon, with the thread of the test as its runtime: sandboxes are per
/// thread.
pub(crate) struct Client {
    runtime: Runtime,
    pub(crate) channel: Channel,
}

impl Client {
    #[track_caller]
    pub(crate) fn new() -> Self {
        Self::at(Path::new(Daemon::SOCKET))
    }

    #[track_caller]
    pub(crate) fn at(socket: &Path) -> Self {
        let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display()));
        Self::connect(&endpoint.unwrap()).unwrap()
    }

    pub(crate) fn connect(endpoint: &Endpoint) -> Result<Self, tonic::transport::Error> {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let channel = runtime.block_on(endpoint.connect())?;
        Ok(Self { runtime, channel })
    }

    /// Waits for anything else that this connection is used for.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn raw(&self) -> BpfmanClient<Channel> {
        BpfmanClient::new(self.channel.clone()).max_encoding_message_size(64 << 20)
    }

    pub(crate) fn load(&self, request: LoadRequest) -> Result<LoadResponse, Status> {
        let answer = self.wait(self.raw().load(request));
        answer.map(tonic::Response::into_inner)
    }

    /// It must succeed. Answers the id.
    #[track_caller]
    pub(crate) fn loaded(&self, request: LoadRequest) -> u32 {
        self.load(request).unwrap().kernel_info.unwrap().id
    }

    pub(crate) fn unload(&self, id: u32) -> Result<(), Status> {
        self.wait(self.raw().unload(UnloadRequest { id })).map(drop)
    }

    pub(crate) fn get(&self, id: u32) -> Result<GetResponse, Status> {
        let answer = self.wait(self.raw().get(GetRequest { id }));
        answer.map(tonic::Response::into_inner)
    }

    pub(crate) fn list(&self, request: ListRequest) -> Result<ListResponse, Status> {
        let answer = self.wait(self.raw().list(request));
        answer.map(tonic::Response::into_inner)
    }

    /// Ids of the programs of bpfman.
    #[track_caller]
    pub(crate) fn ids(&self) -> Vec<u32> {
        let listed = self.list(ours()).unwrap();
        let ids = listed.results.into_iter();
        ids.map(|result| result.kernel_info.unwrap().id).collect()
    }

    pub(crate) fn pull(&self, image: BytecodeImage) -> Result<(), Status> {
        let image = Some(image);
        let pull = PullBytecodeRequest { image };
        self.wait(self.raw().pull_bytecode(pull)).map(drop)
    }
}

/// All programs of bpfman.
pub(crate) fn ours() -> ListRequest {
    ListRequest {
        bpfman_programs_only: Some(true),
        ..ListRequest::default()
    }
}

/// An image, if it is not there.
pub(crate) fn image(url: &str) -> BytecodeImage {
    BytecodeImage {
        url: url.into(),
        image_pull_policy: 1,
        ..BytecodeImage::default()
    }
}

/// A program out of a file.
pub(crate) fn request(from: &Load, name: &str, program_type: u32, info: Info) -> LoadRequest {
    let path = from.path.display().to_string();
    LoadRequest {
        bytecode: Some(BytecodeLocation {
            location: Some(Location::File(path)),
        }),
        name: name.into(),
        program_type,
        attach: Some(AttachInfo { info: Some(info) }),
        ..LoadRequest::default()
    }
}

/// The same program out of an image.
pub(crate) fn from_image(mut request: LoadRequest, image: BytecodeImage) -> LoadRequest {
    let location = Some(Location::Image(image));
    request.bytecode = Some(BytecodeLocation { location });
    request
}

/// A program that any kernel can attach many times.
pub(crate) fn tracepoint(event: &str) -> LoadRequest {
    let info = TracepointAttachInfo {
        tracepoint: event.into(),
    };
    let info = Info::TracepointAttachInfo(info);
    request(&object("tracepoint_nobtf"), "", TRACEPOINT, info)
}

/// A program that answers with a verdict and counts.
pub(crate) fn xdp(iface: &str, priority: i32, verdict: u32) -> LoadRequest {
    let info = Info::XdpAttachInfo(XdpAttachInfo {
        priority,
        iface: iface.into(),
        ..XdpAttachInfo::default()
    });
    let mut request = request(&object("xdp_verdict"), "xdp_verdict", XDP, info);
    let verdict = verdict.to_le_bytes().to_vec();
    request.global_data.insert("verdict".into(), verdict);
    request
}

/// A program that counts and lets the next one run.
pub(crate) fn tcx(direction: &str, iface: &str, priority: i32) -> LoadRequest {
    let info = Info::TcxAttachInfo(TcxAttachInfo {
        priority,
        iface: iface.into(),
        direction: direction.into(),
        ..TcxAttachInfo::default()
    });
    let mut request = request(&object("tc_verdict"), "tc_verdict", TC, info);
    let verdict = (-1_i32).to_le_bytes().to_vec();
    request.global_data.insert("verdict".into(), verdict);
    request
}
