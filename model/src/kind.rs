//! The ONE table of what can be loaded: command name, kernel type, ELF sections.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Attach, Direction, KernelType};

/// What a user loads a program as: the word after `load file …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// On the receive path of an interface, in a chain.
    Xdp,
    /// Traffic control, in a chain.
    Tc,
    /// Traffic control in the kernel's own multi-program order (kernel ≥ 6.6).
    Tcx,
    /// A static trace event of the kernel.
    Tracepoint,
    /// Entry or return of a kernel function, by breakpoint.
    Kprobe,
    /// Entry or return of a user-space function, by breakpoint.
    Uprobe,
    /// Entry of a kernel function, by BTF trampoline.
    Fentry,
    /// Exit of a kernel function, by BTF trampoline.
    Fexit,
}

/// A section name that libbpf takes (`section_defs` of libbpf.c), and what it says of the program.
///
/// `prefix` fits a section of exactly that name, and one that goes on with `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// The name up to the first slash that is not part of it.
    pub prefix: &'static str,
    /// The command that loads it.
    pub kind: Kind,
    /// It is written for the return of a function.
    pub on_return: bool,
    /// It is written for one direction of traffic.
    pub direction: Option<Direction>,
}

const fn section(prefix: &'static str, kind: Kind) -> Section {
    Section {
        prefix,
        kind,
        on_return: false,
        direction: None,
    }
}

const fn on_return(prefix: &'static str, kind: Kind) -> Section {
    Section {
        prefix,
        kind,
        on_return: true,
        direction: None,
    }
}

const fn directed(prefix: &'static str, direction: Direction) -> Section {
    Section {
        prefix,
        kind: Kind::Tcx,
        on_return: false,
        direction: Some(direction),
    }
}

/// Longer prefixes stand before the shorter ones that they begin with.
const SECTIONS: &[Section] = &[
    section("xdp.frags", Kind::Xdp),
    section("xdp", Kind::Xdp),
    directed("tcx/ingress", Direction::Ingress),
    directed("tcx/egress", Direction::Egress),
    directed("tc/ingress", Direction::Ingress),
    directed("tc/egress", Direction::Egress),
    section("tcx", Kind::Tcx),
    section("tc", Kind::Tc),
    section("classifier", Kind::Tc),
    section("tracepoint", Kind::Tracepoint),
    section("tp", Kind::Tracepoint),
    section("kprobe.multi", Kind::Kprobe),
    section("kprobe", Kind::Kprobe),
    section("ksyscall", Kind::Kprobe),
    on_return("kretprobe.multi", Kind::Kprobe),
    on_return("kretprobe", Kind::Kprobe),
    on_return("kretsyscall", Kind::Kprobe),
    section("uprobe.multi.s", Kind::Uprobe),
    section("uprobe.multi", Kind::Uprobe),
    section("uprobe.s", Kind::Uprobe),
    section("uprobe", Kind::Uprobe),
    on_return("uretprobe.multi.s", Kind::Uprobe),
    on_return("uretprobe.multi", Kind::Uprobe),
    on_return("uretprobe.s", Kind::Uprobe),
    on_return("uretprobe", Kind::Uprobe),
    section("fentry.s", Kind::Fentry),
    section("fentry", Kind::Fentry),
    section("fexit.s", Kind::Fexit),
    section("fexit", Kind::Fexit),
];

/// Sections of the same kernel type as one of ours that cannot be attached the same way.
const NOT_ATTACHABLE: &[&str] = &[
    "xdp/devmap",
    "xdp/cpumap",
    "xdp.frags/devmap",
    "xdp.frags/cpumap",
];

/// Why a section does not fit what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// No command loads such a section.
    Unknown,
    /// Another command loads it.
    OtherKind(Kind),
    /// It is written for the return of a function, the request is for its entry.
    OnReturn,
    /// It is written for the other direction.
    OtherDirection(Direction),
}

