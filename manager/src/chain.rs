//! Changing a chain: the new dispatcher, the swap, and taking the old one apart.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

use kernel::{
    Access, Config, Dispatcher, Feature, Hook, Live, Loaded, Role, Side, dismantle, fault,
    missing_feature, slot,
};
use model::{Attach, Chain, Direction, Member, NetAttach, Place, ProgramId, Record};

use crate::{
    Error, Manager, Result,
    load::{self, Attached},
    pending::Pending,
    plan::{Plan, Shared},
    session::Session,
    undo::Undo,
};

/// What is still to be done once a change is committed.
pub(crate) struct Retire {
    hook: Rc<Hook>,
    /// The dispatcher that ran before.
    old: Option<ProgramId>,
    /// The swap had to make a clsact qdisc.
    pub(crate) made_clsact: bool,
}

impl Retire {
    /// Takes the old dispatcher apart. What fails here goes with the next command.
    pub(crate) fn run(self, session: &Session) {
        let hook = &self.hook;
        let retired = self.old.map_or(Ok(()), |old| {
            dismantle(&session.pins, hook.side, hook.place, old).map_err(Error::from)
        });
        let point = fault::point("chain.retired").map_err(kernel::Error::Fault);
        let result = retired
            .and(point.map_err(Error::from))
            .and_then(|()| session.root.clear_pending());
        if let Err(error) = result {
            log::warn!(
                "cannot take the old chain of {} apart: {error}",
                hook.describe()
            );
        }
    }
}

/// Loads a program and puts it into the chain of its hook.
pub(crate) fn insert(
    manager: &Manager,
    session: &Session,
    plan: &Plan<'_>,
    owner: Option<ProgramId>,
    shared: &Shared,
    side: Side,
    undo: &mut Undo<'static>,
) -> Result<Attached> {
    let attach = &plan.request.attach;
    let net = attach
        .net()
        .ok_or(Error::Invalid("a chain needs an interface"))?;
    let hook = Rc::new(Hook::open(&session.pins, net, side, Access::Write)?);
    let mode = manager.config.xdp_mode(&net.iface);
    let live = hook.live()?;
    let mut chain = members(session, &hook, &live, attach)?.map(Some);
    let position = chain
        .insert(Member {
            program: None,
            priority: net.priority,
            proceed_on: attach.proceed_on().map_or(0, |set| set.0),
            frags: plan.frags(),
        })
        .map_err(|_| Error::ChainFull {
            hook: hook.describe(),
        })?;
    let dispatcher = Dispatcher::load(&Config::new(hook.format(&live)?, &chain));
    let (loaded, dispatcher) = match extension(plan, shared, dispatcher, position) {
        Ok((loaded, dispatcher)) => (loaded, Some(dispatcher)),
        Err(error) => (alone(plan, shared, side, &live, error)?, None),
    };
    load::name(session, &loaded, owner, undo)?;
    if let Some(dispatcher) = &dispatcher {
        let programs = open_members(&chain.map(|program| program.unwrap_or(loaded.id)))?;
        assemble(session, &hook, dispatcher, &programs, undo)?;
    }
    let change = Change {
        session,
        hook: &hook,
        live,
        mode,
    };
    let new = dispatcher
        .as_ref()
        .map_or(&loaded.fd, |dispatcher| &dispatcher.fd);
    let made_clsact = change.swap(
        Some(new.as_fd()),
        dispatcher.as_ref().map(|d| d.id),
        attach,
        loaded.id,
        undo,
    )?;
    let retire = Retire {
        old: change.live.dispatcher(),
        made_clsact,
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
    attach: &Attach,
) -> Result<Chain<ProgramId>> {
    match live {
        Live::Empty => Ok(Chain::default()),
        Live::Chain(live) => Ok(live.chain.clone()),
        Live::Single { program: id, .. } => {
            let (hook, id) = (hook.describe(), *id);
            if session.state.programs.contains_key(&id) {
                return Err(Error::NoChain {
                    hook,
                    id,
                    kind: attach.kind(),
                });
            }
            let name = kernel::glance(id)?
                .map(|program| program.name)
                .unwrap_or_default();
            Err(Error::Foreign { hook, id, name })
        }
    }
}

/// Loads the program as the extension of its slot.
fn extension(
    plan: &Plan<'_>,
    shared: &Shared,
    dispatcher: Result<Dispatcher, kernel::Error>,
    position: usize,
) -> Result<(Loaded, Dispatcher)> {
    let dispatcher = dispatcher?;
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
        shared,
    )?;
    Ok((loaded, dispatcher))
}

