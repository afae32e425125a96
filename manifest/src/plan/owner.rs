//! Who owns the maps that a program shares.

use std::collections::BTreeSet;

use model::{ProgramId, Record};

use super::{Action, Difference, Owner, Step, Wish};
use crate::{Of, Selector};

/// The wishes that one may share maps with, by its selector.
fn candidates(wishes: &[Wish], at: usize) -> Vec<usize> {
    let Some(selector) = &wishes[at].desired.map_owner else {
        return Vec::new();
    };
    let fits = |other: &usize| *other != at && selector.selects(&wishes[*other].desired.labels);
    (0..wishes.len()).filter(fits).collect()
}

/// The wishes with every owner before those who share its maps, otherwise as they were written; and
/// those that own their own maps in the end.
pub(super) fn order(wishes: &[Wish]) -> (Vec<usize>, BTreeSet<usize>) {
    let mut order = Vec::new();
    let mut left: Vec<usize> = (0..wishes.len()).collect();
    while !left.is_empty() {
        let waits = |at: &usize| {
            let owner = chosen(wishes, *at).ok().flatten();
            owner.is_some_and(|owner| left.contains(&owner))
        };
        let (waiting, ready): (Vec<_>, Vec<_>) = left.iter().copied().partition(waits);
        if ready.is_empty() {
            let cyclic = waiting.iter().copied().collect();
            order.extend(waiting);
            return (order, cyclic);
        }
        order.extend(ready);
        left = waiting;
    }
    (order, BTreeSet::new())
}

/// The wish whose maps another one shares.
fn chosen(wishes: &[Wish], at: usize) -> Result<Option<usize>, String> {
    let instance = &wishes[at].desired.identity.instance;
    let all = candidates(wishes, at);
    let same = |other: &&usize| wishes[**other].desired.identity.instance == *instance;
    one_of(&all, all.iter().find(same), wishes, at)
}

/// The only one, or the one of the same interface.
fn one_of<T: Copy>(
    all: &[T],
    same: Option<&T>,
    wishes: &[Wish],
    at: usize,
) -> Result<Option<T>, String> {
    match (all, same) {
        ([], _) => Ok(None),
        ([one], _) | (_, Some(one)) => Ok(Some(*one)),
        (several, None) => Err(format!(
            "mapownerselector ({}) selects {} programs, and none of them is on the same interface",
            selector(wishes, at),
            several.len()
        )),
    }
}

fn selector(wishes: &[Wish], at: usize) -> String {
    let selector = wishes[at].desired.map_owner.as_ref();
    selector.map(Selector::to_string).unwrap_or_default()
}

/// Whose maps a wish shares; None where it has its own.
pub(super) fn find(
    wishes: &[Wish],
    at: usize,
    records: &[Record],
    taken: &BTreeSet<ProgramId>,
) -> Result<Option<Owner>, String> {
    let desired = &wishes[at].desired;
    let Some(selector) = &desired.map_owner else {
        return Ok(None);
    };
    if let Some(owner) = chosen(wishes, at)? {
        return Ok(Some(Owner::Wish(owner)));
    }
    let fits = |record: &&Record| !taken.contains(&record.id) && selector.selects(&record.metadata);
    let all: Vec<&Record> = records.iter().filter(fits).collect();
    let same = all.iter().find(|record| {
        Of::record(record).is_some_and(|of| of.identity.instance == desired.identity.instance)
    });
    match one_of(&all, same, wishes, at)? {
        Some(record) => Ok(Some(Owner::Loaded(record.id))),
        None => Err(format!(
            "mapownerselector ({selector}) selects no manifest and no loaded program"
        )),
    }
}

/// Whether the loaded program has the maps of another owner than it should.
pub(super) fn difference(
    record: &Record,
    owner: Option<Owner>,
    records: &[Record],
    actions: &[Option<Step>],
) -> Option<Difference> {
    let maps_of = |id: ProgramId| {
        let owner = records.iter().find(|record| record.id == id);
        owner.map(|owner| owner.maps)
    };
    let say = |from: String, to: &str| {
        Some(Difference {
            field: "mapownerselector".to_owned(),
            from,
            to: to.to_owned(),
        })
    };
    let from = record
        .map_owner
        .map_or("none".to_owned(), |id| format!("program {id}"));
    let wanted = match owner {
        None => {
            return record.map_owner.and_then(|_| say(from, "none"));
        }
        Some(Owner::Loaded(id)) => id,
        Some(Owner::Wish(at)) => match actions[at].as_ref().map(|step| &step.action) {
            Some(Action::Keep { id } | Action::Update { id, .. }) => *id,
            _ => return say(from, "a new program"),
        },
    };
    if maps_of(wanted) == Some(record.maps) && record.map_owner.is_some() {
        None
    } else {
        say(from, &format!("program {wanted}"))
    }
}
