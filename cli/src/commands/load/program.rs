//! The program types: the word after the common parameters.

use clap::Subcommand;
use model::{Attach, Kind};

use super::{
    net::{Tc, Tcx, Xdp},
    probe::{Fentry, Fexit, Kprobe, Tracepoint, Uprobe},
};

// A program type and where to attach it.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Program {
    /// Install an eBPF program on the XDP hook point for a given interface
    Xdp(Xdp),
    /// Install an eBPF program on the TC hook point for a given interface
    Tc(Tc),
    /// Install an eBPF program on the TCX hook point for a given interface
    Tcx(Tcx),
    /// Install an eBPF program on a Tracepoint
    Tracepoint(Tracepoint),
    /// Install a kprobe or kretprobe eBPF probe
    Kprobe(Kprobe),
    /// Install a uprobe or uretprobe eBPF probe
    Uprobe(Uprobe),
    /// Install a fentry eBPF probe
    Fentry(Fentry),
    /// Install a fexit eBPF probe
    Fexit(Fexit),
}

impl Program {
    /// The type, for messages about arguments that do not make an attachment.
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Xdp(_) => Kind::Xdp,
            Self::Tc(_) => Kind::Tc,
            Self::Tcx(_) => Kind::Tcx,
            Self::Tracepoint(_) => Kind::Tracepoint,
            Self::Kprobe(_) => Kind::Kprobe,
            Self::Uprobe(_) => Kind::Uprobe,
            Self::Fentry(_) => Kind::Fentry,
            Self::Fexit(_) => Kind::Fexit,
        }
    }

    /// Where to attach it; what can be refused without the kernel is refused here.
    pub(super) fn attach(&self) -> Result<Attach, String> {
        let attach = match self {
            Self::Xdp(args) => args.attach(),
            Self::Tc(args) => args.attach(),
            Self::Tcx(args) => args.attach(),
            Self::Tracepoint(args) => args.attach(),
            Self::Kprobe(args) => args.attach()?,
            Self::Uprobe(args) => args.attach()?,
            Self::Fentry(args) => args.attach(),
            Self::Fexit(args) => args.attach(),
        };
        attach.validate().map_err(|error| error.to_string())?;
        Ok(attach)
    }
}
