//! What is loaded, for those who only look. Nothing here changes anything or waits for anybody.

use std::collections::BTreeMap;

use kernel::{Access, Hook, PinTree};
use model::{BpfmanState, ProgramId, ProgramView, Record, Summary};

use crate::{
    Error, ListFilter, Result,
    moved::{Point, Whereabouts},
    report::in_one_line,
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
    let mut record = record.clone();
    let whereabouts = whereabouts(pins, &record).unwrap_or_else(|error| {
        log::warn!(
            "cannot tell the position of program {id}: {}",
            in_one_line(&error)
        );
        None
    });
    if let Some((now, _)) = &whereabouts {
        now.note(&mut record);
    }
    kernel.kind = record.attach.kind().kernel_type();
    let bpfman = BpfmanState {
        name: record.name,
        source: record.source,
        provenance: record.provenance,
        globals: record.globals,
        metadata: record.metadata,
        map_pin_path: pins.maps(record.maps),
        map_owner_id: record.map_owner,
        map_used_by: state
            .users_of(record.maps)
            .filter(|user| *user == id || kernel::program_alive(*user))
            .collect(),
        attach: record.attach,
        position: whereabouts.map(|(_, position)| position),
    };
    Ok(ProgramView {
        bpfman: Some(bpfman),
        kernel,
    })
}

/// The record of a program of ours that is loaded and attached, with the interface on which it
/// runs by now; None where it does not run. The next command that writes finds out for sure.
pub(crate) fn running(pins: &PinTree, mut record: Record) -> Option<Record> {
    if !kernel::program_alive(record.id) {
        return None;
    }
    if record.attach.net().is_none() {
        return pins.link(record.id).exists().then_some(record);
    }
    match whereabouts(pins, &record) {
        Ok(Some((now, _))) => {
            now.note(&mut record);
            Some(record)
        }
        Ok(None) => None,
        // What cannot be looked at now may well run.
        Err(_) => Some(record),
    }
}

/// How often a hook is looked at that somebody changes at the same moment.
const LOOKS: usize = 5;

/// Where a program runs, and its position there. None also where its hook cannot be seen from
/// here.
fn whereabouts(pins: &PinTree, record: &Record) -> Result<Option<(Whereabouts, usize)>> {
    let (Some(net), Some((point, place))) = (record.attach.net(), Point::of(record)) else {
        return Ok(None);
    };
    if let Some(hook) = Hook::find(pins, net, place, point.side, Access::Read)?
        && let Some(position) = position(&hook, point, record.id)?
    {
        return Ok(Some((Whereabouts::of(&hook), position)));
    }
    let Some(hook) = Hook::search(pins, point.side, &[record.id], Access::Read)? else {
        return Ok(None);
    };
    let position = position(&hook, point, record.id)?;
    Ok(position.map(|position| (Whereabouts::of(&hook), position)))
}

/// The position of a program on a hook that runs it.
fn position(hook: &Hook, point: Point, id: ProgramId) -> Result<Option<usize>> {
    let look = || {
        let programs = point.programs(hook)?;
        Ok(programs.iter().position(|program| *program == id))
    };
    let mut seen = look();
    for _ in 1..LOOKS {
        if matches!(seen, Ok(Some(_))) {
            break;
        }
        seen = look();
    }
    seen
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
        filter.kind.is_none_or(|kind| row.kind == kind) && has_all(Some(&row.metadata), filter)
    });
    Ok(rows)
}

/// The same programs in full.
pub(crate) fn list_in_full(
    state: &State,
    pins: &PinTree,
    filter: &ListFilter,
) -> Result<Vec<ProgramView>> {
    let ids: Vec<ProgramId> = if filter.all {
        kernel::ProgramIds::default().collect::<std::result::Result<_, _>>()?
    } else {
        state.programs.keys().copied().collect()
    };
    let mut views = Vec::new();
    for id in ids {
        let record = state.programs.get(&id);
        if !has_all(record.map(|record| &record.metadata), filter) {
            continue;
        }
        match get(state, pins, id) {
            Ok(view) => views.push(view),
            // Gone in the meantime.
            Err(Error::NoProgram(_)) => {}
            Err(error) => return Err(error),
        }
    }
    views.retain(|view| filter.kind.is_none_or(|kind| view.kernel.kind == kind));
    Ok(views)
}

/// Whether a program carries what is asked for; none is a program of somebody else.
fn has_all(metadata: Option<&BTreeMap<String, String>>, filter: &ListFilter) -> bool {
    let has = |key, value| metadata.and_then(|pairs| pairs.get(key)) == Some(value);
    let mut wanted = filter.metadata.iter();
    wanted.all(|(key, value)| has(key, value))
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