impl Section {
    /// What an ELF section name says of the program in it; none when no command of ours loads it.
    pub fn find(name: &str) -> Option<&'static Self> {
        // Sections such as "?xdp" ask libbpf not to load the program by default.
        let name = name.strip_prefix('?').unwrap_or(name);
        if NOT_ATTACHABLE.contains(&name) {
            return None;
        }
        SECTIONS.iter().find(|section| {
            name.strip_prefix(section.prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

impl Kind {
    /// All kinds, in the order of the help.
    pub const ALL: [Self; 8] = [
        Self::Xdp,
        Self::Tc,
        Self::Tcx,
        Self::Tracepoint,
        Self::Kprobe,
        Self::Uprobe,
        Self::Fentry,
        Self::Fexit,
    ];

    /// The command's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tc => "tc",
            Self::Tcx => "tcx",
            Self::Tracepoint => "tracepoint",
            Self::Kprobe => "kprobe",
            Self::Uprobe => "uprobe",
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
        }
    }

    /// The kernel's program type as the user knows it: a chained program is an extension
    /// program in the kernel, and still shown as this.
    pub const fn kernel_type(self) -> KernelType {
        match self {
            Self::Xdp => KernelType::Xdp,
            Self::Tc | Self::Tcx => KernelType::Tc,
            Self::Tracepoint => KernelType::Tracepoint,
            Self::Kprobe | Self::Uprobe => KernelType::Probe,
            Self::Fentry | Self::Fexit => KernelType::Tracing,
        }
    }

    /// Whether a section of the kind `declared` can be loaded as `self`: tc and tcx programs
    /// are the same to the kernel.
    pub const fn takes(self, declared: Self) -> bool {
        matches!(
            (self, declared),
            (Self::Tc | Self::Tcx, Self::Tc | Self::Tcx)
                | (Self::Xdp, Self::Xdp)
                | (Self::Tracepoint, Self::Tracepoint)
                | (Self::Kprobe, Self::Kprobe)
                | (Self::Uprobe, Self::Uprobe)
                | (Self::Fentry, Self::Fentry)
                | (Self::Fexit, Self::Fexit)
        )
    }

    /// Whether a program of the ELF section `name` may be loaded as this kind.
    pub fn accepts(self, name: &str) -> bool {
        Section::find(name).is_some_and(|section| self.takes(section.kind))
    }
}

impl Attach {
    /// Whether a program of the ELF section `name` may be attached like this.
    pub fn fits(&self, name: &str) -> Result<(), Misfit> {
        let section = Section::find(name).ok_or(Misfit::Unknown)?;
        if !self.kind().takes(section.kind) {
            return Err(Misfit::OtherKind(section.kind));
        }
        // A plain probe may well be attached to a return; one that was written for the return
        // reads registers that mean something else at the entry.
        if section.on_return && !self.on_return() {
            return Err(Misfit::OnReturn);
        }
        match (section.direction, self.direction()) {
            (Some(declared), Some(wanted)) if declared != wanted => {
                Err(Misfit::OtherDirection(declared))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that is no program type.
#[derive(Debug, thiserror::Error)]
#[error("unknown program type '{0}'")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tc(direction: Direction) -> Attach {
        Attach::Tc {
            net: crate::NetAttach {
                iface: "eth1".into(),
                netns: None,
                priority: 50,
            },
            direction,
            proceed_on: crate::ProceedOn::TC_DEFAULT,
        }
    }

    #[test]
    fn section_names_that_the_field_compiles() {
        for (name, kind) in [
            ("xdp", Kind::Xdp),
            ("xdp/filter", Kind::Xdp),
            ("xdp.frags", Kind::Xdp),
            ("tc", Kind::Tc),
            ("classifier", Kind::Tc),
            ("classifier/pass", Kind::Tc),
            ("tcx/ingress", Kind::Tcx),
            ("tp/sched/sched_switch", Kind::Tracepoint),
            ("tracepoint", Kind::Tracepoint),
            ("kprobe", Kind::Kprobe),
            ("kprobe/try_to_wake_up", Kind::Kprobe),
            ("kprobe.multi/a*", Kind::Kprobe),
            ("uprobe.s", Kind::Uprobe),
            ("uretprobe//bin/sh:main", Kind::Uprobe),
            ("fentry.s/do_unlinkat", Kind::Fentry),
            ("?fexit/do_unlinkat", Kind::Fexit),
        ] {
            assert_eq!(Section::find(name).map(|s| s.kind), Some(kind), "{name}");
        }
        for name in [
            "xdp/devmap",
            "xdpfoo",
            "tcp",
            "lsm/file_open",
            "iter/task",
            ".text",
            "",
        ] {
            assert_eq!(Section::find(name), None, "{name}");
        }
    }

    #[test]
    fn contradictions_are_named() {
        assert_eq!(tc(Direction::Ingress).fits("tcx/ingress"), Ok(()));
        assert_eq!(
            tc(Direction::Ingress).fits("tc/egress"),
            Err(Misfit::OtherDirection(Direction::Egress))
        );
        assert_eq!(
            tc(Direction::Ingress).fits("xdp"),
            Err(Misfit::OtherKind(Kind::Xdp))
        );
        assert_eq!(tc(Direction::Ingress).fits("lsm/x"), Err(Misfit::Unknown));
        let probe = |retprobe| Attach::Kprobe {
            fn_name: "f".into(),
            offset: 0,
            retprobe,
        };
        assert_eq!(probe(false).fits("kretprobe/f"), Err(Misfit::OnReturn));
        assert_eq!(probe(true).fits("kretprobe/f"), Ok(()));
        assert_eq!(probe(true).fits("kprobe"), Ok(()));
    }
}
