//! Taking programs of ours away.

use kernel::PinTree;
use model::{ProgramId, Record};

use crate::{
    Error, Manager, Result, chain, load, pending, report::in_one_line, session::Session, undo::Undo,
};

/// Detaches and unloads each program, whatever happened to those before it; answers those that
/// failed. One that has gone by itself in the meantime is no failure.
pub(crate) fn unload(manager: &Manager, ids: &[ProgramId]) -> Result<Vec<(ProgramId, Error)>> {
    let mut session = Session::begin(manager)?;
    let mut failures = Vec::new();
    for id in ids.iter().copied() {
        if session.dropped.contains_key(&id) {
            continue;
        }
        if let Err(error) = one(&mut session, id) {
            failures.push((id, error));
        }
    }
    Ok(failures)
}

/// Detaches and unloads one program.
pub(crate) fn one(session: &mut Session, id: ProgramId) -> Result<()> {
    let record = session.record(id)?.clone();
    if let Some(side) = pending::side(&record.attach) {
        return chain::remove(session, &record, side);
    }
    let mut undo = Undo::default();
    let pin = session.pins.link(id);
    if let Some(link) = PinTree::release(&pin)? {
        undo.push("name the link again", move || link.keep(&pin));
    }
    fault::point("unload.link-released").map_err(kernel::Error::Fault)?;
    session.commit(|state| _ = state.programs.remove(&id))?;
    // Here the link goes, and with it the attachment.
    undo.defuse();
    load::committed("unload.committed");
    take_away(session, &record);
    Ok(())
}

/// Takes away what is left of a program that is committed to be gone. What cannot be taken away now
/// goes with the next command.
pub(crate) fn take_away(session: &Session, record: &Record) {
    if let Err(error) = session.unpin(record) {
        let why = in_one_line(&error);
        log::warn!("cannot take all of program {} away: {why}", record.id);
    }
}
