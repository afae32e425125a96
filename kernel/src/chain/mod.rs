//! Chains: several programs on one hook, in order, changed in one step.
//!
//! A change builds a whole new dispatcher, attaches every member to it, puts it in the place of
//! the old one, and only then takes the old one apart. What runs is read back from the kernel.

mod config;
mod dispatcher;
mod search;
mod tc;
mod xdp;

use std::{
    ffi::OsStr,
    io::ErrorKind,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use model::{Chain, Direction, Member, NetAttach, Place, ProgramId};

pub use config::{Config, Format};
pub use dispatcher::{Dispatcher, slot};

use crate::{
    Error, KernelProgram, NetNs, PinTree, Released, Result, XdpMode, info, netlink::Filter, pins,
};

/// Which hook of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The receive path.
    Xdp,
    /// Traffic control.
    Tc(Direction),
}

/// A hook that holds at most one chain: one side of one interface in one namespace.
#[derive(Debug)]
pub struct Hook {
    /// The namespace.
    pub ns: NetNs,
    /// The interface in it.
    pub place: Place,
    /// What it is called now.
    pub iface: String,
    /// What a user calls the namespace.
    pub netns: Option<PathBuf>,
    /// Which hook.
    pub side: Side,
    /// Where dispatchers of this side are pinned.
    root: PathBuf,
    /// Pin of the TCX link, for the sides that have one.
    link_pin: PathBuf,
    /// Pins of programs of ours, to know one that runs without a dispatcher.
    pins: PinTree,
    /// Held while an XDP chain changes.
    _lock: Option<OwnedFd>,
}

/// By what a program is held on its hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// XDP, over netlink.
    Xdp(XdpMode),
    /// A pinned TCX link.
    TcxLink,
    /// A filter on clsact.
    Filter(Filter),
}

/// A dispatcher that runs, and the chain behind it.
#[derive(Debug)]
pub struct LiveChain {
    /// The dispatcher.
    pub dispatcher: ProgramId,
    /// Keeps it loaded.
    pub fd: OwnedFd,
    /// What it speaks.
    pub format: Format,
    /// By what it is held.
    pub hold: Hold,
    /// The members that are there, ours and others'.
    pub chain: Chain<ProgramId>,
}

/// What a hook runs.
#[derive(Debug)]
pub enum Live {
    /// Nothing.
    Empty,
    /// A dispatcher.
    Chain(LiveChain),
    /// One program without a dispatcher.
    Single {
        /// Its id.
        program: ProgramId,
        /// Keeps it loaded.
        fd: OwnedFd,
        /// By what it is held.
        hold: Hold,
    },
}

impl Live {
    /// Where a program runs on the hook, 0 first.
    pub fn position(&self, id: ProgramId) -> Option<usize> {
        match self {
            Self::Empty => None,
            Self::Chain(live) => live.chain.position(&id),
            Self::Single { program, .. } => (*program == id).then_some(0),
        }
    }

    /// The programs in the order in which they run, without the dispatcher.
    pub fn programs(&self) -> Vec<ProgramId> {
        match self {
            Self::Empty => Vec::new(),
            Self::Chain(live) => live.chain.members().iter().map(|m| m.program).collect(),
            Self::Single { program, .. } => vec![*program],
        }
    }

    /// The program that the hook itself runs: the dispatcher, or the one without.
    pub fn held_id(&self) -> Option<ProgramId> {
        match self {
            Self::Empty => None,
            Self::Chain(live) => Some(live.dispatcher),
            Self::Single { program, .. } => Some(*program),
        }
    }

    /// The dispatcher's id, where there is one.
    pub fn dispatcher(&self) -> Option<ProgramId> {
        match self {
            Self::Chain(live) => Some(live.dispatcher),
            _ => None,
        }
    }

    /// The program that runs there itself, the dispatcher or the one without, and by what it is
    /// held.
    pub fn held(&self) -> Option<(BorrowedFd<'_>, Hold)> {
        match self {
            Self::Empty => None,
            Self::Chain(live) => Some((live.fd.as_fd(), live.hold)),
            Self::Single { fd, hold, .. } => Some((fd.as_fd(), *hold)),
        }
    }
}

