//! What can go wrong, and what a front end makes of it.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytecode::image::ImageError;
use kernel::ProbeError;
use libc::{EACCES, EBUSY, EEXIST, EPERM};
use model::{Attach, AttachError, Kind, ProgramId, SLOTS};

/// Result of a verb.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds that front ends map to exit codes and gRPC codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was named does not exist.
    NotFound,
    /// The request can never work.
    Invalid,
    /// It contradicts what is there now.
    Conflict,
    /// This kernel cannot do it.
    Unsupported,
    /// The caller may not do it.
    Permission,
    /// Somebody else is at it; trying again may help.
    Busy,
    /// Something outside of us failed.
    External,
    /// A defect of ours.
    Internal,
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such program.
    #[error("no program with id {0} is loaded")]
    NoProgram(ProgramId),
    /// The load is done; only what came of it cannot be told.
    #[error("program {id} is loaded, but what it is cannot be told")]
    NotShown {
        /// Its id.
        id: ProgramId,
        /// Why.
        source: Box<Self>,
    },
    /// Only programs of ours can be unloaded.
    #[error("program {id} ('{name}') was not loaded by bpfman")]
    NotOurs {
        /// Its id.
        id: ProgramId,
        /// The kernel's name for it.
        name: String,
    },
    /// The object is no good, or not for this request.
    #[error("cannot use {from}: {source}")]
    Object {
        /// The object file or image, in words.
        from: String,
        /// What is wrong with it. Part of the message: it says what on earth is the matter.
        source: bytecode::Error,
    },
    /// A step with images.
    #[error(transparent)]
    Image(bytecode::Error),
    /// A metadata key that only manifests set.
    #[error(
        "the metadata key '{0}' is one by which bpfman knows the programs of manifests: use \
         another key, or 'bpfman apply'"
    )]
    ReservedKey(String),
    /// The attach arguments contradict themselves.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A step in the kernel.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// The caller lacks privilege for any step.
    #[error("bpfman needs root, or {}", missing.join(" + "))]
    Privilege {
        /// Capabilities that are missing.
        missing: Vec<&'static str>,
        /// The step that failed.
        #[source]
        source: Box<Self>,
    },
    /// The kernel lacks what the program needs.
    #[error("{lack}")]
    Unsupported {
        /// What, and since which version.
        lack: kernel::Lack,
        /// The step that failed.
        source: Box<Self>,
    },
    /// All slots are taken.
    #[error("{hook} already runs {SLOTS} programs, the most that a chain can hold")]
    ChainFull {
        /// Words for the hook.
        hook: String,
    },
    /// A program of somebody else is attached without a dispatcher.
    #[error("{hook} runs program {id} ('{name}') of somebody else, which is not part of a chain")]
    Foreign {
        /// Words for the hook.
        hook: String,
        /// Its id.
        id: ProgramId,
        /// The kernel's name for it.
        name: String,
    },
    /// One program is attached directly, a second one would need a chain.
    #[error(
        "{hook} runs program {id} directly and cannot take a second one: this kernel refuses \
         extension programs (BPF_PROG_TYPE_EXT), of which chains are made"
    )]
    NoChain {
        /// Words for the hook.
        hook: String,
        /// The program that is there.
        id: ProgramId,
        /// What was asked for.
        kind: Kind,
    },
    /// A chained program must be described by BTF.
    #[error("program '{program}' in {from} has no BTF, which the kernel needs to chain it")]
    NeedsBtf {
        /// Function symbol.
        program: String,
        /// The object file or image, in words.
        from: String,
    },
    /// No program whose maps could be shared.
    #[error("no program {0} of bpfman whose maps could be shared")]
    NoMapOwner(ProgramId),
    /// The owner has none of the maps that the program uses.
    #[error(
        "program {owner} owns no map that '{program}' uses: it has {}, the program uses {}",
        list(has),
        list(uses)
    )]
    NothingShared {
        /// The owner.
        owner: ProgramId,
        /// Function symbol.
        program: String,
        /// The owner's maps.
        has: Vec<String>,
        /// The program's maps.
        uses: Vec<String>,
    },
    /// An argument of `load` that can never work.
    #[error("{0}")]
    Invalid(&'static str),
    /// Manifests contradict each other.
    #[error("{0}")]
    Manifest(String),
    /// The program whose maps are to be shared could not be loaded.
    #[error("{0}, whose maps it shares, could not be loaded")]
    OwnerFailed(manifest::Identity),
    /// The list of programs cannot be written as manifests.
    #[error("cannot write manifests")]
    Export {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Waiting for changes.
    #[error("cannot wait for {what}")]
    Wait {
        /// For what.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file of ours.
    #[error("cannot {doing} {path}")]
    File {
        /// Verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state document of another version of bpfman.
    #[error(
        "{path} has version {version}; this bpfman knows version {} only",
        crate::state::VERSION
    )]
    StateVersion {
        /// The document.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The state document cannot be read.
    #[error("{path} is damaged")]
    DamagedState {
        /// The document.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The state cannot be written down.
    #[error("cannot encode the state")]
    Encode {
        /// Why.
        source: serde_json::Error,
    },
    /// The configuration is there and cannot be read.
    #[error("cannot read the configuration {path}")]
    ReadConfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration does not parse.
    #[error("line {line} of the configuration {path} is wrong")]
    Config {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser said, with the key.
        source: Box<toml::de::Error>,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

impl Error {
    pub(crate) fn file(
        doing: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::File {
            doing,
            path,
            source,
        }
    }

    /// Turns a refusal that comes from missing privilege into one clear error.
    pub(crate) fn or_privilege(self) -> Self {
        if !is_denied(&self) {
            return self;
        }
        match kernel::missing_privilege() {
            Some(missing) => Self::Privilege {
                missing,
                source: Box::new(self),
            },
            None if kernel::lacks_sys_admin() => Self::Privilege {
                missing: vec!["CAP_SYS_ADMIN"],
                source: Box::new(self),
            },
            None => self,
        }
    }

    /// The kind, for exit codes.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoProgram(_) | Self::NoMapOwner(_) => ErrorKind::NotFound,
            Self::Object { source, .. } | Self::Image(source) => kind_of_bytecode(source),
            Self::Attach(_)
            | Self::ReservedKey(_)
            | Self::Invalid(_)
            | Self::NeedsBtf { .. }
            | Self::Config { .. } => ErrorKind::Invalid,
            Self::NotOurs { .. }
            | Self::ChainFull { .. }
            | Self::Foreign { .. }
            | Self::NothingShared { .. }
            | Self::Manifest(_)
            | Self::OwnerFailed(_)
            | Self::StateVersion { .. } => ErrorKind::Conflict,
            Self::NoChain { .. } | Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Privilege { .. } => ErrorKind::Permission,
            Self::File { source, .. }
            | Self::ReadConfig { source, .. }
            | Self::Wait { source, .. } => kind_of_io(source),
            Self::DamagedState { .. } | Self::Encode { .. } | Self::Export { .. } => {
                ErrorKind::Internal
            }
            Self::Kernel(error) => kind_of_kernel(error),
            Self::NotShown { source, .. } => source.kind(),
        }
    }

    /// What the user can do about it, one sentence.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Object { source, .. } | Self::Image(source) => source.hint(),
            Self::Kernel(error) => hint_of_kernel(error),
            Self::NotShown { id, .. } => Some(format!("bpfman get {id}")),
            Self::NotOurs { .. } => Some("unload it with the tool that loaded it".into()),
            Self::ChainFull { .. } => Some("unload one of them first: bpfman list".into()),
            Self::Foreign { .. } => {
                Some("detach it first, or load it with bpfman or xdp-loader to chain it".into())
            }
            Self::NoChain { kind: Kind::Tc, .. } => Some(
                "unload the first one, or load the programs as tcx, which takes many here".into(),
            ),
            Self::NoChain { .. } => {
                Some("unload the first one, or use a kernel that allows extension programs".into())
            }
            Self::NeedsBtf { .. } => Some("compile the object with clang -g".into()),
            Self::NoMapOwner(_) => Some("bpfman list shows the programs that are loaded".into()),
            Self::StateVersion { path, .. } => Some(format!(
                "use the bpfman that wrote it, or reboot, which unloads all programs and makes {} \
                 worthless",
                path.display()
            )),
            Self::DamagedState { .. } => {
                Some("the programs keep running; a reboot clears everything".into())
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Some("--runtime-dir names another runtime root".into())
            }
            _ => None,
        }
    }

    /// The verifier's whole log, where it rejected the program.
    pub fn verifier_log(&self) -> Option<&str> {
        match self {
            Self::Kernel(kernel::Error::Rejected { log, .. }) => Some(log),
            _ => None,
        }
    }
}

fn is_denied(error: &Error) -> bool {
    let denied = |source: &io::Error| source.kind() == io::ErrorKind::PermissionDenied;
    match error {
        Error::File { source, .. }
        | Error::Object {
            source: bytecode::Error::Image(ImageError::Store { source, .. }),
            ..
        }
        | Error::Image(bytecode::Error::Image(ImageError::Store { source, .. })) => denied(source),
        Error::Kernel(kernel::Error::Probe(probe)) => probe.is_denied(),
        Error::Kernel(kernel::Error::Rejected { .. }) => false,
        Error::Kernel(error) => matches!(error.errno(), Some(EPERM | EACCES)),
        _ => false,
    }
}

fn kind_of_io(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Permission,
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::External,
    }
}

