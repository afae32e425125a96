//! The verbs of bpfman: load, unload, list, get and recover.
//!
//! The kernel is the database; what is written beside it only describes what is in it, and one
//! rename commits a change.

mod apply;
mod chain;
mod config;
mod error;
/// What the fuzzers of `fuzz/` call. Never part of what ships.
#[doc(hidden)]
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod image;
mod load;
mod moved;
mod pending;
mod plan;
mod recover;
mod replace;
pub mod report;
mod request;
mod session;
mod state;
mod undo;
mod unload;
mod view;
mod watch;

pub use apply::{Outcome, Target};
pub use bytecode::image::{Event, ImageName, Progress};
pub use config::Remote;
pub use error::{Error, ErrorKind, Result};
pub use image::{Pruned, PullRequest};
pub use request::{ListFilter, LoadRequest, Options};
pub use watch::Watch;

use std::path::PathBuf;

use bytecode::image::{Images, Settings};
use kernel::PinTree;
use model::{ProgramId, ProgramView, Summary};

use config::Config;
use state::Root;

/// The one way from request to kernel.
#[derive(Debug)]
pub struct Manager {
    config: PathBuf,
    root: Root,
    images: PathBuf,
}

impl Manager {
    /// Touches nothing yet. Only what loads or fetches reads the configuration: whatever is wrong
    /// with that file never stands in the way of looking or unloading.
    pub fn new(options: Options) -> Self {
        Self {
            config: options.config,
            root: Root::new(options.runtime_dir),
            images: options.image_dir,
        }
    }

    /// Loads and attaches a program. On failure everything is as it was before, but an image that
    /// was fetched for it stays in the store. `progress` hears of a download.
    pub fn load(&self, request: &LoadRequest, progress: &Progress<'_>) -> Result<ProgramView> {
        request.reserves_nothing()?;
        load::load(self, request, progress).map_err(Error::or_privilege)
    }

    /// Detaches and unloads programs of ours. All are tried; those that failed are answered with
    /// their errors.
    pub fn unload(&self, ids: &[ProgramId]) -> Result<Vec<(ProgramId, Error)>> {
        unload::unload(self, ids).map_err(Error::or_privilege)
    }

    /// The programs that fit the filter, by id. Changes nothing and waits for nobody.
    pub fn list(&self, filter: &ListFilter) -> Result<Vec<Summary>> {
        let list = || view::list(&view::read(&self.root)?, filter);
        list().map_err(Error::or_privilege)
    }

    /// The same programs in full.
    pub fn list_in_full(&self, filter: &ListFilter) -> Result<Vec<ProgramView>> {
        let pins = PinTree::at(self.root.bpffs());
        let list = || view::list_in_full(&view::read(&self.root)?, &pins, filter);
        list().map_err(Error::or_privilege)
    }

    /// One program in full, ours or not. Changes nothing and waits for nobody.
    pub fn get(&self, id: ProgramId) -> Result<ProgramView> {
        let pins = PinTree::at(self.root.bpffs());
        let get = || view::get(&view::read(&self.root)?, &pins, id);
        get().map_err(Error::or_privilege)
    }

    /// The interfaces of this network namespace, for those who type.
    pub fn interfaces(&self) -> Vec<String> {
        kernel::interfaces()
    }

    /// Where the daemon may be asked from other machines; None: nowhere.
    pub fn remote(&self) -> Result<Option<Remote>> {
        Ok(Config::read(&self.config)?.grpc)
    }

    /// How registries are asked, by the configuration.
    pub fn registry(&self) -> Result<Settings> {
        Ok(Config::read(&self.config)?.settings())
    }

    /// The image store, and the way to runtimes and registries.
    fn images(&self, config: &Config) -> Images {
        Images::new(
            self.images.clone(),
            config.settings(),
            config.runtimes(),
            config.limits(),
        )
    }
}