/// What a swap did besides.
#[derive(Debug, Default)]
pub struct Swapped {
    /// It had to make a clsact qdisc.
    pub made_clsact: bool,
    /// The TCX link that held what ran; until it is dropped, that still runs.
    pub released: Option<Released>,
}

/// Whether the caller is going to change the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Waits for nobody.
    Read,
    /// Takes libxdp's lock for XDP, until the hook is dropped.
    Write,
}

impl Hook {
    /// The hook that a user named.
    pub fn open(pins: &PinTree, net: &NetAttach, side: Side, access: Access) -> Result<Self> {
        let ns = NetNs::open(net.netns.as_deref())?;
        let place = ns.interface(&net.iface, || match &net.netns {
            None => "this network namespace".to_owned(),
            Some(netns) => format!("network namespace '{}'", netns.display()),
        })?;
        Self::new(pins, ns, place, net, side, access)
    }

    /// The hook that a record speaks of; None when its namespace or interface is gone.
    pub fn find(
        pins: &PinTree,
        net: &NetAttach,
        place: Place,
        side: Side,
        access: Access,
    ) -> Result<Option<Self>> {
        let Some(ns) = NetNs::find(&place, net.netns.as_deref())? else {
            return Ok(None);
        };
        let Some(iface) = ns.interface_name(place.ifindex)? else {
            return Ok(None);
        };
        let net = NetAttach {
            iface,
            ..net.clone()
        };
        Self::new(pins, ns, place, &net, side, access).map(Some)
    }

    fn new(
        pins: &PinTree,
        ns: NetNs,
        place: Place,
        net: &NetAttach,
        side: Side,
        access: Access,
    ) -> Result<Self> {
        let root = chain_root(pins, side);
        let lock = match (side, access) {
            (Side::Xdp, Access::Write) => Some(pins::lock_libxdp(&root)?),
            _ => None,
        };
        let link_pin = link_pin(pins, place, side);
        Ok(Self {
            ns,
            place,
            iface: net.iface.clone(),
            netns: net.netns.clone(),
            side,
            root,
            link_pin,
            pins: pins.clone(),
            _lock: lock,
        })
    }

    /// What the hook runs now.
    pub fn live(&self) -> Result<Live> {
        match self.running()? {
            Some((running, hold, config)) => self.held(running, hold, config),
            None => Ok(Live::Empty),
        }
    }

    /// The program that runs there itself, by what it is held, and its configuration where it is a
    /// dispatcher.
    fn running(&self) -> Result<Option<(KernelProgram, Hold, Option<Config>)>> {
        let (running, name) = self.ns.run(|| match self.side {
            Side::Xdp => (xdp::running(self), xdp::DISPATCHER),
            Side::Tc(direction) => (tc::running(self, direction), tc::DISPATCHER),
        })?;
        let Some((program, hold)) = running? else {
            return Ok(None);
        };
        let Some(running) = info::program(program)? else {
            return Ok(None);
        };
        let config = dispatcher::read_config(&running, name)?;
        Ok(Some((running, hold, config)))
    }

    /// Takes a dispatcher off the hook that has lost the pins of all its members, and with them the
    /// members, if they had just these priorities: then they were ours. Answers whether it did.
    pub fn remove_shell(&self, priorities: &[u32]) -> Result<bool> {
        let Some((running, hold, Some(config))) = self.running()? else {
            return Ok(false);
        };
        let had = config.members.iter().map(|member| member.priority);
        if !had.eq(priorities.iter().copied()) {
            return Ok(false);
        }
        let shell = Live::Single {
            program: running.state.id,
            fd: running.fd,
            hold,
        };
        self.swap(&shell, None, None)?;
        Ok(true)
    }

    /// The format of a new dispatcher for this hook: what runs there now keeps its own.
    pub fn format(&self, live: &Live) -> Result<Format> {
        match (live, self.side) {
            (Live::Chain(live), _) => Ok(live.format),
            (_, Side::Xdp) => Ok(Format::NEW_XDP),
            (_, Side::Tc(direction)) => {
                let tcx = self.ns.run(|| tc::has_tcx(self.place.ifindex, direction))?;
                Ok(Format::Tc { tcx })
            }
        }
    }