fn kind_of_bytecode(error: &bytecode::Error) -> ErrorKind {
    match error {
        bytecode::Error::Image(error) => kind_of_image(error),
        bytecode::Error::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Invalid,
    }
}

fn kind_of_image(error: &ImageError) -> ErrorKind {
    use ImageError as I;
    match error {
        I::GaveUp { source, .. } | I::Nowhere { source, .. } => kind_of_image(source),
        I::Held { source, .. } => kind_of_bytecode(source),
        I::NotStored | I::NotListed | I::NotFound { .. } => ErrorKind::NotFound,
        I::Unauthorized { .. } | I::Denied { .. } | I::Unsafe { .. } => ErrorKind::Permission,
        I::Throttled { .. } => ErrorKind::Busy,
        I::Store { source, .. } => kind_of_io(source),
        I::NoHost { .. }
        | I::Unreachable { .. }
        | I::Timeout { .. }
        | I::TooSlow { .. }
        | I::Certificate { .. }
        | I::NoTls { .. }
        | I::CertificateFile { .. }
        | I::NoRoots { .. }
        | I::Status { .. }
        | I::Redirects { .. }
        | I::RedirectTarget { .. }
        | I::RedirectAsks { .. }
        | I::Protocol { .. }
        | I::Cut { .. }
        | I::Write { .. }
        | I::Credentials { .. }
        | I::Helper { .. }
        | I::Runtime { .. }
        | I::Archive { .. }
        | I::Damaged { .. } => ErrorKind::External,
        _ => ErrorKind::Invalid,
    }
}

