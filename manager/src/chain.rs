//! Changing a chain: the new dispatcher, the swap, and taking the old one apart.

use std::{
    cell::Cell,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

use kernel::{
    Access, Config, Dispatcher, Feature, Hook, Live, Loaded, Role, Side, Swapped, dismantle,
    missing_feature, slot,
};
use model::{Attach, Chain, Direction, Member, NetAttach, Place, ProgramId, Record};

use crate::{
    Error, Result,
    config::Config as Settings,
    load::{self, Attached, Coming},
    pending::Pending,
    report::in_one_line,
    session::Session,
    undo::Undo,
    unload,
};

/// What is still to be done once a change is committed.
pub(crate) struct Retire {
    hook: Rc<Hook>,
    /// The dispatcher that ran before.
    old: Option<ProgramId>,
    /// The swap had to make a clsact qdisc.
    pub(crate) made_clsact: bool,
    /// The note of the change stays, for the case that the state is damaged and the document
    /// before it, which does not know the program, takes its place.
    keep_note: bool,
}

impl Retire {
    /// Takes the old dispatcher apart. What fails here goes with the next command.
    pub(crate) fn run(self, session: &Session) {
        let hook = &self.hook;
        let retired = self.old.map_or(Ok(()), |old| {
            dismantle(&session.pins, hook.side, hook.place, old).map_err(Error::from)
        });
        let point = |name| fault::point(name).map_err(|error| kernel::Error::Fault(error).into());
        let result = retired
            .and_then(|()| point("chain.retired"))
            .and_then(|()| {
                if self.keep_note {
                    return Ok(());
                }
                session.root.clear_pending()?;
                point("chain.note-cleared")
            });
        if let Err(error) = result {
            log::warn!(
                "cannot take the old chain of {} apart: {}",
                hook.describe(),
                in_one_line(&error)
            );
        }
    }
}

/// Loads a program and puts it into the chain of its hook, in the place of the one that leaves.
pub(crate) fn insert(
    config: &Settings,
    session: &Session,
    coming: &Coming<'_>,
    side: Side,
    undo: &mut Undo<'static>,
) -> Result<Attached> {
    let Coming { plan, leaving, .. } = coming;
    let attach = &plan.request.attach;
    let net = attach
        .net()
        .ok_or(Error::Invalid("a chain needs an interface"))?;
    let hook = Rc::new(Hook::open(&session.pins, net, side, Access::Write)?);
    let mode = config.xdp_mode(&net.iface);
    let live = hook.live()?;
    let chain = members(session, &hook, &live, coming)?;
    let leaving = leaving.and_then(|record| took_part(&live, record));
    let mut chain = chain.map(Some);
    let member = Member {
        program: None,
        priority: net.priority,
        proceed_on: attach.proceed_on().map_or(0, |set| set.0),
        frags: plan.frags(),
    };
    let in_place = leaving
        .as_ref()
        .and_then(|old| chain.exchange(&Some(old.program), member.clone()));
    let position = in_place.map_or_else(|| chain.insert(member), Ok);
    let position = position.map_err(|_| Error::ChainFull {
        hook: hook.describe(),
    })?;
    let dispatcher = Dispatcher::load(&Config::new(hook.format(&live)?, &chain));
    let (loaded, dispatcher) = match extension(coming, dispatcher, position) {
        Ok((loaded, dispatcher)) => (loaded, Some(dispatcher)),
        Err(error) => (alone(coming, side, &live, error)?, None),
    };
    load::name(session, &loaded, coming.owner, undo)?;
    let programs = match &dispatcher {
        Some(_) => open_members(&chain.map(|program| program.unwrap_or(loaded.id)))?,
        None => vec![loaded.fd],
    };
    let change = Change {
        hook: &hook,
        old: &live,
        new: dispatcher.as_ref(),
        coming: true,
        leaving,
        program: loaded.id,
        attach,
        made_clsact: false,
    };
    let made_clsact = change.apply(session, &programs, mode, undo)?;
    let retire = Retire {
        old: live.dispatcher(),
        made_clsact,
        keep_note: true,
        hook: Rc::clone(&hook),
    };
    Ok(Attached {
        id: loaded.id,
        place: Some(hook.place),
        retire: Some(retire),
    })
}

/// The chain of a hook as it is; an error where something holds the hook that is no chain.
fn members(
    session: &Session,
    hook: &Hook,
    live: &Live,
    coming: &Coming<'_>,
) -> Result<Chain<ProgramId>> {
    let leaves = |id: ProgramId| coming.leaving.is_some_and(|record| record.id == id);
    match live {
        Live::Empty => Ok(Chain::default()),
        Live::Chain(live) => Ok(live.chain.clone()),
        Live::Single { program, .. } if leaves(*program) => Ok(Chain::default()),
        Live::Single { program: id, .. } => {
            let (hook, id) = (hook.describe(), *id);
            if session.state.programs.contains_key(&id) {
                return Err(Error::NoChain {
                    hook,
                    id,
                    kind: coming.plan.request.attach.kind(),
                });
            }
            let name = kernel::glance(id)?
                .map(|program| program.name)
                .unwrap_or_default();
            Err(Error::Foreign { hook, id, name })
        }
    }
}

/// How a program that is to leave takes part; None where the hook does not run it.
fn took_part(live: &Live, record: &Record) -> Option<Member<ProgramId>> {
    match live {
        Live::Empty => None,
        Live::Chain(live) => {
            let mut members = live.chain.members().iter();
            members.find(|member| member.program == record.id).cloned()
        }
        Live::Single { program, .. } => (*program == record.id).then(|| Member {
            program: record.id,
            priority: record.attach.net().map_or(0, |net| net.priority),
            proceed_on: record.attach.proceed_on().map_or(0, |set| set.0),
            frags: false,
        }),
    }
}

/// Loads the program as the extension of its slot.
fn extension(
    coming: &Coming<'_>,
    dispatcher: Result<Dispatcher, kernel::Error>,
    position: usize,
) -> Result<(Loaded, Dispatcher)> {
    let (plan, dispatcher) = (coming.plan, dispatcher?);
    if !plan.program.has_func_info() {
        let program = plan.program.name().to_owned();
        let from = plan.request.source.to_string();
        return Err(Error::NeedsBtf { program, from });
    }
    let (target, function) = (dispatcher.fd.as_fd(), slot(position));
    let loaded = plan.load(
        Role::Extension {
            target,
            function: &function,
        },
        coming.shared,
    )?;
    Ok((loaded, dispatcher))
}

/// Loads the program by itself where the kernel refuses extension programs altogether; any other
/// `error` stands.
fn alone(coming: &Coming<'_>, side: Side, live: &Live, error: Error) -> Result<Loaded> {
    let may_be = matches!(
        error,
        Error::NeedsBtf { .. } | Error::Kernel(kernel::Error::Refused { .. })
    );
    let leaves = |id| coming.leaving.is_some_and(|record| record.id == id);
    let free = match live {
        Live::Empty => true,
        Live::Single { program, .. } => leaves(*program),
        Live::Chain(_) => false,
    };
    if !may_be || !free {
        return Err(error);
    }
    let Some(lack) = missing_feature(&[Feature::Extension]) else {
        return Err(error);
    };
    log::info!("{lack}: the program is attached directly, a second one will not fit");
    let role = if side == Side::Xdp {
        Role::Xdp
    } else {
        Role::Tc
    };
    coming.plan.load(role, coming.shared)
}

fn open_members(chain: &Chain<ProgramId>) -> Result<Vec<OwnedFd>> {
    chain
        .members()
        .iter()
        .map(|member| {
            let program = kernel::program(member.program)?;
            Ok(program.ok_or(Error::NoProgram(member.program))?.fd)
        })
        .collect()
}

/// One change of one hook.
struct Change<'a> {
    hook: &'a Rc<Hook>,
    /// What runs before it.
    old: &'a Live,
    /// What runs after it; without one the only program, or nothing.
    new: Option<&'a Dispatcher>,
    /// The program that comes or goes.
    program: ProgramId,
    /// It comes; otherwise it goes.
    coming: bool,
    /// The program whose place it takes.
    leaving: Option<Member<ProgramId>>,
    attach: &'a Attach,
    /// An earlier change of this hook, which is taken back, may have made a clsact qdisc.
    made_clsact: bool,
}

