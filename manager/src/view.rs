//! What is loaded, for those who only look. Nothing here changes anything or waits for anybody.

use kernel::{Access, Hook, PinTree, Side};
use model::{Attach, BpfmanState, ProgramId, ProgramView, Record, Summary};

use crate::{
    Error, ListFilter, Result,
    state::{Found, Root, State, boot_id},
};

/// The state as it is; empty where nothing was ever loaded in this boot.
pub(crate) fn read(root: &Root) -> Result<State> {
    let boot_id = boot_id()?;
    match root.read()? {
        Found::State(state) if state.is_of(&boot_id) => Ok(state),
        Found::State(_) | Found::Nothing => Ok(State::empty(boot_id)),
        Found::Damaged(damage) => Err(damage),
    }
}

/// One program in full, ours or not.
pub(crate) fn get(state: &State, pins: &PinTree, id: ProgramId) -> Result<ProgramView> {
    let program = kernel::program(id)?.ok_or(Error::NoProgram(id))?;
    let mut kernel = program.state;
    let Some(record) = state.programs.get(&id) else {
        return Ok(ProgramView {
            bpfman: None,
            kernel,
        });
    };
    kernel.kind = record.attach.kind().kernel_type();
    let bpfman = BpfmanState {
        name: record.name.clone(),
        source: record.source.clone(),
        globals: record.globals.clone(),
        metadata: record.metadata.clone(),
        map_pin_path: pins.maps(record.maps),
        map_owner_id: record.map_owner,
        map_used_by: state
            .users_of(record.maps)
            .filter(|id| kernel::program_alive(*id))
            .collect(),
        attach: record.attach.clone(),
        position: position(pins, record),
    };
    Ok(ProgramView {
        bpfman: Some(bpfman),
        kernel,
    })
}

/// How often a hook is looked at that somebody changes at the same moment.
const LOOKS: usize = 5;

/// None also where the hook cannot be seen from here.
fn position(pins: &PinTree, record: &Record) -> Option<usize> {
    let (net, place) = (record.attach.net()?, record.place?);
    let side = match record.attach.direction() {
        Some(direction) => Side::Tc(direction),
        None => Side::Xdp,
    };
    let hook = Hook::find(pins, net, place, side, Access::Read)
        .ok()
        .flatten()?;
    (0..LOOKS).find_map(|_| {
        let programs = match record.attach {
            Attach::Tcx { direction, .. } => hook.tcx_programs(direction),
            _ => hook.live().map(|live| live.programs()),
        };
        programs.ok()?.iter().position(|id| *id == record.id)
    })
}

/// The programs that fit the filter, by id.
pub(crate) fn list(state: &State, filter: &ListFilter) -> Result<Vec<Summary>> {
    let mut rows = Vec::new();
    if filter.all {
        for id in kernel::ProgramIds::default() {
            rows.extend(summary(id?, state)?);
        }
    } else {
        for id in state.programs.keys() {
            rows.extend(summary(*id, state)?);
        }
    }
    rows.retain(|row| {
        filter.kind.is_none_or(|kind| row.kind == kind)
            && filter
                .metadata
                .iter()
                .all(|(key, value)| row.metadata.get(key) == Some(value))
    });
    Ok(rows)
}

/// The same programs in full, but for those that went in the meantime.
pub(crate) fn list_in_full(
    state: &State,
    pins: &PinTree,
    filter: &ListFilter,
) -> Result<Vec<ProgramView>> {
    let rows = list(state, filter)?.into_iter();
    rows.filter_map(|row| match get(state, pins, row.id) {
        Err(Error::NoProgram(_)) => None,
        other => Some(other),
    })
    .collect()
}

/// None for a program that is gone: the next command that writes drops its record.
fn summary(id: ProgramId, state: &State) -> Result<Option<Summary>> {
    let Some(program) = kernel::glance(id)? else {
        return Ok(None);
    };
    let record = state.programs.get(&id);
    Ok(Some(Summary {
        id,
        name: record.map_or(program.name, |record| record.name.clone()),
        kind: record.map_or(program.kind, |record| record.attach.kind().kernel_type()),
        loaded_at: program.loaded_at,
        managed: record.is_some(),
        metadata: record
            .map(|record| record.metadata.clone())
            .unwrap_or_default(),
    }))
}
