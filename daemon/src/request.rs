//! From messages to what the manager is asked for.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use manager::{ListFilter, LoadRequest, PullRequest};
use model::{
    Attach, AttachError, ImageReference, KernelType, Kind, NetAttach, ProceedOn, ProgramId,
    PullPolicy, ReferenceError, RegistryAuth, Source, UnknownValue,
};

use crate::proto::{self, attach_info::Info, bytecode_location::Location};

/// By this key clients of the v0.5 line find their programs.
pub(crate) const UUID: &str = "bpfman.io/uuid";

/// A message that can never work. The names are those of the fields.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("no bytecode: set bytecode.image or bytecode.file")]
    NoBytecode,
    #[error("no image: set image.url")]
    NoImage,
    #[error("nothing to attach to: set the message in attach that fits the program type")]
    NoAttach,
    #[error(
        "program_type {given} does not fit {kind}_attach_info: set {}",
        kind.kernel_type().number()
    )]
    Type { given: u32, kind: Kind },
    #[error("{field} '{}' is relative, which says nothing to a daemon: give an absolute path", path.display())]
    Relative { field: &'static str, path: PathBuf },
    #[error("{field} is {value}: it cannot be negative")]
    Negative { field: &'static str, value: i32 },
    #[error("image_pull_policy {0} is unknown: use 0 (Always), 1 (IfNotPresent) or 2 (Never)")]
    Policy(i32),
    #[error("username and password belong together: set both or none")]
    HalfAuth,
    #[error(
        "container_pid is not supported for kprobes: a kernel function is the same for all \
         containers"
    )]
    KprobeContainer,
    #[error("a key of metadata is empty")]
    EmptyKey,
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error("proceed_on: {0}")]
    ProceedOn(#[from] UnknownValue),
    #[error("image.url: {0}")]
    Reference(#[from] ReferenceError),
}

type Result<T> = std::result::Result<T, Wrong>;

/// What to load.
pub(crate) fn load(message: proto::LoadRequest) -> Result<LoadRequest> {
    let info = message.attach.and_then(|attach| attach.info);
    let attach = attach(info.ok_or(Wrong::NoAttach)?)?;
    let kind = attach.kind();
    if message.program_type != kind.kernel_type().number() {
        return Err(Wrong::Type {
            given: message.program_type,
            kind,
        });
    }
    let location = message.bytecode.and_then(|bytecode| bytecode.location);
    let (source, registry_auth) = match location.ok_or(Wrong::NoBytecode)? {
        Location::File(path) => {
            let path = absolute("bytecode.file", path)?;
            (Source::File { path }, None)
        }
        Location::Image(image) => {
            let PullRequest {
                url,
                policy: pull_policy,
                registry_auth,
            } = image_request(image)?;
            (Source::Image { url, pull_policy }, registry_auth)
        }
    };
    Ok(LoadRequest {
        source,
        registry_auth,
        name: filled(Some(message.name)),
        globals: message.global_data,
        metadata: metadata(message.metadata, message.uuid)?,
        map_owner_id: message.map_owner_id.map(ProgramId),
        attach,
    })
}

/// What to pull.
pub(crate) fn pull(message: proto::PullBytecodeRequest) -> Result<PullRequest> {
    image_request(message.image.ok_or(Wrong::NoImage)?)
}

/// What to list.
pub(crate) fn list(message: proto::ListRequest) -> ListFilter {
    ListFilter {
        all: !message.bpfman_programs_only.unwrap_or(false),
        kind: message.program_type.map(KernelType::from),
        metadata: message.match_metadata,
    }
}

fn image_request(image: proto::BytecodeImage) -> Result<PullRequest> {
    if image.url.is_empty() {
        return Err(Wrong::NoImage);
    }
    let policy = match image.image_pull_policy {
        0 => PullPolicy::Always,
        1 => PullPolicy::IfNotPresent,
        2 => PullPolicy::Never,
        other => return Err(Wrong::Policy(other)),
    };
    let registry_auth = match (filled(image.username), filled(image.password)) {
        (Some(user), Some(password)) => Some(RegistryAuth::new(user, password)),
        (None, None) => None,
        _ => return Err(Wrong::HalfAuth),
    };
    Ok(PullRequest {
        url: image.url.parse::<ImageReference>()?,
        policy,
        registry_auth,
    })
}

/// Whoever sets both says with the pair what the key is to hold.
fn metadata(
    mut metadata: BTreeMap<String, String>,
    uuid: Option<String>,
) -> Result<BTreeMap<String, String>> {
    if metadata.contains_key("") {
        return Err(Wrong::EmptyKey);
    }
    if let Some(uuid) = filled(uuid) {
        metadata.entry(UUID.into()).or_insert(uuid);
    }
    Ok(metadata)
}

/// Clients leave out a text by not setting it, or by setting it to nothing.
fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn absolute(field: &'static str, path: String) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(Wrong::Relative { field, path })
    }
}

