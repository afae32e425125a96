//! Taking a program of ours away.

use kernel::fault;
use model::ProgramId;

use crate::{Manager, Result, chain, pending, session::Session};

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
    fault::point("unload.committed").map_err(kernel::Error::Fault)?;
    Ok(session.unpin(&record)?)
}
