//! What the kernel, or the way to it, can refuse.

use std::{io, path::PathBuf};

use model::{Direction, ProgramId};

/// Result of a step in the kernel.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a step in the kernel failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file, folder or pin.
    #[error("cannot {doing} {path}")]
    Path {
        /// Verb: `create`, `pin`, `remove`.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file or folder of ours that somebody else may have put there.
    #[error("{path} is not safe: it {why}")]
    Unsafe {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A question to the kernel that it normally answers.
    #[error("cannot {doing}")]
    Query {
        /// What was asked, fits "cannot …".
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// No such interface.
    #[error("no interface '{iface}' in {namespace}")]
    NoInterface {
        /// As asked for.
        iface: String,
        /// Words for the namespace.
        namespace: String,
        /// A name that is there and looks like it.
        similar: Option<String>,
    },
    /// No such network namespace.
    #[error("no network namespace at {path}")]
    NoNamespace {
        /// Where it was looked for.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something is there, but it is no network namespace.
    #[error("{path} is not a network namespace")]
    NotANamespace {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The namespace cannot be entered.
    #[error("cannot enter the network namespace")]
    EnterNamespace {
        /// What the kernel said.
        source: io::Error,
    },
    /// libbpf cannot use the object.
    #[error("libbpf refuses the object{}", reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
    Object {
        /// libbpf's last words.
        reason: Option<String>,
        /// What it returned.
        source: io::Error,
    },
    /// The verifier did not accept the program.
    #[error("the verifier rejected program '{program}'")]
    Rejected {
        /// Function symbol.
        program: String,
        /// The whole log.
        log: String,
        /// What the kernel returned.
        source: io::Error,
    },
    /// The kernel did not load the program, and the verifier had nothing to say.
    #[error("the kernel refuses to load program '{program}'{}", reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
    Refused {
        /// Function symbol.
        program: String,
        /// libbpf's last words.
        reason: Option<String>,
        /// What the kernel returned.
        source: io::Error,
    },
    /// fentry or fexit on a function that the kernel does not have.
    #[error("no kernel function '{function}' that fentry or fexit can attach to")]
    NoFunction {
        /// As asked for.
        function: String,
        /// libbpf's word for it.
        source: io::Error,
    },
    /// The attachment itself was refused.
    #[error("cannot attach program '{program}' to {to}")]
    Attach {
        /// Function symbol.
        program: String,
        /// Words for the attach point.
        to: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel runs at most 64 programs on one event (`BPF_TRACE_MAX_PROGS`).
    #[error("{event} already runs 64 programs, the most that the kernel takes")]
    EventFull {
        /// Words for the event.
        event: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The hook changed while the new chain was built.
    #[error("cannot put the new chain on {on}")]
    Swap {
        /// Words for the hook.
        on: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A dispatcher without the pins of its programs.
    #[error("the XDP dispatcher {dispatcher} on '{iface}' has no pinned programs below {path}")]
    LostPins {
        /// Its id.
        dispatcher: ProgramId,
        /// Where it runs.
        iface: String,
        /// Where its pins should be.
        path: PathBuf,
    },
    /// egress on an interface that has an ingress qdisc instead of clsact.
    #[error("'{iface}' has an ingress qdisc of somebody else, which has no {direction} side")]
    IngressQdisc {
        /// The interface.
        iface: String,
        /// The side that was asked for.
        direction: Direction,
    },
    /// A map to share differs from the one in the object.
    #[error(
        "map '{map}' cannot be shared: its {property} is {found}, the object asks for {wanted}"
    )]
    MapMismatch {
        /// Map name.
        map: String,
        /// Which property.
        property: &'static str,
        /// The owner's.
        found: String,
        /// The object's.
        wanted: String,
    },
    /// A tracepoint, kprobe or uprobe could not be opened.
    #[error(transparent)]
    Probe(#[from] crate::ProbeError),
    /// A test asked for it.
    #[error("fault point")]
    Fault(#[source] io::Error),
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn path(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Path {
            doing,
            path,
            source,
        }
    }

    /// For `map_err` on questions.
    pub(crate) fn query(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Query { doing, source }
    }

    /// Something that was looked for is not there, or is another process's own affair.
    pub(crate) fn is_absence(&self) -> bool {
        use libc::{EACCES, ENOENT, ENOTDIR, ESRCH};
        matches!(self.errno(), Some(ENOENT | ENOTDIR | ESRCH | EACCES))
    }

    /// The OS error number at the bottom, where there is one.
    pub fn errno(&self) -> Option<i32> {
        let mut cause = Some(self as &(dyn std::error::Error + 'static));
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return crate::netlink::errno(error);
            }
            cause = error.source();
        }
        None
    }
}