fn kind_of_kernel(error: &kernel::Error) -> ErrorKind {
    use kernel::Error as K;
    match error {
        K::EventFull { .. }
        | K::MapMismatch { .. }
        | K::IngressQdisc { .. }
        | K::LostPins { .. } => ErrorKind::Conflict,
        K::Probe(ProbeError::Missing { .. } | ProbeError::NotProbeable { .. }) => {
            ErrorKind::Unsupported
        }
        K::NotANamespace { .. }
        | K::Object { .. }
        | K::Rejected { .. }
        | K::Probe(
            ProbeError::KernelOffset { .. }
            | ProbeError::InsideInstruction { .. }
            | ProbeError::AmbiguousFunction { .. }
            | ProbeError::Elf { .. }
            | ProbeError::Offset { .. }
            | ProbeError::NotCode { .. },
        ) => ErrorKind::Invalid,
        K::Unsafe { .. } => ErrorKind::Permission,
        K::Probe(error) if error.is_denied() => ErrorKind::Permission,
        K::NoInterface { .. } | K::NoNamespace { .. } | K::NoFunction { .. } | K::Probe(_) => {
            ErrorKind::NotFound
        }
        K::Swap { .. } if matches!(error.errno(), Some(EBUSY | EEXIST)) => ErrorKind::Busy,
        _ => match error.errno() {
            Some(EPERM | EACCES) => ErrorKind::Permission,
            _ => ErrorKind::External,
        },
    }
}

fn hint_of_kernel(error: &kernel::Error) -> Option<String> {
    use kernel::Error as K;
    match error {
        K::Probe(error) => error.hint(),
        K::Unsafe { .. } => {
            Some("remove it, or make it yours alone with chown and chmod go-rwx".into())
        }
        K::NoInterface {
            similar: Some(similar),
            ..
        } => Some(format!("did you mean '{similar}'?")),
        K::NoInterface { .. } => {
            Some("ip link shows the interfaces; --netns names another namespace".into())
        }
        K::NoNamespace { .. } => Some("ip netns list shows the named ones".into()),
        K::NoFunction { function, .. } => Some(match kernel::did_you_mean_function(function) {
            Some(similar) => format!("did you mean '{similar}'?"),
            None => "only functions in the kernel's BTF can be traced this way".into(),
        }),
        K::Swap { .. } if error.errno() == Some(EBUSY) => {
            Some("somebody else's program holds it: bpftool net show and bpftool link show".into())
        }
        K::Swap { .. } if error.errno() == Some(EEXIST) => {
            Some("somebody else changed it at the same moment: try again".into())
        }
        K::LostPins { iface, .. } => Some(format!(
            "ip link set dev {iface} xdp off takes it off the interface; then load again"
        )),
        K::Object { .. } | K::Refused { .. } | K::Rejected { .. }
            if error.errno() == Some(EPERM) && kernel::memory_is_limited() =>
        {
            let what = "this kernel counts programs as locked memory";
            let remedy = "raise the limit (ulimit -l unlimited), or add CAP_SYS_RESOURCE";
            Some(format!("{what}: {remedy}"))
        }
        _ => None,
    }
}

/// Words for where a program is attached, for messages.
pub(crate) fn describe(attach: &Attach) -> String {
    match attach {
        Attach::Xdp { net, .. } => format!("the XDP hook of '{}'", net.iface),
        Attach::Tc { net, direction, .. } => {
            format!("the TC {direction} hook of '{}'", net.iface)
        }
        Attach::Tcx { net, direction } => format!("the TCX {direction} hook of '{}'", net.iface),
        Attach::Tracepoint { tracepoint } => format!("tracepoint {tracepoint}"),
        Attach::Kprobe { fn_name, .. } => format!("kernel function {fn_name}"),
        Attach::Uprobe {
            target, fn_name, ..
        } => match fn_name {
            Some(fn_name) => format!("function {fn_name} of {target}"),
            None => target.clone(),
        },
        Attach::Fentry { fn_name } => format!("the entry of kernel function {fn_name}"),
        Attach::Fexit { fn_name } => format!("the exit of kernel function {fn_name}"),
    }
}