    /// Puts `new` (None: nothing) in the place of what runs there, in one step, only if that is
    /// still what `live` says.
    pub fn swap(
        &self,
        live: &Live,
        new: Option<BorrowedFd<'_>>,
        mode: Option<XdpMode>,
    ) -> Result<Swapped> {
        self.ns.run(|| match self.side {
            Side::Xdp => xdp::swap(self, live, new, mode).map(|()| Swapped::default()),
            Side::Tc(direction) => tc::swap(self, direction, live, new),
        })?
    }

    /// Takes a swap back, if it was done at all and nobody else has changed the hook since: what ran
    /// before runs again, held as it was. `new` is what the swap put there.
    pub fn swap_back(
        &self,
        before: Option<&(OwnedFd, Hold)>,
        new: Option<ProgramId>,
        swapped: Swapped,
    ) -> Result<()> {
        if let Some(link) = swapped.released {
            return link.keep(&self.link_pin);
        }
        let was = before.map(|(fd, _)| info::id(fd)).transpose()?;
        let now = self.live()?;
        if now.held_id() == new && new != was {
            let old = before.map(|(fd, _)| fd.as_fd());
            match (before, &now, self.side) {
                (Some((fd, Hold::Filter(filter))), Live::Empty, Side::Tc(direction)) => {
                    self.ns
                        .run(|| tc::add_again(self, direction, fd.as_fd(), *filter))??;
                }
                (Some((_, Hold::Xdp(mode))), ..) => drop(self.swap(&now, old, Some(*mode))?),
                _ => drop(self.swap(&now, old, None)?),
            }
        }
        if swapped.made_clsact && matches!(self.live()?, Live::Empty) {
            self.remove_clsact()
        } else {
            Ok(())
        }
    }

    /// Whether attaching the first program means making a clsact qdisc.
    pub fn lacks_clsact(&self, live: &Live) -> Result<bool> {
        match (live, self.side) {
            (Live::Empty, Side::Tc(direction)) => {
                self.ns.run(|| tc::lacks_clsact(self, direction))?
            }
            _ => Ok(false),
        }
    }

    /// Removes the clsact qdisc, unless somebody has put a filter on it.
    pub fn remove_clsact(&self) -> Result<()> {
        self.ns.run(|| tc::remove_clsact(self))?
    }

    /// Removes what still holds a program of ours, or the chain that it was in, after its pins have
    /// gone.
    pub fn remove_stray(&self, program: ProgramId) -> Result<()> {
        match self.side {
            Side::Xdp => Ok(()),
            Side::Tc(direction) => self.ns.run(|| tc::remove_stray(self, direction, program))?,
        }
    }

    /// Folder of the pins of a dispatcher on this hook.
    pub fn folder(&self, dispatcher: ProgramId) -> PathBuf {
        folder(&self.root, self.side, self.place.ifindex, dispatcher)
    }

    pub(crate) fn link_pin(&self) -> &Path {
        &self.link_pin
    }

    /// Words for messages.
    pub fn describe(&self) -> String {
        match self.side {
            Side::Xdp => format!("the XDP hook of '{}'", self.iface),
            Side::Tc(direction) => format!("the TC {direction} hook of '{}'", self.iface),
        }
    }

    /// What the program that runs on the hook is: a dispatcher, or one by itself.
    fn held(&self, running: KernelProgram, hold: Hold, config: Option<Config>) -> Result<Live> {
        let program = running.state.id;
        match config {
            None => Ok(Live::Single {
                program,
                fd: running.fd,
                hold,
            }),
            Some(config) => Ok(Live::Chain(LiveChain {
                dispatcher: program,
                chain: self.members(program, &config)?,
                fd: running.fd,
                format: config.format,
                hold,
            })),
        }
    }

