//! Bringing kernel and state together, whatever happened to either.
//!
//! The kernel decides what exists: a record without its program is dropped. State decides what it
//! means: a program of ours without a record was left by a command that was killed, and goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use kernel::{Access, Hook, Live, PinTree, Side, dismantle};
use model::{Attach, Place, ProgramId, Record};

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
    name_again(session)?;
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
    if !session.state.is_of(&pending.boot_id) {
        return session.root.clear_pending();
    }
    let apart = |dispatcher| dismantle(&session.pins, side, pending.place, dispatcher);
    if session.state.programs.contains_key(&pending.program) && pending.coming {
        // Committed; at most the old dispatcher is left. The note stays, see Retire.
        return Ok(pending.old.map_or(Ok(()), apart)?);
    }
    let mut running = None;
    if let Some(hook) = Hook::find(&session.pins, net, pending.place, side, Access::Write)? {
        let hook = Rc::new(hook);
        if !session.state.programs.contains_key(&pending.program) {
            if hook.live()?.dispatcher() != pending.old {
                // The next note will not know it any more.
                pending.old.map_or(Ok(()), apart)?;
            }
            take_back(session, &hook, &pending)?;
        }
        running = hook.live()?.dispatcher();
    }
    for dispatcher in pending.old.into_iter().chain(pending.new) {
        if Some(dispatcher) != running {
            apart(dispatcher)?;
        }
    }
    session.root.clear_pending()
}

/// The program was never committed, or is committed to be gone.
fn take_back(session: &Session, hook: &Rc<Hook>, pending: &Pending) -> Result<()> {
    let mut undo = Undo::default();
    let old = pending.leaving.as_ref();
    // Without it, the exchange was committed, and the document that said so was lost.
    let old = old.filter(|old| kernel::program_alive(old.program));
    let taken = match old {
        Some(old) => chain::put_back(session, hook, pending, old, &mut undo)?,
        None => chain::take_out(session, hook, &pending.attach, pending.program, &mut undo)?,
    };
    undo.defuse();
    if let Some(retire) = taken {
        let (id, hook) = (pending.program, hook.describe());
        match old {
            Some(old) => log::warn!(
                "program {id} was put in the place of {} on {hook} by a command that was killed: \
                 taken back",
                old.program
            ),
            None => {
                log::warn!("program {id} was left on {hook} by a command that was killed: removed");
            }
        }
        retire.run(session);
    }
    // The command may have made the qdisc, and not have lived to say so. One that somebody else
    // made and left empty cannot be told from it.
    if pending.made_clsact && matches!(hook.live()?, Live::Empty) {
        hook.remove_clsact()?;
    }
    Ok(())
}

/// The programs whose records speak of something that is no longer there.
fn gone(session: &Session) -> Result<BTreeSet<ProgramId>> {
    let pinned: BTreeSet<_> = session.pins.programs()?.into_iter().collect();
    let linked: BTreeSet<_> = session.pins.links()?.into_iter().collect();
    let mut gone = BTreeSet::new();
    let mut points: BTreeMap<(Point, Place), Vec<&Record>> = BTreeMap::new();
    for record in session.state.programs.values() {
        let point = point(record);
        let chained = point.is_some_and(|(point, _)| !point.tcx);
        let alive = pinned.contains(&record.id) || kernel::program_alive(record.id);
        if !alive || !chained && !linked.contains(&record.id) {
            gone.insert(record.id);
        } else if let Some(point) = point {
            points.entry(point).or_default().push(record);
        }
    }
    for ((point, place), records) in points {
        gone.extend(absent(session, point, place, &records)?);
    }
    Ok(gone)
}

/// What can be asked for the programs that it runs: a chain, or a TCX hook.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    side: Side,
    tcx: bool,
}

fn point(record: &Record) -> Option<(Point, Place)> {
    let tcx = matches!(record.attach, Attach::Tcx { .. });
    let side = match record.attach.direction() {
        Some(direction) => Side::Tc(direction),
        None => Side::Xdp,
    };
    Some((Point { side, tcx }, record.place?))
}

/// The records of one hook whose programs it does not run.
fn absent(
    session: &Session,
    point: Point,
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
        let Some(hook) = Hook::find(&session.pins, net, place, point.side, access)? else {
            return Ok(records.iter().map(|record| record.id).collect());
        };
        let running = match point.side {
            Side::Tc(direction) if point.tcx => hook.tcx_programs(direction),
            _ => hook.live().map(|live| live.programs()),
        };
        let absent = |record: &&&Record| match &running {
            Ok(running) => !running.contains(&record.id),
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
        if let (Err(error), Access::Write) = (&running, access) {
            log::warn!("cannot tell what {} runs: {error}", hook.describe());
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
        sweep(session, &record)?;
        session.unpin(&record)?;
        session.state.programs.remove(id);
        session.dropped.insert(*id, record);
        fault::point("recover.record-dropped").map_err(kernel::Error::Fault)?;
    }
    session.root.write(&session.state)?;
    // Both documents know, or both do not know, whatever the note speaks of.
    session.root.clear_pending()
}

/// Takes away what is left of the chain that a dropped program was in.
fn sweep(session: &Session, record: &Record) -> Result<()> {
    let (Some((Point { side, tcx: false }, place)), Some(net)) =
        (point(record), record.attach.net())
    else {
        return Ok(());
    };
    let hook = Hook::find(&session.pins, net, place, side, Access::Write)?;
    let idle = match &hook {
        Some(hook) => matches!(hook.live()?, Live::Empty),
        None => true,
    };
    Ok(kernel::sweep(&session.pins, side, place, record.id, idle)?)
}

/// Programs that still run, but whose pin somebody removed.
fn name_again(session: &Session) -> Result<()> {
    let pinned: BTreeSet<_> = session.pins.programs()?.into_iter().collect();
    let nameless = |id: &&ProgramId| !pinned.contains(id);
    for id in session.state.programs.keys().filter(nameless) {
        if let Some(program) = kernel::program(*id)? {
            log::warn!("the pin of program {id} was removed: pinned again");
            PinTree::pin(&program.fd, &session.pins.program(*id))?;
        }
    }
    Ok(())
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
            fault::point("recover.link-removed").map_err(kernel::Error::Fault)?;
        }
    }
    for id in session.pins.programs()? {
        if !state.programs.contains_key(&id) {
            log::info!("program {id} was left by a command that was killed: removed");
            PinTree::unpin(&session.pins.program(id))?;
            fault::point("recover.program-removed").map_err(kernel::Error::Fault)?;
        }
    }
    for owner in session.pins.map_folders()? {
        if state.users_of(owner).next().is_none() {
            PinTree::unpin_folder(&session.pins.maps(owner))?;
        }
    }
    Ok(())
}
