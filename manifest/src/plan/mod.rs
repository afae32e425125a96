//! What leads from the programs that are loaded to those that should be. Pure.

mod compare;
mod owner;

use std::{collections::BTreeSet, fmt};

use model::{Kind, ProgramId, Record, Source};

use crate::{Desired, Identity, Of, identity};
use compare::differences;

/// A program that should be loaded, and what its bytecode is now.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The program.
    pub desired: Desired,
    /// SHA-256 of the object that a load would take now, lower-case hex; None where nobody looked.
    pub digest: Option<String>,
}

/// Whose maps a program is to share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Another wish, whatever its id is going to be.
    Wish(usize),
    /// A program that is loaded and that no wish speaks of.
    Loaded(ProgramId),
}

/// One thing to do, or to leave as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Of which program.
    pub identity: Identity,
    /// The wish behind it; None for a program that nobody wishes for any more.
    pub wish: Option<usize>,
    /// Whose maps it shares.
    pub owner: Option<Owner>,
    /// What to do.
    pub action: Action,
}

/// What to do with a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is not loaded: load it.
    Create,
    /// It is loaded with something that differs: load it anew, in the place of the old one.
    Replace {
        /// The old one.
        id: ProgramId,
        /// What differs.
        differences: Vec<Difference>,
    },
    /// It runs as it should, and what is written down about it differs.
    Update {
        /// The program.
        id: ProgramId,
        /// What differs.
        differences: Vec<Difference>,
    },
    /// It is as it should be.
    Keep {
        /// The program.
        id: ProgramId,
    },
    /// Nobody wishes for it any more.
    Remove {
        /// The program.
        id: ProgramId,
    },
    /// It cannot be done, whatever the kernel says.
    Refuse {
        /// Why.
        why: String,
    },
}

impl Action {
    /// The program that is loaded now.
    pub const fn id(&self) -> Option<ProgramId> {
        match self {
            Self::Replace { id, .. }
            | Self::Update { id, .. }
            | Self::Keep { id }
            | Self::Remove { id } => Some(*id),
            Self::Create | Self::Refuse { .. } => None,
        }
    }

    /// One word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace { .. } => "replace",
            Self::Update { .. } => "update",
            Self::Keep { .. } => "keep",
            Self::Remove { .. } => "remove",
            Self::Refuse { .. } => "refuse",
        }
    }

    /// What differs.
    pub fn differences(&self) -> &[Difference] {
        match self {
            Self::Replace { differences, .. } | Self::Update { differences, .. } => differences,
            _ => &[],
        }
    }
}

/// One field in which a loaded program differs from its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field of the manifest.
    pub field: String,
    /// As it is loaded.
    pub from: String,
    /// As it should be.
    pub to: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.field, self.from, self.to)
    }
}

/// Whether a plan needs to know what the bytecode of a wish is now. Images are asked for only where
/// they are to be looked at each time, or where another one is loaded.
pub fn needs_digest(desired: &Desired, records: &[Record]) -> bool {
    let loaded = loaded(desired, records);
    match &desired.source {
        _ if loaded.is_empty() && !adoptable(desired, records) => false,
        Source::File { .. } => true,
        Source::Image { pull_policy, .. } => {
            *pull_policy == model::PullPolicy::Always
                || loaded
                    .iter()
                    .any(|record| !compare::same_source(&record.source, &desired.source))
        }
    }
}

/// The steps, in the order in which they are to be done: whoever owns maps before those who share
/// them, and what goes only after everything has come. `prune` names the sets of files whose
/// programs go when no wish speaks of them.
pub fn plan(wishes: &[Wish], records: &[Record], prune: &BTreeSet<String>) -> Vec<Step> {
    let (order, cyclic) = owner::order(wishes);
    let mut actions: Vec<Option<Step>> = vec![None; wishes.len()];
    let mut taken = BTreeSet::new();
    // Programs of a manifest come first: none of them may be taken for another one's.
    let mut matched: Vec<Option<&Record>> = Vec::new();
    for wish in wishes {
        let record = best(wish, &loaded(&wish.desired, records));
        taken.extend(record.map(|record| record.id));
        matched.push(record);
    }
    for (wish, record) in wishes.iter().zip(&mut matched) {
        if record.is_none() {
            let free = |record: &&Record| !taken.contains(&record.id) && adopts(wish, record);
            *record = records.iter().find(free);
            taken.extend(record.map(|record| record.id));
        }
    }
    for &at in &order {
        let step = if cyclic.contains(&at) {
            refuse(
                wishes,
                at,
                "it shares maps with itself, through other manifests",
            )
        } else {
            wished(wishes, at, matched[at], records, &taken, &actions)
        };
        actions[at] = Some(step);
    }
    let mut steps: Vec<Step> = order.iter().filter_map(|at| actions[*at].take()).collect();
    steps.extend(removals(wishes, records, prune, &taken));
    steps
}

