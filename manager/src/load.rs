//! From request to running program.

use bytecode::image::Progress;
use kernel::{Access, Hook, Loaded, Order, PinTree, Role, Side};
use model::{Attach, Place, ProgramId, ProgramView, Record};

use crate::{
    Error, LoadRequest, Manager, Result,
    chain::{self, Retire},
    config::Config,
    error::describe,
    pending,
    plan::{Plan, Shared},
    session::Session,
    undo::Undo,
    unload, view,
};

/// A program that is attached, but not committed yet.
pub(crate) struct Attached {
    pub(crate) id: ProgramId,
    pub(crate) place: Option<Place>,
    pub(crate) retire: Option<Retire>,
}

/// What is loaded and attached.
pub(crate) struct Coming<'a> {
    pub(crate) plan: &'a Plan<'a>,
    /// The program whose maps are shared.
    pub(crate) owner: Option<ProgramId>,
    pub(crate) shared: &'a Shared,
    /// The program whose place it takes, on the same hook.
    pub(crate) leaving: Option<&'a Record>,
}

/// parse ─► resolve ─► plan ─► load ─► attach or swap ─► commit ─► retire
pub(crate) fn load(
    manager: &Manager,
    request: &LoadRequest,
    progress: &Progress<'_>,
) -> Result<ProgramView> {
    let config = Config::read(&manager.config)?;
    let plan = Plan::make(&manager.images(&config), request, progress)?;
    let mut session = Session::begin(manager)?;
    put(&config, &mut session, &plan, None)
}

/// load ─► attach or swap ─► commit ─► retire; what leaves does so in the same swap and commit.
pub(crate) fn put(
    config: &Config,
    session: &mut Session,
    plan: &Plan<'_>,
    leaving: Option<&Record>,
) -> Result<ProgramView> {
    let (owner, shared) = plan.shared(session)?;
    let coming = Coming {
        plan,
        owner,
        shared: &shared,
        leaving,
    };
    let mut undo = Undo::default();
    let request = plan.request;
    let attached = match pending::side(&request.attach) {
        Some(side) => chain::insert(config, session, &coming, side, &mut undo),
        None => attach(session, &coming, &mut undo),
    }
    .map_err(|error| explain(error, plan))?;
    let made_clsact = attached
        .retire
        .as_ref()
        .is_some_and(|retire| retire.made_clsact);
    session.commit(|state| {
        state.seq += 1;
        let maps = owner.unwrap_or(attached.id);
        let record = plan.record(attached.id, attached.place, maps, state.seq);
        state.programs.insert(attached.id, record);
        if let Some(leaving) = leaving {
            state.programs.remove(&leaving.id);
        }
        state.clsact.extend(attached.place.filter(|_| made_clsact));
    })?;
    undo.defuse();
    committed("load.committed");
    if let Some(retire) = attached.retire {
        retire.run(session);
    }
    if let Some(leaving) = leaving {
        unload::take_away(session, leaving);
    }
    let id = attached.id;
    view::get(&session.state, &session.pins, id).map_err(|source| Error::NotShown {
        id,
        source: Box::new(source),
    })
}

/// A point after the commit: nothing that fails from here on makes the command fail.
pub(crate) fn committed(point: &'static str) {
    if let Err(error) = fault::point(point) {
        log::warn!("{error}");
    }
}

/// Loads a program that a link of its own holds, and attaches it.
fn attach(session: &Session, coming: &Coming<'_>, undo: &mut Undo<'static>) -> Result<Attached> {
    let plan = coming.plan;
    let attach = &plan.request.attach;
    let hook = match attach {
        Attach::Tcx { net, direction } => {
            let side = Side::Tc(*direction);
            let hook = Hook::open(&session.pins, net, side, Access::Read)?;
            // Both run for a moment: better than that none of them does.
            let order = match coming.leaving {
                Some(old) if old.attach.net().map(|old| old.priority) == Some(net.priority) => {
                    Order::InPlaceOf(old.id, net.priority)
                }
                _ => Order::Priority(net.priority),
            };
            Some((hook, *direction, order))
        }
        _ => None,
    };
    let loaded = plan.load(role(attach), coming.shared)?;
    name(session, &loaded, coming.owner, undo)?;
    let link = session.pins.link(loaded.id);
    if let Some((hook, direction, order)) = &hook {
        let ours = others(session, hook.place, attach);
        hook.attach_tcx(&loaded.fd, *direction, *order, &ours, &link)?;
    } else {
        let event = plan.event.as_ref();
        kernel::attach(
            &loaded.fd,
            plan.program.name(),
            event,
            describe(attach),
            &link,
        )?;
    }
    undo.push("detach the program", move || PinTree::unpin(&link));
    fault::point("load.attached").map_err(kernel::Error::Fault)?;
    Ok(Attached {
        id: loaded.id,
        place: hook.map(|(hook, ..)| hook.place),
        retire: None,
    })
}

