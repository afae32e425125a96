//! Taking a program of ours away.

use model::ProgramId;

use crate::{Manager, Result, chain, load, pending, session::Session};

/// Detaches and unloads. A program that has gone by itself in the meantime is no error.
pub(crate) fn unload(manager: &Manager, id: ProgramId) -> Result<()> {
    let mut session = Session::begin(manager)?;
    if session.dropped.contains_key(&id) {
        return Ok(());
    }
    let record = session.record(id)?.clone();
    if let Some(side) = pending::side(&record.attach) {
        return chain::remove(&mut session, &record, side);
    }
    session.commit(|state| _ = state.programs.remove(&id))?;
    load::committed("unload.committed");
    Ok(session.unpin(&record)?)
}
