//! The verbs of bpfman: load, unload, list, get and recover.
//!
//! The kernel is the database; what is written beside it only describes what is in it, and one
//! rename commits a change.

mod error;
mod request;

pub use error::{Error, ErrorKind, Result};
pub use request::{LoadRequest, ListFilter, Options};

use model::{ProgramId, ProgramView, Summary};

/// The one way from request to kernel.
#[derive(Debug)]
pub struct Manager {
    options: Options,
}

impl Manager {
    /// Reads the configuration and touches nothing else.
    pub fn open(options: Options) -> Result<Self> {
        Ok(Self { options })
    }

    /// Loads and attaches a program.
    pub fn load(&self, _request: &LoadRequest) -> Result<ProgramView> {
        unimplemented!()
    }

    /// Detaches and unloads a program of ours.
    pub fn unload(&self, _id: ProgramId) -> Result<()> {
        unimplemented!()
    }

    /// The programs that fit the filter, by id. Changes nothing and waits for nobody.
    pub fn list(&self, _filter: &ListFilter) -> Result<Vec<Summary>> {
        unimplemented!()
    }

    /// One program in full, ours or not. Changes nothing and waits for nobody.
    pub fn get(&self, _id: ProgramId) -> Result<ProgramView> {
        unimplemented!()
    }
}
