//! The kernel's program types, by number and by name.

use std::{fmt, str::FromStr};

/// A program type of the kernel (`enum bpf_prog_type`, include/uapi/linux/bpf.h).
///
/// The names are the field's: `tc` for `SCHED_CLS`, `probe` for `KPROBE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
#[allow(missing_docs, reason = "the names are the kernel's own")]
pub enum KernelType {
    Unspec = 0,
    SocketFilter = 1,
    Probe = 2,
    Tc = 3,
    SchedAct = 4,
    Tracepoint = 5,
    Xdp = 6,
    PerfEvent = 7,
    CgroupSkb = 8,
    CgroupSock = 9,
    LwtIn = 10,
    LwtOut = 11,
    LwtXmit = 12,
    SockOps = 13,
    SkSkb = 14,
    CgroupDevice = 15,
    SkMsg = 16,
    RawTracepoint = 17,
    CgroupSockAddr = 18,
    LwtSeg6Local = 19,
    LircMode2 = 20,
    SkReuseport = 21,
    FlowDissector = 22,
    CgroupSysctl = 23,
    RawTracepointWritable = 24,
    CgroupSockopt = 25,
    Tracing = 26,
    StructOps = 27,
    Ext = 28,
    Lsm = 29,
    SkLookup = 30,
    Syscall = 31,
    Netfilter = 32,
    /// A type that is newer than this list.
    Other(u32),
}

const NAMES: [(KernelType, &str); 33] = [
    (KernelType::Unspec, "unspec"),
    (KernelType::SocketFilter, "socket-filter"),
    (KernelType::Probe, "probe"),
    (KernelType::Tc, "tc"),
    (KernelType::SchedAct, "sched-act"),
    (KernelType::Tracepoint, "tracepoint"),
    (KernelType::Xdp, "xdp"),
    (KernelType::PerfEvent, "perf-event"),
    (KernelType::CgroupSkb, "cgroup-skb"),
    (KernelType::CgroupSock, "cgroup-sock"),
    (KernelType::LwtIn, "lwt-in"),
    (KernelType::LwtOut, "lwt-out"),
    (KernelType::LwtXmit, "lwt-xmit"),
    (KernelType::SockOps, "sock-ops"),
    (KernelType::SkSkb, "sk-skb"),
    (KernelType::CgroupDevice, "cgroup-device"),
    (KernelType::SkMsg, "sk-msg"),
    (KernelType::RawTracepoint, "raw-tracepoint"),
    (KernelType::CgroupSockAddr, "cgroup-sock-addr"),
    (KernelType::LwtSeg6Local, "lwt-seg6-local"),
    (KernelType::LircMode2, "lirc-mode2"),
    (KernelType::SkReuseport, "sk-reuseport"),
    (KernelType::FlowDissector, "flow-dissector"),
    (KernelType::CgroupSysctl, "cgroup-sysctl"),
    (KernelType::RawTracepointWritable, "raw-tracepoint-writable"),
    (KernelType::CgroupSockopt, "cgroup-sockopt"),
    (KernelType::Tracing, "tracing"),
    (KernelType::StructOps, "struct-ops"),
    (KernelType::Ext, "ext"),
    (KernelType::Lsm, "lsm"),
    (KernelType::SkLookup, "sk-lookup"),
    (KernelType::Syscall, "syscall"),
    (KernelType::Netfilter, "netfilter"),
];

impl KernelType {
    /// The kernel's number for it.
    pub fn number(self) -> u32 {
        match self {
            Self::Other(number) => number,
            known => NAMES
                .iter()
                .position(|(kind, _)| *kind == known)
                .map_or(0, |n| {
                    // The table has 33 rows.
                    u32::try_from(n).unwrap_or_default()
                }),
        }
    }

    /// The word for the command line, with hyphens; `None` for a type newer than this list.
    pub fn name(self) -> Option<&'static str> {
        NAMES
            .iter()
            .find(|(kind, _)| *kind == self)
            .map(|(_, name)| *name)
    }

    /// The words that `--program-type` takes, in the kernel's order.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(_, name)| *name)
    }
}

impl From<u32> for KernelType {
    fn from(number: u32) -> Self {
        NAMES
            .get(number as usize)
            .map_or(Self::Other(number), |(kind, _)| *kind)
    }
}

impl fmt::Display for KernelType {
    /// With underscores, as tables show it: `cgroup_device`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(&name.replace('-', "_")),
            None => f.pad(&format!("type_{}", self.number())),
        }
    }
}

/// A word that is no program type of the kernel.
#[derive(Debug, thiserror::Error)]
#[error("unknown program type '{0}'")]
pub struct UnknownKernelType(pub String);

impl FromStr for KernelType {
    type Err = UnknownKernelType;

    /// Takes hyphens and underscores alike.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = text.replace('_', "-");
        NAMES
            .iter()
            .find(|(_, name)| *name == wanted)
            .map(|(kind, _)| *kind)
            .ok_or_else(|| UnknownKernelType(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (number, (kind, name)) in NAMES.iter().enumerate() {
            assert_eq!(kind.number() as usize, number, "{name}");
            assert_eq!(KernelType::from(kind.number()), *kind);
            assert_eq!(name.parse::<KernelType>().ok(), Some(*kind));
        }
        assert_eq!(KernelType::Tracing.number(), 26);
        assert_eq!(KernelType::from(99).to_string(), "type_99");
        assert_eq!(KernelType::CgroupDevice.to_string(), "cgroup_device");
    }
}