fn unsigned(field: &'static str, value: i32) -> Result<u32> {
    u32::try_from(value).map_err(|_| Wrong::Negative { field, value })
}

pub(crate) fn attach(info: Info) -> Result<Attach> {
    let attach = match info {
        Info::XdpAttachInfo(info) => Attach::Xdp {
            net: net(info.iface, info.netns, info.priority)?,
            proceed_on: proceed_on(Kind::Xdp, info.proceed_on)?,
        },
        Info::TcAttachInfo(info) => Attach::Tc {
            net: net(info.iface, info.netns, info.priority)?,
            direction: info.direction.parse()?,
            proceed_on: proceed_on(Kind::Tc, info.proceed_on)?,
        },
        Info::TcxAttachInfo(info) => Attach::Tcx {
            net: net(info.iface, info.netns, info.priority)?,
            direction: info.direction.parse()?,
        },
        Info::TracepointAttachInfo(info) => Attach::Tracepoint {
            tracepoint: info.tracepoint.parse()?,
        },
        Info::KprobeAttachInfo(info) => kprobe(info)?,
        Info::UprobeAttachInfo(info) => uprobe(info)?,
        Info::FentryAttachInfo(info) => Attach::Fentry {
            fn_name: info.fn_name,
        },
        Info::FexitAttachInfo(info) => Attach::Fexit {
            fn_name: info.fn_name,
        },
    };
    attach.validate()?;
    Ok(attach)
}

fn net(iface: String, netns: Option<String>, priority: i32) -> Result<NetAttach> {
    let netns = filled(netns).map(|netns| {
        // A bare name stands for a file below /run/netns.
        if netns.contains('/') || Path::new(&netns).file_name().is_none() {
            absolute("netns", netns)
        } else {
            Ok(netns.into())
        }
    });
    Ok(NetAttach {
        iface,
        netns: netns.transpose()?,
        priority: unsigned("priority", priority)?,
    })
}

fn proceed_on(kind: Kind, values: Vec<i32>) -> Result<ProceedOn> {
    if values.is_empty() {
        return Ok(ProceedOn::default_of(kind));
    }
    Ok(ProceedOn::from_values(kind, values)?)
}

fn kprobe(info: proto::KprobeAttachInfo) -> Result<Attach> {
    if info.container_pid.is_some() {
        return Err(Wrong::KprobeContainer);
    }
    Ok(Attach::Kprobe {
        fn_name: info.fn_name,
        offset: info.offset,
        retprobe: info.retprobe,
    })
}

fn uprobe(info: proto::UprobeAttachInfo) -> Result<Attach> {
    let pid = |field, pid: Option<i32>| pid.map(|pid| unsigned(field, pid)).transpose();
    let target = if info.target.contains('/') {
        absolute("target", info.target.clone()).map(|_| info.target)?
    } else {
        info.target
    };
    Ok(Attach::Uprobe {
        target,
        fn_name: filled(info.fn_name),
        offset: info.offset,
        retprobe: info.retprobe,
        pid: pid("pid", info.pid)?,
        container_pid: pid("container_pid", info.container_pid)?,
    })
}
