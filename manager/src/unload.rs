//! Taking programs of ours away.

use std::{
    cell::Cell,
    thread::sleep,
    time::{Duration, Instant},
};

use kernel::PinTree;
use model::{ProgramId, Record};

use crate::{
    Error, Manager, Result, chain, load, pending, report::in_one_line, session::Session, undo::Undo,
};

/// How long a command waits for the kernel to let go of programs. It takes tens of milliseconds.
const LONGEST: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(2);

/// Detaches and unloads each program, whatever happened to those before it; answers those that
/// failed.
pub(crate) fn unload(manager: &Manager, ids: &[ProgramId]) -> Result<Vec<(ProgramId, Error)>> {
    let mut session = Session::begin(manager)?;
    let (mut failures, mut departed) = (Vec::new(), Vec::new());
    for id in ids.iter().copied() {
        match one(&mut session, id) {
            Ok(()) => departed.push(id),
            Err(error) => failures.push((id, error)),
        }
    }
    // Still locked: who unloads one of them as well would take it for somebody else's.
    wait_for(departed);
    Ok(failures)
}

/// Detaches and unloads one program. One that has gone by itself in the meantime is no failure.
pub(crate) fn one(session: &mut Session, id: ProgramId) -> Result<()> {
    if session.dropped.contains_key(&id) {
        return Ok(());
    }
    let record = session.record(id)?.clone();
    if let Some(side) = pending::side(&record.attach) {
        return chain::remove(session, &record, side);
    }
    let pin = session.pins.link(id);
    let link = Cell::new(PinTree::release(&pin)?);
    let name_again = || link.take().map_or(Ok(()), |link| link.keep(&pin));
    let mut undo = Undo::default();
    undo.push("name the link again", name_again);
    fault::point("unload.link-released").map_err(kernel::Error::Fault)?;
    session.commit(|state| _ = state.programs.remove(&id))?;
    undo.defuse();
    load::committed("unload.committed");
    // With its name it can be removed without waiting for the kernel; otherwise it goes here.
    let _ = name_again();
    take_away(session, &record);
    Ok(())
}

/// Waits until programs that were taken away are gone, and with them what they did: the kernel
/// takes some apart after all that runs has come by. One that somebody else holds stays.
pub(crate) fn wait_for(ids: impl IntoIterator<Item = ProgramId>) {
    let end = Instant::now() + LONGEST;
    for id in ids {
        while kernel::program_alive(id) && Instant::now() < end {
            sleep(STEP);
        }
    }
}

/// Takes away what is left of a program that is committed to be gone. What cannot be taken away now
/// goes with the next command.
pub(crate) fn take_away(session: &Session, record: &Record) {
    if let Err(error) = session.unpin(record) {
        let why = in_one_line(&error);
        log::warn!("cannot take all of program {} away: {why}", record.id);
    }
}
