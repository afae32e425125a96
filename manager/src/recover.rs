//! Bringing kernel and state together, whatever happened to either.
//!
//! The kernel decides what exists: a record without its program is dropped. State decides what it
//! means: a program of ours without a record was left by a command that was killed, and goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use kernel::{Access, Live, PinTree, Side, Site, dismantle};
use model::{Place, ProgramId, Record};

use crate::{
    Result, chain,
    error::describe,
    pending::{self, Pending},
    session::Session,
    undo::Undo,
};

/// Everything, in the order in which one step relies on the other.
pub(crate) fn run(session: &mut Session) -> Result<()> {
    finish_pending(session)?;
    let gone = gone(session)?;
    if !gone.is_empty() {
        drop_records(session, &gone)?;
    }
    remove_idle_clsact(session)?;
    remove_orphans(session)
}

/// Takes back, or finishes, the change of a hook that a killed command began.
fn finish_pending(session: &mut Session) -> Result<()> {
    let Some(pending) = session.root.read_pending()? else {
        return Ok(());
    };
    let (Some(side), Some(net)) = (pending::side(&pending.attach), pending.attach.net()) else {
        return session.root.clear_pending();
    };
    let mut running = None;
    if let Some(site) = Site::find(&session.pins, net, pending.place, side, Access::Write)? {
        let site = Rc::new(site);
        if !session.state.programs.contains_key(&pending.program) {
            take_back(session, &site, &pending)?;
        }
        running = site.live()?.dispatcher();
    }
    for dispatcher in pending
        .dispatchers
        .iter()
        .filter(|id| Some(**id) != running)
    {
        dismantle(&session.pins, side, pending.place, *dispatcher)?;
    }
    session.root.clear_pending()
}

/// The program was never committed, or is committed to be gone.
fn take_back(session: &Session, site: &Rc<Site>, pending: &Pending) -> Result<()> {
    let mut undo = Undo::default();
    let taken = chain::take_out(session, site, &pending.attach, pending.program, &mut undo)?;
    undo.defuse();
    if let Some(retire) = taken {
        log::warn!(
            "program {} was left on {} by a command that was killed: removed",
            pending.program,
            site.describe()
        );
        retire.run(session);
    }
    // The command may have made the qdisc, and not have lived to say so. One that somebody else
    // made and left empty cannot be told from it.
    if pending.made_clsact && matches!(site.live()?, Live::Empty) {
        site.remove_clsact()?;
    }
    Ok(())
}

/// The programs whose records speak of something that is no longer there.
fn gone(session: &Session) -> Result<BTreeSet<ProgramId>> {
    let pinned: BTreeSet<_> = session.pins.programs()?.into_iter().collect();
    let linked: BTreeSet<_> = session.pins.links()?.into_iter().collect();
    let mut gone = BTreeSet::new();
    let mut hooks: BTreeMap<(Side, Place), Vec<&Record>> = BTreeMap::new();
    for record in session.state.programs.values() {
        if !pinned.contains(&record.id) {
            gone.insert(record.id);
        } else if let Some(hook) = pending::hook(record) {
            hooks.entry(hook).or_default().push(record);
        } else if !linked.contains(&record.id) || is_detached(session, record)? {
            gone.insert(record.id);
        }
    }
    for ((side, place), records) in hooks {
        gone.extend(absent(session, side, place, &records)?);
    }
    Ok(gone)
}

/// A TCX link outlives its interface, detached. Other links live and die with their pins.
fn is_detached(session: &Session, record: &Record) -> Result<bool> {
    match record.place {
        Some(place) => Ok(!kernel::tcx_is_attached(
            &session.pins.link(record.id),
            place,
        )?),
        None => Ok(false),
    }
}

/// The records of one hook whose programs it does not run.
fn absent(
    session: &Session,
    side: Side,
    place: Place,
    records: &[&Record],
) -> Result<Vec<ProgramId>> {
    let Some(net) = records.first().and_then(|record| record.attach.net()) else {
        return Ok(Vec::new());
    };
    // libxdp may be in the middle of a change: what looks absent is looked at again under its
    // lock.
    let mut missing = Vec::new();
    for access in [Access::Read, Access::Write] {
        let Some(site) = Site::find(&session.pins, net, place, side, access)? else {
            return Ok(records.iter().map(|record| record.id).collect());
        };
        let live = site.live();
        let absent = |record: &&&Record| match &live {
            Ok(live) => live.position(record.id).is_none(),
            Err(_) => true,
        };
        missing = records
            .iter()
            .filter(absent)
            .map(|record| record.id)
            .collect();
        if missing.is_empty() {
            break;
        }
        if let (Err(error), Access::Write) = (&live, access) {
            log::warn!("cannot tell what {} runs: {error}", site.describe());
            return Ok(Vec::new());
        }
    }
    Ok(missing)
}

fn drop_records(session: &mut Session, gone: &BTreeSet<ProgramId>) -> Result<()> {
    for id in gone {
        let Some(record) = session.state.programs.get(id).cloned() else {
            continue;
        };
        log::warn!(
            "program {id} ('{}') is no longer on {}: dropped",
            record.name,
            describe(&record.attach)
        );
        if let (Some((side, place)), Some(net)) = (pending::hook(&record), record.attach.net())
            && Site::find(&session.pins, net, place, side, Access::Read)?.is_none()
        {
            kernel::sweep(&session.pins, side, place, *id)?;
        }
        session.unpin(&record)?;
        session.state.programs.remove(id);
        session.dropped.insert(*id, record);
    }
    session.root.write(&session.state)
}

/// clsact qdiscs of ours that hold nothing of ours any more.
fn remove_idle_clsact(session: &mut Session) -> Result<()> {
    let mut idle = session.state.clsact.clone();
    idle.retain(|place| session.clsact_is_idle(*place));
    idle.into_iter()
        .try_for_each(|place| chain::remove_clsact(session, place))
}

/// Pins that no record names: what a killed command left.
fn remove_orphans(session: &Session) -> Result<()> {
    let state = &session.state;
    for id in session.pins.links()? {
        if !state.programs.contains_key(&id) {
            PinTree::unpin(&session.pins.link(id))?;
        }
    }
    for id in session.pins.programs()? {
        if !state.programs.contains_key(&id) {
            log::info!("program {id} was left by a command that was killed: removed");
            PinTree::unpin(&session.pins.program(id))?;
        }
    }
    for owner in session.pins.map_folders()? {
        if state.users_of(owner).next().is_none() {
            PinTree::unpin_folder(&session.pins.maps(owner))?;
        }
    }
    Ok(())
}
