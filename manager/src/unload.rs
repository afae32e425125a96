//! Taking programs of ours away.

use model::{Attach, ProgramId};

use crate::{Error, Manager, Result, chain, load, pending, session::Session};

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
    session.commit(|state| _ = state.programs.remove(&id))?;
    load::committed("unload.committed");
    let gone = session.unpin(&record);
    let held = !matches!(record.attach, Attach::Tcx { .. }) && session.pins.link(id).exists();
    if gone.is_err() && held {
        // It runs on, so it is listed on.
        session.commit(|state| _ = state.programs.insert(id, record))?;
    }
    Ok(gone?)
}