impl Change<'_> {
    /// Attaches the programs to the new dispatcher and puts it in the place of what runs, after a
    /// note for the case that this command is killed. Answers true when it had to make a clsact
    /// qdisc.
    fn apply(
        &self,
        session: &Session,
        programs: &[OwnedFd],
        mode: Option<kernel::XdpMode>,
        undo: &mut Undo<'static>,
    ) -> Result<bool> {
        let lacked_clsact = self.coming && self.hook.lacks_clsact(self.old)?;
        self.note(session, lacked_clsact, undo)?;
        let new = match self.new {
            Some(dispatcher) => {
                self.assemble(session, dispatcher, programs, undo)?;
                Some(dispatcher.fd.as_fd())
            }
            None => programs.first().map(AsFd::as_fd),
        };
        // Before the swap: it may be done although the kernel's answer is lost.
        let answer = self.push_swap_back(programs, lacked_clsact, undo)?;
        let swapped = self.hook.swap(self.old, new, mode)?;
        let made_clsact = swapped.made_clsact;
        answer.set(Some(swapped));
        fault::point("chain.swapped").map_err(kernel::Error::Fault)?;
        Ok(made_clsact)
    }

    fn note(&self, session: &Session, lacked_clsact: bool, undo: &mut Undo<'static>) -> Result<()> {
        let before = session.root.keep_pending()?;
        session.root.write_pending(&Pending {
            boot_id: session.state.boot_id().to_owned(),
            program: self.program,
            attach: self.attach.clone(),
            place: self.hook.place,
            old: self.old.dispatcher(),
            new: self.new.map(|dispatcher| dispatcher.id),
            coming: self.coming,
            leaving: self.leaving.clone(),
            made_clsact: self.made_clsact || lacked_clsact,
        })?;
        let root = session.root.clone();
        undo.push("put the note before this change back", move || {
            root.restore_pending(before.as_deref())
                .map_err(|error| kernel::Error::Fault(std::io::Error::other(error)))
        });
        fault::point("chain.noted").map_err(kernel::Error::Fault)?;
        Ok(())
    }

    /// Attaches all programs to the new dispatcher and names them, to be taken back together.
    fn assemble(
        &self,
        session: &Session,
        dispatcher: &Dispatcher,
        programs: &[OwnedFd],
        undo: &mut Undo<'static>,
    ) -> Result<()> {
        let (hook, id) = (Rc::clone(self.hook), dispatcher.id);
        let pins = session.pins.clone();
        undo.push("take the new chain apart", move || {
            dismantle(&pins, hook.side, hook.place, id)
        });
        let programs: Vec<BorrowedFd<'_>> = programs.iter().map(AsFd::as_fd).collect();
        Ok(dispatcher.assemble(&self.hook.folder(id), &programs)?)
    }

    /// How to take the swap back. What comes into the answer tells how it went; without that, the
    /// hook itself tells whether it was done.
    fn push_swap_back(
        &self,
        programs: &[OwnedFd],
        lacked_clsact: bool,
        undo: &mut Undo<'static>,
    ) -> Result<Rc<Cell<Option<Swapped>>>> {
        let new = match (self.new, programs.first()) {
            (Some(dispatcher), _) => Some(dispatcher.id),
            (None, Some(alone)) => Some(kernel::program_id(alone)?),
            (None, None) => None,
        };
        let old = self.old.held();
        let old = old.map(|(fd, hold)| Ok((fd.try_clone_to_owned()?, hold)));
        let old = old
            .transpose()
            .map_err(Error::file("keep", "the old chain"))?;
        let hook = Rc::clone(self.hook);
        let answer = Rc::new(Cell::new(None));
        let heard = Rc::clone(&answer);
        undo.push("put the old chain back", move || {
            let unheard = Swapped {
                made_clsact: lacked_clsact,
                released: None,
            };
            hook.swap_back(old.as_ref(), new, heard.take().unwrap_or(unheard))
        });
        Ok(answer)
    }
}