const fn role(attach: &Attach) -> Role<'_> {
    match attach {
        Attach::Xdp { .. } => Role::Xdp,
        Attach::Tc { .. } | Attach::Tcx { .. } => Role::Tc,
        Attach::Tracepoint { .. } => Role::Tracepoint,
        Attach::Kprobe { .. } | Attach::Uprobe { .. } => Role::Probe,
        Attach::Fentry { fn_name } => Role::Fentry(fn_name.as_str()),
        Attach::Fexit { fn_name } => Role::Fexit(fn_name.as_str()),
    }
}

/// Our TCX programs on the same side of the same interface, with their priorities.
fn others(session: &Session, place: Place, attach: &Attach) -> Vec<(ProgramId, u32)> {
    let here = |record: &&model::Record| {
        record.place == Some(place)
            && matches!(record.attach, Attach::Tcx { .. })
            && record.attach.direction() == attach.direction()
    };
    let records = session.state.programs.values().filter(here);
    records
        .filter_map(|record| Some((record.id, record.attach.net()?.priority)))
        .collect()
}

/// Gives a loaded program and its maps names in our tree, before it matters.
pub(crate) fn name(
    session: &Session,
    loaded: &Loaded,
    owner: Option<ProgramId>,
    undo: &mut Undo<'static>,
) -> Result<()> {
    fault::point("load.loaded").map_err(kernel::Error::Fault)?;
    let pin = session.pins.program(loaded.id);
    PinTree::pin(&loaded.fd, &pin)?;
    undo.push("unpin the program", move || PinTree::unpin(&pin));
    fault::point("load.program-pinned").map_err(kernel::Error::Fault)?;
    if owner.is_none() {
        let folder = session.pins.maps(loaded.id);
        undo.push("unpin the maps", move || PinTree::unpin_folder(&folder));
    }
    let folder = session.pins.make_maps(owner.unwrap_or(loaded.id))?;
    for map in loaded
        .maps
        .iter()
        .filter(|map| !map.shared && !kernel::is_constant(&map.name))
    {
        let pin = folder.join(kernel::map_pin_name(&map.name));
        // Two sharers may each have a map of this name that the owner has not: the first one's
        // is the one that others find.
        if owner.is_some() && pin.exists() {
            continue;
        }
        PinTree::pin(&map.fd, &pin)?;
        undo.push("unpin a map", move || PinTree::unpin(&pin));
        fault::point("load.map-pinned").map_err(kernel::Error::Fault)?;
    }
    Ok(())
}

/// Names the missing feature where the kernel only said no.
fn explain(error: Error, plan: &Plan<'_>) -> Error {
    let bare = matches!(
        &error,
        Error::Kernel(
            kernel::Error::Refused { .. }
                | kernel::Error::Attach { .. }
                | kernel::Error::Swap { .. }
                | kernel::Error::Query { .. }
        )
    );
    if !bare {
        return error;
    }
    let mut needed = kernel::Feature::needed(plan.request.attach.kind(), false).to_vec();
    if plan.frags() {
        needed.push(kernel::Feature::XdpFrags);
    }
    // libbpf's words for a program that does not fit into the array.
    if error.to_string().contains("failed to initialize slot") {
        needed.push(kernel::Feature::ExtensionTailCalls);
    }
    match kernel::missing_feature(&needed) {
        Some(lack) => Error::Unsupported {
            lack,
            source: Box::new(error),
        },
        None => error,
    }
}
