//! What this kernel lacks, and what it has but refuses.

use std::{fmt, fs, io, os::fd::AsFd, path::Path};

use libbpf_sys::{
    BPF_F_XDP_HAS_FRAGS, BPF_PROG_TYPE_EXT, BPF_PROG_TYPE_SOCKET_FILTER, BPF_PROG_TYPE_TRACEPOINT,
    BPF_PROG_TYPE_TRACING, BPF_PROG_TYPE_XDP, BPF_TCX_INGRESS, BPF_TRACE_FENTRY,
};
use model::Kind;

use super::{memory_is_limited, missing_privilege};
use crate::{
    release,
    sys::{
        bpf::{self, Target},
        feature::{self as trial, Rejection, Trial},
    },
};

/// A thing that not every kernel can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// bpf(2) itself.
    Bpf,
    /// Types of the kernel at `/sys/kernel/btf/vmlinux`.
    Btf,
    /// Programs that take the place of a function of another: chains are made of them.
    Extension,
    /// The same extension program in a second chain: what each change of a chain does.
    ExtensionReattach,
    /// fentry and fexit.
    Trampoline,
    /// Many traffic control programs on one interface, in the kernel's own order.
    Tcx,
    /// Links that keep a tracepoint, kprobe or uprobe program attached.
    ProbeLink,
    /// Static trace events.
    TraceEvents,
    /// Breakpoints in the kernel.
    Kprobes,
    /// Breakpoints in files.
    Uprobes,
    /// Maps of the type ring buffer.
    RingBuffer,
    /// XDP programs that take packets of several pages.
    XdpFrags,
    /// Extension programs that call programs of the type that they stand for out of an array.
    ExtensionTailCalls,
}

struct Facts {
    what: &'static str,
    since: (u32, u32),
    option: &'static str,
}

impl Feature {
    /// What stops a load of this kind first, in the order in which the kernel needs it.
    pub const fn needed(kind: Kind, chained: bool) -> &'static [Self] {
        match kind {
            Kind::Xdp | Kind::Tc if chained => &[
                Self::Bpf,
                Self::Btf,
                Self::Extension,
                Self::ExtensionReattach,
            ],
            Kind::Xdp | Kind::Tc => &[Self::Bpf],
            Kind::Tcx => &[Self::Bpf, Self::Tcx],
            Kind::Tracepoint => &[Self::Bpf, Self::TraceEvents, Self::ProbeLink],
            Kind::Kprobe => &[Self::Bpf, Self::Kprobes, Self::ProbeLink],
            Kind::Uprobe => &[Self::Bpf, Self::Uprobes, Self::ProbeLink],
            Kind::Fentry | Kind::Fexit => &[Self::Bpf, Self::Btf, Self::Trampoline],
        }
    }

    /// First kernel version (of x86-64, where architectures differ) that has it.
    pub const fn since(self) -> (u32, u32) {
        self.facts().since
    }

    /// The kernel's build option for it.
    pub const fn build_option(self) -> &'static str {
        self.facts().option
    }

    const fn facts(self) -> Facts {
        let (what, since, option) = match self {
            Self::Bpf => ("BPF programs", (4, 4), "CONFIG_BPF_SYSCALL"),
            Self::Btf => ("kernel BTF", (5, 4), "CONFIG_DEBUG_INFO_BTF"),
            Self::Extension => ("BPF extension programs", (5, 6), "CONFIG_BPF_JIT"),
            Self::ExtensionReattach => (
                "re-attachment of BPF extension programs",
                (5, 10),
                "CONFIG_BPF_JIT",
            ),
            // x86-64; arm64 has them since 6.0, riscv64 since 6.3, s390x since 6.3
            Self::Trampoline => (
                "fentry and fexit programs",
                (5, 5),
                "CONFIG_FUNCTION_TRACER",
            ),
            Self::Tcx => ("tcx programs", (6, 6), "CONFIG_NET_XGRESS"),
            Self::ProbeLink => ("BPF links for perf events", (5, 15), "CONFIG_BPF_EVENTS"),
            Self::TraceEvents => ("tracepoint programs", (4, 7), "CONFIG_EVENT_TRACING"),
            Self::Kprobes => ("kprobes", (4, 17), "CONFIG_KPROBE_EVENTS"),
            Self::Uprobes => ("uprobes", (4, 17), "CONFIG_UPROBE_EVENTS"),
            Self::RingBuffer => ("BPF ring buffers", (5, 8), "CONFIG_BPF_SYSCALL"),
            Self::XdpFrags => ("XDP programs with fragments", (5, 18), "CONFIG_BPF_SYSCALL"),
            // `bpf_prog_map_compatible` looks through them; later kernels of 6.1 do so as well.
            Self::ExtensionTailCalls => {
                ("tail calls in chained programs", (6, 2), "CONFIG_BPF_JIT")
            }
        };
        Facts {
            what,
            since,
            option,
        }
    }

    fn verdict(self) -> Verdict {
        match self {
            Self::Bpf => load(BPF_PROG_TYPE_SOCKET_FILTER, 0, 0, 0),
            // Type 1 of the kernel's BTF is no function: a kernel that knows the type and lets
            // us use it has the verifier say so.
            Self::Extension => load(BPF_PROG_TYPE_EXT, 0, 1, 0),
            Self::Trampoline => load(BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY, 1, 0),
            Self::XdpFrags => load(BPF_PROG_TYPE_XDP, 0, 0, BPF_F_XDP_HAS_FRAGS),
            Self::RingBuffer => answer(trial::ring_buffer().map(drop), false),
            Self::Tcx => tcx(),
            Self::ProbeLink => probe_link(),
            Self::Btf => there("/sys/kernel/btf/vmlinux"),
            Self::TraceEvents => there("/sys/bus/event_source/devices/tracepoint"),
            Self::Kprobes => there("/sys/bus/event_source/devices/kprobe"),
            Self::Uprobes => there("/sys/bus/event_source/devices/uprobe"),
            Self::ExtensionReattach | Self::ExtensionTailCalls => match release::name() {
                Some(name) if release::version(&name) < Some(self.since()) => Verdict::Missing,
                _ => Verdict::Unknown,
            },
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.facts().what)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Works,
    Missing,
    Refused,
    Unknown,
}

