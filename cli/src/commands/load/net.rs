//! Program types of an interface.

use std::path::PathBuf;

use clap::Args;
use model::{Attach, DEFAULT_PRIORITY, Direction, Kind, NetAttach, ProceedOn};

use crate::parse;

const XDP_LONG_ABOUT: &str = "\
Install an eBPF program on the XDP hook point for a given interface

The program sees each packet that the interface receives, before the network stack does. Up to ten
programs share an interface, those that xdp-loader put there among them. They run in the order of
their priority; of equals the newest runs first. After each one the next runs if the exit code is
in its --proceed-on; otherwise the exit code is the verdict on the packet.";

const XDP_AFTER_HELP: &str = "\
Examples:
  bpfman load file --path ./xdp_pass.o --name pass xdp --iface eth0 --priority 100
  bpfman load file -p ./xdp_pass.o xdp -i eth0 -p 30 --proceed-on drop pass dispatcher_return
  bpfman load file -p ./xdp_pass.o xdp -i eth0 --netns blue";

const TC_LONG_ABOUT: &str = "\
Install an eBPF program on the TC hook point for a given interface

The program sees each packet that the interface has received (ingress) or is about to send (egress).
Up to ten programs share one direction of an interface. They run in the order of their priority; of
equals the newest runs first. After each one the next runs if the exit code is in its --proceed-on;
otherwise the exit code is the verdict on the packet. See 'tcx' for the kernel's own way to run
several programs.";

const TC_AFTER_HELP: &str = "\
Examples:
  bpfman load file --path ./tc_pass.o --name pass tc --direction ingress --iface eth0 --priority 40
  bpfman load file -p ./tc_pass.o tc -d egress -i eth0 --proceed-on ok pipe
  bpfman load file -p ./tc_pass.o tc -d ingress -i eth0 --netns /run/netns/blue";

const TCX_LONG_ABOUT: &str = "\
Install an eBPF program on the TCX hook point for a given interface

The hook of 'tc' with the kernel's own order of programs, which needs kernel 6.6 or later. Programs
run in the order of their priority; of equals the newest runs first. A program that returns TCX_NEXT
(-1) lets the next one run; any other exit code is the verdict on the packet. So there is no
--proceed-on.";

const TCX_AFTER_HELP: &str = "\
Examples:
  bpfman load file --path ./tc_pass.o --name pass tcx --direction ingress --iface eth0 --priority 40
  bpfman load file -p ./tc_pass.o tcx -d egress -i eth0";

#[derive(Debug, Args)]
#[command(long_about = XDP_LONG_ABOUT, after_long_help = XDP_AFTER_HELP)]
pub(crate) struct Xdp {
    #[command(flatten)]
    hook: Hook,

    /// Optional: Proceed to call other programs in chain on this exit code.
    /// Multiple values supported by repeating the parameter.
    /// Example: --proceed-on "pass" --proceed-on "drop"
    ///
    /// [possible values: aborted, drop, pass, tx, redirect, dispatcher_return]
    ///
    /// [default: pass, dispatcher_return]
    #[arg(long, num_args = 1.., verbatim_doc_comment, hide_possible_values = true)]
    #[arg(value_parser = parse::actions(Kind::Xdp))]
    proceed_on: Vec<ProceedOn>,

    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
#[command(long_about = TC_LONG_ABOUT, after_long_help = TC_AFTER_HELP)]
pub(crate) struct Tc {
    #[command(flatten)]
    side: Side,

    #[command(flatten)]
    hook: Hook,

    /// Optional: Proceed to call other programs in chain on this exit code.
    /// Multiple values supported by repeating the parameter.
    /// Example: --proceed-on "ok" --proceed-on "pipe"
    ///
    /// [possible values: unspec, ok, reclassify, shot, pipe, stolen, queued,
    ///                   repeat, redirect, trap, dispatcher_return]
    ///
    /// [default: ok, pipe, dispatcher_return]
    #[arg(long, num_args = 1.., verbatim_doc_comment, hide_possible_values = true)]
    #[arg(value_parser = parse::actions(Kind::Tc))]
    proceed_on: Vec<ProceedOn>,

    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
#[command(long_about = TCX_LONG_ABOUT, after_long_help = TCX_AFTER_HELP)]
pub(crate) struct Tcx {
    #[command(flatten)]
    side: Side,

    #[command(flatten)]
    hook: Hook,

    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Side {
    /// Required: Direction to apply program.
    ///
    /// [possible values: ingress, egress]
    #[arg(short, long, verbatim_doc_comment, hide_possible_values = true)]
    #[arg(value_parser = parse::direction())]
    direction: Direction,
}

#[derive(Debug, Args)]
struct Hook {
    /// Required: Interface to load program on
    #[arg(short, long, verbatim_doc_comment)]
    iface: String,

    /// Optional: Priority to run program in chain. Lower value runs first
    ///
    /// [possible values: 0 to 1000]
    ///
    /// [default: 1000]
    #[arg(short, long, verbatim_doc_comment, value_parser = parse::priority, allow_negative_numbers = true)]
    #[arg(default_value_t = DEFAULT_PRIORITY, hide_default_value = true)]
    priority: u32,
}

#[derive(Debug, Args)]
struct Place {
    /// Optional: Network namespace of the interface: its name, as 'ip netns' shows it, or the
    /// path of its file.
    /// Example: --netns blue
    ///
    /// [default: the network namespace that bpfman runs in]
    #[arg(short, long, value_name = "NAME or PATH", verbatim_doc_comment)]
    #[arg(value_parser = parse::netns())]
    netns: Option<PathBuf>,
}

/// All actions that were named, or the default.
fn union(actions: &[ProceedOn], default: ProceedOn) -> ProceedOn {
    let named = actions
        .iter()
        .copied()
        .reduce(|all, one| ProceedOn(all.0 | one.0));
    named.unwrap_or(default)
}

fn net(hook: &Hook, place: &Place) -> NetAttach {
    NetAttach {
        iface: hook.iface.clone(),
        netns: place.netns.clone(),
        priority: hook.priority,
    }
}

impl Xdp {
    pub(super) fn attach(&self) -> Attach {
        Attach::Xdp {
            net: net(&self.hook, &self.place),
            proceed_on: union(&self.proceed_on, ProceedOn::XDP_DEFAULT),
        }
    }
}

impl Tc {
    pub(super) fn attach(&self) -> Attach {
        Attach::Tc {
            net: net(&self.hook, &self.place),
            direction: self.side.direction,
            proceed_on: union(&self.proceed_on, ProceedOn::TC_DEFAULT),
        }
    }
}

impl Tcx {
    pub(super) fn attach(&self) -> Attach {
        Attach::Tcx {
            net: net(&self.hook, &self.place),
            direction: self.side.direction,
        }
    }
}
