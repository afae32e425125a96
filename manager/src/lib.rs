//! The verbs of bpfman: load, unload, list, get and recover.
//!
//! The kernel is the database; what is written beside it only describes what is in it, and one
//! rename commits a change.

mod chain;
mod config;
mod error;
mod image;
mod load;
mod pending;
mod plan;
mod recover;
mod request;
mod session;
mod state;
mod undo;
mod unload;
mod view;

pub use bytecode::image::{Event, ImageName, Progress};
pub use error::{Error, ErrorKind, Result};
pub use image::{Pruned, PullRequest};
pub use request::{ListFilter, LoadRequest, Options};

use bytecode::image::{Images, Settings};
use kernel::PinTree;
use model::{ProgramId, ProgramView, Summary};

use config::Config;
use state::Root;

/// The one way from request to kernel.
#[derive(Debug)]
pub struct Manager {
    config: Config,
    root: Root,
    images: Images,
}

impl Manager {
    /// Reads the configuration and touches nothing else.
    pub fn open(options: Options) -> Result<Self> {
        let config = Config::read(&options.config)?;
        let images = Images::new(options.image_dir, config.settings(), config.limits());
        Ok(Self {
            config,
            root: Root::new(options.runtime_dir),
            images,
        })
    }

    /// Loads and attaches a program. On failure everything is as it was before, but an image that
    /// was fetched for it stays in the store. `progress` hears of a download.
    pub fn load(&self, request: &LoadRequest, progress: &Progress<'_>) -> Result<ProgramView> {
        load::load(self, request, progress).map_err(Error::or_privilege)
    }

    /// Detaches and unloads a program of ours.
    pub fn unload(&self, id: ProgramId) -> Result<()> {
        unload::unload(self, id).map_err(Error::or_privilege)
    }

    /// The programs that fit the filter, by id. Changes nothing and waits for nobody.
    pub fn list(&self, filter: &ListFilter) -> Result<Vec<Summary>> {
        let list = || view::list(&view::read(&self.root)?, filter);
        list().map_err(Error::or_privilege)
    }

    /// One program in full, ours or not. Changes nothing and waits for nobody.
    pub fn get(&self, id: ProgramId) -> Result<ProgramView> {
        let pins = PinTree::at(self.root.bpffs());
        let get = || view::get(&view::read(&self.root)?, &pins, id);
        get().map_err(Error::or_privilege)
    }

    /// How registries are asked, by the configuration.
    pub fn registry(&self) -> Settings {
        self.config.settings()
    }
}
