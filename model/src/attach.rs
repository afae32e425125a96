//! Where and how a program is attached.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Kind, ProceedOn};

/// The highest priority that the command line takes; 0 runs first.
pub const MAX_PRIORITY: u32 = 1000;

/// Direction of traffic, seen from the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Packets that the interface received.
    Ingress,
    /// Packets that it is about to send.
    Egress,
}

impl Direction {
    /// The command line's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An attach argument that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Not `CATEGORY/NAME`.
    #[error("invalid tracepoint '{0}': write it as CATEGORY/NAME, for example sched/sched_switch")]
    Tracepoint(String),
    /// Neither direction.
    #[error("invalid direction '{0}': use ingress or egress")]
    Direction(String),
    /// Above [`MAX_PRIORITY`].
    #[error("priority {0} is out of range: use 0 (runs first) to {MAX_PRIORITY}")]
    Priority(u32),
    /// An interface name that the kernel cannot have (empty, over 15 bytes, with a slash or a blank).
    #[error("invalid interface name '{0}'")]
    Iface(String),
    /// Neither a function nor an offset.
    #[error("a uprobe needs a function name, an offset, or both")]
    UprobePlace,
    /// The kernel probes a return at the function, never inside it.
    #[error("a return probe takes no offset")]
    ReturnOffset,
}

impl FromStr for Direction {
    type Err = AttachError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Ingress, Self::Egress]
            .into_iter()
            .find(|direction| direction.name() == text)
            .ok_or_else(|| AttachError::Direction(text.to_owned()))
    }
}

/// A trace event, `CATEGORY/NAME` as in tracefs `events/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracepoint {
    /// The folder, such as `sched`.
    pub category: String,
    /// The event in it, such as `sched_switch`.
    pub name: String,
}

impl fmt::Display for Tracepoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.category, self.name)
    }
}

impl FromStr for Tracepoint {
    type Err = AttachError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        match text.split_once('/') {
            Some((category, name)) if plain(category) && plain(name) => Ok(Self {
                category: category.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err(AttachError::Tracepoint(text.to_owned())),
        }
    }
}

/// What the hooks of an interface have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetAttach {
    /// Interface name, as seen in its namespace.
    pub iface: String,
    /// Network namespace: a name below `/run/netns`, or a path. None: the caller's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<PathBuf>,
    /// 0 runs first; of equals the newest runs first.
    pub priority: u32,
}

/// Where and how a program is attached, as the user asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Attach {
    /// See [`Kind::Xdp`].
    Xdp {
        /// Interface and order.
        net: NetAttach,
        /// When the chain goes on after this program.
        proceed_on: ProceedOn,
    },
    /// See [`Kind::Tc`].
    Tc {
        /// Interface and order.
        net: NetAttach,
        /// Side of the interface.
        direction: Direction,
        /// When the chain goes on after this program.
        proceed_on: ProceedOn,
    },
    /// See [`Kind::Tcx`].
    Tcx {
        /// Interface and order.
        net: NetAttach,
        /// Side of the interface.
        direction: Direction,
    },
    /// See [`Kind::Tracepoint`].
    Tracepoint {
        /// The event.
        tracepoint: Tracepoint,
    },
    /// See [`Kind::Kprobe`].
    Kprobe {
        /// Kernel function.
        fn_name: String,
        /// Bytes from its start; 0 with `retprobe`.
        offset: u64,
        /// At its return.
        retprobe: bool,
    },
    /// See [`Kind::Uprobe`].
    Uprobe {
        /// Library name (`libc`, `libc.so.6`) or absolute path.
        target: String,
        /// Function in it; None: `offset` counts from the start of the file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fn_name: Option<String>,
        /// Bytes from the function or the start of the file.
        offset: u64,
        /// At its return.
        retprobe: bool,
        /// Only in this process; None: in all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// Look the target up in the mount namespace of this process (host pid).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        container_pid: Option<u32>,
    },
    /// See [`Kind::Fentry`].
    Fentry {
        /// Kernel function.
        fn_name: String,
    },
    /// See [`Kind::Fexit`].
    Fexit {
        /// Kernel function.
        fn_name: String,
    },
}

impl Attach {
    /// The command that makes such an attachment.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Xdp { .. } => Kind::Xdp,
            Self::Tc { .. } => Kind::Tc,
            Self::Tcx { .. } => Kind::Tcx,
            Self::Tracepoint { .. } => Kind::Tracepoint,
            Self::Kprobe { .. } => Kind::Kprobe,
            Self::Uprobe { .. } => Kind::Uprobe,
            Self::Fentry { .. } => Kind::Fentry,
            Self::Fexit { .. } => Kind::Fexit,
        }
    }

    /// Interface and order, for the hooks of an interface.
    pub const fn net(&self) -> Option<&NetAttach> {
        match self {
            Self::Xdp { net, .. } | Self::Tc { net, .. } | Self::Tcx { net, .. } => Some(net),
            _ => None,
        }
    }

    /// The interface, where there is one, to be changed.
    pub const fn net_mut(&mut self) -> Option<&mut NetAttach> {
        match self {
            Self::Xdp { net, .. } | Self::Tc { net, .. } | Self::Tcx { net, .. } => Some(net),
            _ => None,
        }
    }

    /// Side of the interface, for the hooks that have two.
    pub const fn direction(&self) -> Option<Direction> {
        match self {
            Self::Tc { direction, .. } | Self::Tcx { direction, .. } => Some(*direction),
            _ => None,
        }
    }

    /// When a chain goes on, for the chained kinds.
    pub const fn proceed_on(&self) -> Option<ProceedOn> {
        match self {
            Self::Xdp { proceed_on, .. } | Self::Tc { proceed_on, .. } => Some(*proceed_on),
            _ => None,
        }
    }

    /// It runs when a function returns.
    pub const fn on_return(&self) -> bool {
        matches!(
            self,
            Self::Kprobe { retprobe: true, .. }
                | Self::Uprobe { retprobe: true, .. }
                | Self::Fexit { .. }
        )
    }

    /// Checks what can be checked without the kernel. Each front end calls it once, through the
    /// manager.
    pub fn validate(&self) -> Result<(), AttachError> {
        if let Some(net) = self.net() {
            if net.priority > MAX_PRIORITY {
                return Err(AttachError::Priority(net.priority));
            }
            // dev_valid_name, net/core/dev.c
            let name = net.iface.as_str();
            let bad = |c: char| c == '/' || c == ':' || c.is_whitespace();
            if name.is_empty()
                || name.len() > 15
                || name == "."
                || name == ".."
                || name.contains(bad)
            {
                return Err(AttachError::Iface(net.iface.clone()));
            }
        }
        match self {
            Self::Kprobe {
                offset,
                retprobe: true,
                ..
            }
            | Self::Uprobe {
                fn_name: Some(_),
                offset,
                retprobe: true,
                ..
            } if *offset != 0 => Err(AttachError::ReturnOffset),
            Self::Uprobe {
                fn_name: None,
                offset: 0,
                ..
            } => Err(AttachError::UprobePlace),
            _ => Ok(()),
        }
    }
}