/// The steps that unload all programs of some manifests.
pub fn deletion(names: &[(Kind, String)], records: &[Record]) -> Vec<Step> {
    let of = |record: &Record| {
        let identity = Of::record(record)?.identity;
        let listed =
            |(kind, name): &(Kind, String)| *kind == identity.kind && *name == identity.name;
        names
            .iter()
            .any(listed)
            .then(|| remove(identity, record.id))
    };
    records.iter().filter_map(of).collect()
}

fn remove(identity: Identity, id: ProgramId) -> Step {
    Step {
        identity,
        wish: None,
        owner: None,
        action: Action::Remove { id },
    }
}

fn refuse(wishes: &[Wish], at: usize, why: &str) -> Step {
    Step {
        identity: wishes[at].desired.identity.clone(),
        wish: Some(at),
        owner: None,
        action: Action::Refuse {
            why: why.to_owned(),
        },
    }
}

/// All programs that were loaded for a wish: more than one only where a command was killed.
fn loaded<'a>(desired: &Desired, records: &'a [Record]) -> Vec<&'a Record> {
    let of =
        |record: &&Record| Of::record(record).is_some_and(|of| of.identity == desired.identity);
    records.iter().filter(of).collect()
}

/// The one that differs least, and of those the newest.
fn best<'a>(wish: &Wish, loaded: &[&'a Record]) -> Option<&'a Record> {
    let rank = |record: &&&Record| {
        let fits = differences(wish, record).is_empty();
        (fits, record.seq)
    };
    loaded.iter().max_by_key(rank).copied()
}

/// Whether a program of no manifest is just what a wish asks for, so that it need not run twice.
fn adopts(wish: &Wish, record: &Record) -> bool {
    Of::record(record).is_none() && differences(wish, record).is_empty()
}

fn adoptable(desired: &Desired, records: &[Record]) -> bool {
    let wish = Wish {
        desired: desired.clone(),
        digest: None,
    };
    records.iter().any(|record| adopts(&wish, record))
}

fn wished(
    wishes: &[Wish],
    at: usize,
    record: Option<&Record>,
    records: &[Record],
    taken: &BTreeSet<ProgramId>,
    actions: &[Option<Step>],
) -> Step {
    let wish = &wishes[at];
    let owner = match owner::find(wishes, at, records, taken) {
        Ok(owner) => owner,
        Err(why) => return refuse(wishes, at, &why),
    };
    let action = match record {
        None => Action::Create,
        Some(record) => {
            let mut differences = differences(wish, record);
            differences.extend(owner::difference(record, owner, records, actions));
            let id = record.id;
            if differences.is_empty() {
                let differences = compare::notes(wish, record);
                if differences.is_empty() {
                    Action::Keep { id }
                } else {
                    Action::Update { id, differences }
                }
            } else {
                Action::Replace { id, differences }
            }
        }
    };
    Step {
        identity: wish.desired.identity.clone(),
        wish: Some(at),
        owner,
        action,
    }
}

/// Programs of manifests that are wished for no more, and those that are there twice.
fn removals(
    wishes: &[Wish],
    records: &[Record],
    prune: &BTreeSet<String>,
    taken: &BTreeSet<ProgramId>,
) -> Vec<Step> {
    let goes = |record: &Record| {
        let identity::Of { identity, set, .. } = Of::record(record)?;
        let twice = wishes.iter().any(|wish| wish.desired.identity == identity);
        let goes = !taken.contains(&record.id) && (twice || prune.contains(&set));
        goes.then(|| remove(identity, record.id))
    };
    records.iter().filter_map(goes).collect()
}