/// Takes a program out of what its hook runs; the others keep their order. None when it does not
/// run there any more. `made_clsact`: its coming, which is taken back, may have made the qdisc.
pub(crate) fn take_out(
    session: &Session,
    hook: &Rc<Hook>,
    attach: &Attach,
    program: ProgramId,
    made_clsact: bool,
    undo: &mut Undo<'static>,
) -> Result<Option<Retire>> {
    let live = match hook.live() {
        // Without pins it has no members.
        Err(kernel::Error::LostPins { .. }) => return Ok(None),
        live => live?,
    };
    let mut chain = match &live {
        Live::Chain(live) => live.chain.clone(),
        Live::Single { program: id, .. } if *id == program => Chain::default(),
        _ => return Ok(None),
    };
    if let (None, Live::Chain(_)) = (chain.remove(&program), &live) {
        return Ok(None);
    }
    let dispatcher = if chain.is_empty() {
        None
    } else {
        Some(Dispatcher::load(&Config::new(hook.format(&live)?, &chain))?)
    };
    let change = Change {
        hook,
        old: &live,
        new: dispatcher.as_ref(),
        coming: false,
        leaving: None,
        program,
        attach,
        made_clsact,
    };
    change.apply(session, &open_members(&chain)?, None, undo)?;
    Ok(Some(Retire {
        hook: Rc::clone(hook),
        old: live.dispatcher(),
        made_clsact: false,
        keep_note: false,
    }))
}

