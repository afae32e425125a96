//! A command that changes something: locked, with state and kernel brought together first.

use std::{collections::BTreeMap, fs::File, os::fd::OwnedFd};

use kernel::PinTree;
use model::{Place, ProgramId, Record};

use crate::{
    Error, Manager, Result, recover,
    state::{Found, Root, State, boot_id},
};

/// The only writer, from the lock to its drop.
pub(crate) struct Session {
    pub(crate) root: Root,
    pub(crate) pins: PinTree,
    pub(crate) state: State,
    /// Records that recovery dropped, because what they spoke of is gone.
    pub(crate) dropped: BTreeMap<ProgramId, Record>,
    _lock: File,
    _tree_lock: OwnedFd,
}

impl Session {
    /// Waits for the lock, then makes state and kernel agree: see [`recover`].
    pub(crate) fn begin(manager: &Manager) -> Result<Self> {
        // Later it would be too late: what was attached could not be found again.
        kernel::may_open_programs()?;
        let root = manager.root.clone();
        root.create()?;
        let lock = root.lock()?;
        root.clear_drafts()?;
        let boot_id = boot_id()?;
        let pins = PinTree::mount(root.bpffs())?;
        let tree_lock = pins.lock()?;
        let state = match root.read()? {
            Found::State(state) if state.is_of(&boot_id) => state,
            Found::State(state) => {
                if !state.programs.is_empty() {
                    log::warn!("{} programs went with the last boot", state.programs.len());
                }
                State::empty(boot_id)
            }
            Found::Nothing => State::empty(boot_id),
            // Without a pin there is nothing left that the document could have described.
            Found::Damaged(damage) if pins.programs()?.is_empty() => {
                let aside = root.set_aside()?;
                log::warn!(
                    "{damage}: moved to {}, no program is loaded",
                    aside.display()
                );
                State::empty(boot_id)
            }
            Found::Damaged(damage) => return Err(damage),
        };
        let mut session = Self {
            root,
            pins,
            state,
            dropped: BTreeMap::new(),
            _lock: lock,
            _tree_lock: tree_lock,
        };
        recover::run(&mut session)?;
        Ok(session)
    }

    /// Writes the state with `change` applied; on failure the state is as before.
    pub(crate) fn commit(&mut self, change: impl FnOnce(&mut State)) -> Result<()> {
        let before = self.state.clone();
        change(&mut self.state);
        self.root
            .write(&self.state)
            .inspect_err(|_| self.state = before)
    }

    /// The record of a program of ours.
    pub(crate) fn record(&self, id: ProgramId) -> Result<&Record> {
        match self.state.programs.get(&id) {
            Some(record) => Ok(record),
            None => Err(match kernel::program(id)? {
                Some(program) => Error::NotOurs {
                    id,
                    name: program.state.name,
                },
                None => Error::NoProgram(id),
            }),
        }
    }

    /// Takes the pins of a program away, and those of the maps that nobody uses any more.
    pub(crate) fn unpin(&self, record: &Record) -> Result<(), kernel::Error> {
        PinTree::remove_link(&self.pins.link(record.id))?;
        fault::point("unload.link-gone").map_err(kernel::Error::Fault)?;
        PinTree::unpin(&self.pins.program(record.id))?;
        fault::point("unload.program-unpinned").map_err(kernel::Error::Fault)?;
        if self.state.users_of(record.maps).all(|id| id == record.id) {
            PinTree::unpin_folder(&self.pins.maps(record.maps))?;
        }
        Ok(())
    }

    /// Whether no record is on this interface's TC hooks any more.
    pub(crate) fn clsact_is_idle(&self, place: Place) -> bool {
        let is_here = |record: &Record| {
            record.place == Some(place) && matches!(record.attach, model::Attach::Tc { .. })
        };
        self.state.clsact.contains(&place) && !self.state.programs.values().any(is_here)
    }
}