/// What stands in the way of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The thing.
    pub feature: Feature,
    /// The kernel knows it and refuses it to a caller with every privilege: a policy that it was
    /// built or booted with.
    pub refused: bool,
    /// Release of the running kernel.
    pub release: String,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            feature,
            refused,
            release,
        } = self;
        let (major, minor) = feature.since();
        if *refused {
            write!(
                f,
                "this kernel ({release}) refuses {feature}, to root as well: its own policy"
            )
        } else if release::version(release) < Some((major, minor)) {
            write!(
                f,
                "{feature} need kernel {major}.{minor} or newer; this one is {release}"
            )
        } else {
            let option = feature.build_option();
            write!(
                f,
                "this kernel ({release}) was built without {feature} ({option})"
            )
        }
    }
}

/// The first of these that the kernel lacks or refuses. Each answer costs a few system calls.
///
/// Without privilege, or where no more memory may be locked, the kernel refuses everything: ask
/// [`missing_privilege`] and [`memory_is_limited`] first. Then only what is certainly missing is
/// named here.
pub fn missing_feature(features: &[Feature]) -> Option<Lack> {
    let privileged = missing_privilege().is_none() && !memory_is_limited();
    features.iter().find_map(|&feature| {
        let refused = match feature.verdict() {
            Verdict::Missing => false,
            Verdict::Refused if privileged => true,
            _ => return None,
        };
        Some(Lack {
            feature,
            refused,
            release: release::name().unwrap_or_default(),
        })
    })
}

fn load(program_type: u32, attach_type: u32, btf_id: u32, flags: u32) -> Verdict {
    match trial::load(Trial {
        program_type,
        attach_type,
        btf_id,
        flags,
    }) {
        Ok(_) => Verdict::Works,
        Err(Rejection { error, verified }) => answer(Err(error), verified),
    }
}

/// What an error number says of a trial that nothing else is wrong with.
fn answer(result: io::Result<()>, verified: bool) -> Verdict {
    match result.map_err(|error| error.raw_os_error()) {
        Ok(()) => Verdict::Works,
        Err(_) if verified => Verdict::Works,
        Err(Some(libc::EPERM | libc::EACCES)) => Verdict::Refused,
        Err(Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP)) => Verdict::Missing,
        Err(_) => Verdict::Unknown,
    }
}

/// Asks for the programs of an interface that cannot be there: a kernel that knows the hook
/// looks for the interface.
fn tcx() -> Verdict {
    match bpf::tcx_query(i32::MAX.unsigned_abs(), BPF_TCX_INGRESS) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Verdict::Works,
        result => answer(result.map(drop), false),
    }
}

/// Asks for a link to a file that is no perf event: a kernel that knows such links says so.
fn probe_link() -> Verdict {
    let trial = Trial {
        program_type: BPF_PROG_TYPE_TRACEPOINT,
        ..Trial::default()
    };
    let (Ok(program), Ok(file)) = (trial::load(trial), fs::File::open("/dev/null")) else {
        return Verdict::Unknown;
    };
    match bpf::link_create(program.as_fd(), &Target::PerfEvent(file.as_fd())) {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Verdict::Works,
        result => answer(result.map(drop), false),
    }
}

/// Whether sysfs shows a thing. Without sysfs nobody knows.
fn there(path: &str) -> Verdict {
    if Path::new(path).exists() {
        Verdict::Works
    } else if Path::new("/sys/kernel").exists() {
        Verdict::Missing
    } else {
        Verdict::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(number: i32) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(number))
    }

    #[test]
    fn refused_is_not_missing() {
        assert_eq!(answer(error(libc::EPERM), false), Verdict::Refused);
        assert_eq!(answer(error(libc::EINVAL), false), Verdict::Missing);
        assert_eq!(answer(error(libc::EINVAL), true), Verdict::Works);
        assert_eq!(answer(error(libc::ENOMEM), false), Verdict::Unknown);
        assert_eq!(answer(Ok(()), false), Verdict::Works);
    }

    #[test]
    fn the_three_sentences() {
        let lack = |feature, refused, release: &str| {
            Lack {
                feature,
                refused,
                release: release.to_owned(),
            }
            .to_string()
        };
        assert_eq!(
            lack(Feature::Tcx, false, "6.1.0-13"),
            "tcx programs need kernel 6.6 or newer; this one is 6.1.0-13"
        );
        assert_eq!(
            lack(Feature::Kprobes, false, "6.18.44"),
            "this kernel (6.18.44) was built without kprobes (CONFIG_KPROBE_EVENTS)"
        );
        assert_eq!(
            lack(Feature::Extension, true, "6.18.44"),
            "this kernel (6.18.44) refuses BPF extension programs, to root as well: its own policy"
        );
    }

    #[test]
    fn every_kind_names_what_it_needs() {
        for kind in Kind::ALL {
            for chained in [false, true] {
                assert_eq!(
                    Feature::needed(kind, chained).first(),
                    Some(&Feature::Bpf),
                    "{kind}"
                );
            }
        }
        assert!(Feature::needed(Kind::Xdp, true).contains(&Feature::Extension));
        assert!(!Feature::needed(Kind::Tcx, true).contains(&Feature::Extension));
    }
}