/// Takes back the exchange of a program that was never committed: the old one gets its place again.
/// None when the new one does not run there any more.
pub(crate) fn put_back(
    session: &Session,
    hook: &Rc<Hook>,
    pending: &Pending,
    old: &Member<ProgramId>,
    undo: &mut Undo<'static>,
) -> Result<Option<Retire>> {
    let live = hook.live()?;
    let mut chain = match &live {
        Live::Chain(live) => live.chain.clone(),
        Live::Single { program, .. } if *program == pending.program => Chain::default(),
        _ => return Ok(None),
    };
    let is_chain = matches!(live, Live::Chain(_));
    if is_chain && chain.exchange(&pending.program, old.clone()).is_none() {
        return Ok(None);
    }
    let dispatcher = if is_chain {
        Some(Dispatcher::load(&Config::new(hook.format(&live)?, &chain))?)
    } else {
        // It ran by itself, and so it does again.
        _ = chain.insert(old.clone());
        None
    };
    // Until the swap is done this is still the exchange that the note spoke of.
    let change = Change {
        hook,
        old: &live,
        new: dispatcher.as_ref(),
        coming: true,
        leaving: Some(old.clone()),
        program: pending.program,
        attach: &pending.attach,
        made_clsact: pending.made_clsact,
    };
    change.apply(session, &open_members(&chain)?, None, undo)?;
    Ok(Some(Retire {
        hook: Rc::clone(hook),
        old: live.dispatcher(),
        made_clsact: false,
        keep_note: false,
    }))
}

/// Takes a program of ours out of its chain, commits, and unloads it.
pub(crate) fn remove(session: &mut Session, record: &Record, side: Side) -> Result<()> {
    let hook = match (record.attach.net(), record.place) {
        (Some(net), Some(place)) => {
            Hook::find(&session.pins, net, place, side, Access::Write)?.map(Rc::new)
        }
        _ => None,
    };
    let mut undo = Undo::default();
    let retire = match &hook {
        Some(hook) => take_out(session, hook, &record.attach, record.id, false, &mut undo)?,
        None => None,
    };
    session.commit(|state| _ = state.programs.remove(&record.id))?;
    undo.defuse();
    load::committed("unload.committed");
    if let Some(retire) = retire {
        retire.run(session);
    }
    // Committed: what fails from here on goes with the next command.
    if let Some(place) = record.place.filter(|place| session.clsact_is_idle(*place))
        && let Err(error) = remove_clsact(session, place)
    {
        log::warn!("a clsact qdisc of ours stays: {error}");
    }
    unload::take_away(session, record);
    Ok(())
}

/// Removes a clsact qdisc that we made, unless somebody else uses it by now.
pub(crate) fn remove_clsact(session: &mut Session, place: Place) -> Result<()> {
    let net = NetAttach {
        iface: format!("interface {}", place.ifindex),
        netns: None,
        priority: 0,
    };
    let side = Side::Tc(Direction::Ingress);
    if let Some(hook) = Hook::find(&session.pins, &net, place, side, Access::Read)? {
        hook.remove_clsact()?;
    }
    fault::point("chain.clsact-removed").map_err(kernel::Error::Fault)?;
    session.commit(|state| _ = state.clsact.remove(&place))
}