    fn members(&self, dispatcher: ProgramId, config: &Config) -> Result<Chain<ProgramId>> {
        let folder = self.pinned_folder(dispatcher);
        let mut members = Vec::new();
        for (position, member) in config.members.iter().enumerate() {
            if let Some(program) = dispatcher::member(&folder, position)? {
                members.push(Member {
                    program,
                    priority: member.priority,
                    proceed_on: member.proceed_on,
                    frags: member.frags,
                });
            }
        }
        if members.is_empty() && !config.members.is_empty() {
            let (iface, path) = (self.iface.clone(), folder);
            return Err(Error::LostPins {
                dispatcher,
                iface,
                path,
            });
        }
        // The configuration was checked to have no more than the slots.
        Ok(Chain::from_members(members).unwrap_or_default())
    }
}

/// Takes the pins of a dispatcher away that runs nowhere any more, after the last packet has left
/// it: its links go, and its programs unless somebody else names them. Works without the interface.
pub fn dismantle(pins: &PinTree, side: Side, place: Place, dispatcher: ProgramId) -> Result<()> {
    let root = chain_root(pins, side);
    let folder = folder(&root, side, place.ifindex, dispatcher);
    if folder.exists() {
        dispatcher::drain()?;
    }
    remove_folder(&root, &folder, dispatcher)
}

/// Begins the names of folders whose pins are being removed.
const LEAVING: &str = "bpfman-leaving-";

/// Removes the pins of a dispatcher. Killed on the way, what is left has a name by which
/// [`finish_removing`] knows it: a folder without some of its pins tells nobody any more whose it is.
fn remove_folder(root: &Path, folder: &Path, dispatcher: ProgramId) -> Result<()> {
    let leaving = root.join(format!("{LEAVING}{dispatcher}"));
    match std::fs::rename(folder, &leaving) {
        Ok(()) => PinTree::unpin_folder(&leaving),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::path("rename", folder)(error)),
    }
}

/// Goes on with what a killed command was removing.
pub fn finish_removing(pins: &PinTree) -> Result<()> {
    for root in [pins::libxdp_root(), pins.tc()] {
        for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(LEAVING) {
                PinTree::unpin_folder(&entry.path())?;
            }
        }
    }
    Ok(())
}

/// Takes away what is left of chains that a program is no longer part of: every dispatcher folder in
/// which it is pinned, but that of the dispatcher that is `running`.
///
/// libxdp leaves such folders behind when somebody else takes its dispatcher off the interface.
pub fn sweep(
    pins: &PinTree,
    side: Side,
    program: ProgramId,
    running: Option<ProgramId>,
) -> Result<()> {
    let root = chain_root(pins, side);
    for entry in std::fs::read_dir(&root).into_iter().flatten().flatten() {
        let Some(dispatcher) = dispatcher_of(&entry.file_name()) else {
            continue;
        };
        if Some(dispatcher) != running && holds(&entry.path(), program)? {
            remove_folder(&root, &entry.path(), dispatcher)?;
        }
    }
    Ok(())
}

/// Removes the pin of the TCX link of a hook that is idle or gone.
pub fn forget_link(pins: &PinTree, side: Side, place: Place) -> Result<()> {
    PinTree::unpin(&link_pin(pins, place, side))
}

fn holds(folder: &Path, program: ProgramId) -> Result<bool> {
    for position in 0..model::SLOTS {
        if dispatcher::member(folder, position)? == Some(program) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The dispatcher whose pins a folder of this name holds.
fn dispatcher_of(folder: &OsStr) -> Option<ProgramId> {
    let name = folder.to_str()?.strip_prefix("dispatch-")?;
    let (_, id) = name.rsplit_once('-').unwrap_or(("", name));
    id.parse().ok()
}

fn chain_root(pins: &PinTree, side: Side) -> PathBuf {
    match side {
        Side::Xdp => pins::libxdp_root(),
        Side::Tc(_) => pins.tc(),
    }
}

fn folder(root: &Path, side: Side, ifindex: u32, id: ProgramId) -> PathBuf {
    match side {
        Side::Xdp => root.join(format!("dispatch-{ifindex}-{id}")),
        Side::Tc(_) => root.join(format!("dispatch-{id}")),
    }
}

fn link_pin(pins: &PinTree, place: Place, side: Side) -> PathBuf {
    let side = match side {
        Side::Xdp => "xdp",
        Side::Tc(direction) => direction.name(),
    };
    pins.tc()
        .join(format!("hook-{}-{}-{side}", place.ns_ino, place.ifindex))
}
