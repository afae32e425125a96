//! From request to running program.

use bytecode::image::Progress;
use kernel::{Access, Hook, Loaded, PinTree, Role, Side, fault};
use model::{Attach, Place, ProgramId, ProgramView};

use crate::{
    Error, LoadRequest, Manager, Result,
    chain::{self, Retire},
    config::Config,
    error::describe,
    pending,
    plan::{Plan, Shared},
    session::Session,
    undo::Undo,
    view,
};

/// A program that is attached, but not committed yet.
pub(crate) struct Attached {
    pub(crate) id: ProgramId,
    pub(crate) place: Option<Place>,
    pub(crate) retire: Option<Retire>,
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
    let (owner, shared) = plan.shared(&session)?;
    let mut undo = Undo::default();
    let attached = match pending::side(&request.attach) {
        Some(side) => chain::insert(&config, &session, &plan, owner, &shared, side, &mut undo),
        None => attach(&session, &plan, owner, &shared, &mut undo),
    }
    .map_err(|error| explain(error, &request.attach))?;
    let made_clsact = attached
        .retire
        .as_ref()
        .is_some_and(|retire| retire.made_clsact);
    session.commit(|state| {
        state.seq += 1;
        let maps = owner.unwrap_or(attached.id);
        let record = plan.record(attached.id, attached.place, maps, state.seq);
        state.programs.insert(attached.id, record);
        state.clsact.extend(attached.place.filter(|_| made_clsact));
    })?;
    undo.defuse();
    committed("load.committed");
    if let Some(retire) = attached.retire {
        retire.run(&session);
    }
    view::get(&session.state, &session.pins, attached.id)
}

/// A point after the commit: nothing that fails from here on makes the command fail.
pub(crate) fn committed(point: &'static str) {
    if let Err(error) = fault::point(point) {
        log::warn!("{error}");
    }
}

/// Loads a program that a link of its own holds, and attaches it.
fn attach(
    session: &Session,
    plan: &Plan<'_>,
    owner: Option<ProgramId>,
    shared: &Shared,
    undo: &mut Undo<'static>,
) -> Result<Attached> {
    let attach = &plan.request.attach;
    let hook = match attach {
        Attach::Tcx { net, direction } => {
            let side = Side::Tc(*direction);
            let hook = Hook::open(&session.pins, net, side, Access::Read)?;
            Some((hook, *direction, net.priority))
        }
        _ => None,
    };
    let loaded = plan.load(role(attach), shared)?;
    name(session, &loaded, owner, undo)?;
    let link = session.pins.link(loaded.id);
    if let Some((hook, direction, priority)) = &hook {
        let ours = others(session, hook.place, attach);
        hook.attach_tcx(&loaded.fd, *direction, *priority, &ours, &link)?;
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
    let folder = session.pins.make_maps(owner.unwrap_or(loaded.id))?;
    if owner.is_none() {
        let folder = folder.clone();
        undo.push("unpin the maps", move || PinTree::unpin_folder(&folder));
    }
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
    }
    fault::point("load.maps-pinned").map_err(kernel::Error::Fault)?;
    Ok(())
}

/// Names the missing feature where the kernel only said no.
fn explain(error: Error, attach: &Attach) -> Error {
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
    let needed = kernel::Feature::needed(attach.kind(), false);
    match kernel::missing_feature(needed) {
        Some(lack) => Error::Unsupported {
            lack,
            source: Box::new(error),
        },
        None => error,
    }
}