/// Loads the program by itself where the kernel refuses extension programs altogether; any other
/// `error` stands.
fn alone(
    plan: &Plan<'_>,
    shared: &Shared,
    side: Side,
    live: &Live,
    error: Error,
) -> Result<Loaded> {
    let may_be = matches!(
        error,
        Error::NeedsBtf { .. } | Error::Kernel(kernel::Error::Refused { .. })
    );
    if !may_be || !matches!(live, Live::Empty) {
        return Err(error);
    }
    let Some(lack) = missing_feature(&[Feature::Extension]) else {
        return Err(error);
    };
    log::info!("{lack}: the program is attached directly, a second one will not fit");
    plan.load(
        if side == Side::Xdp {
            Role::Xdp
        } else {
            Role::Tc
        },
        shared,
    )
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

/// Attaches all programs to a new dispatcher and names them, to be taken back together.
fn assemble(
    session: &Session,
    hook: &Hook,
    dispatcher: &Dispatcher,
    programs: &[OwnedFd],
    undo: &mut Undo<'static>,
) -> Result<()> {
    let (pins, side, place, id) = (session.pins.clone(), hook.side, hook.place, dispatcher.id);
    undo.push("take the new chain apart", move || {
        dismantle(&pins, side, place, id)
    });
    let programs: Vec<BorrowedFd<'_>> = programs.iter().map(AsFd::as_fd).collect();
    dispatcher.assemble(&hook.folder(id), &programs)?;
    fault::point("chain.assembled").map_err(kernel::Error::Fault)?;
    Ok(())
}

/// One change of one hook.
struct Change<'a> {
    session: &'a Session,
    hook: &'a Rc<Hook>,
    /// What runs before it.
    live: Live,
    mode: Option<kernel::XdpMode>,
}

impl Change<'_> {
    /// Puts `new` in the place of what runs, after a note for the case that this command is
    /// killed. Answers true when it had to make a clsact qdisc.
    fn swap(
        &self,
        new: Option<BorrowedFd<'_>>,
        dispatcher: Option<ProgramId>,
        attach: &Attach,
        program: ProgramId,
        undo: &mut Undo<'static>,
    ) -> Result<bool> {
        let (hook, mode) = (self.hook, self.mode);
        let dispatchers = dispatcher
            .into_iter()
            .chain(self.live.dispatcher())
            .collect();
        self.session.root.write_pending(&Pending {
            program,
            attach: attach.clone(),
            place: hook.place,
            dispatchers,
            made_clsact: new.is_some() && hook.lacks_clsact(&self.live)?,
        })?;
        let root = self.session.root.clone();
        undo.push("clear the note of the change", move || {
            root.clear_pending()
                .map_err(|error| kernel::Error::Fault(std::io::Error::other(error)))
        });
        fault::point("chain.noted").map_err(kernel::Error::Fault)?;
        let made_clsact = hook.swap(&self.live, new, mode)?;
        let old = self
            .live
            .held_fd()
            .map(|fd| fd.try_clone_to_owned())
            .transpose();
        let old = old.map_err(Error::file("keep", "the old chain"))?;
        let back = Rc::clone(hook);
        undo.push("put the old chain back", move || {
            let now = back.live()?;
            back.swap(&now, old.as_ref().map(AsFd::as_fd), mode)?;
            if made_clsact {
                back.remove_clsact()
            } else {
                Ok(())
            }
        });
        fault::point("chain.swapped").map_err(kernel::Error::Fault)?;
        Ok(made_clsact)
    }
}

/// Takes a program out of what its hook runs; the others keep their order. None when it does not
/// run there any more.
pub(crate) fn take_out(
    session: &Session,
    hook: &Rc<Hook>,
    attach: &Attach,
    program: ProgramId,
    undo: &mut Undo<'static>,
) -> Result<Option<Retire>> {
    let live = hook.live()?;
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
        let dispatcher = Dispatcher::load(&Config::new(hook.format(&live)?, &chain))?;
        assemble(session, hook, &dispatcher, &open_members(&chain)?, undo)?;
        Some(dispatcher)
    };
    let old = live.dispatcher();
    let change = Change {
        session,
        hook,
        live,
        mode: None,
    };
    let new = dispatcher.as_ref().map(|dispatcher| dispatcher.fd.as_fd());
    change.swap(
        new,
        dispatcher.as_ref().map(|d| d.id),
        attach,
        program,
        undo,
    )?;
    Ok(Some(Retire {
        hook: Rc::clone(hook),
        old,
        made_clsact: false,
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
        Some(hook) => take_out(session, hook, &record.attach, record.id, &mut undo)?,
        None => None,
    };
    session.commit(|state| _ = state.programs.remove(&record.id))?;
    undo.defuse();
    load::committed("unload.committed");
    if let Some(retire) = retire {
        retire.run(session);
    }
    if let Some(place) = record.place.filter(|place| session.clsact_is_idle(*place)) {
        remove_clsact(session, place)?;
    }
    Ok(session.unpin(record)?)
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
    session.commit(|state| _ = state.clsact.remove(&place))
}
