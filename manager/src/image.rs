//! The verbs on images. They touch the kernel only to see which images are in use.

use std::collections::BTreeSet;

use bytecode::image::{ImageName, Images, Progress, Request};
use model::{Digest, HeldImage, ImageReference, ImageView, PullPolicy, Pulled, RegistryAuth};

use crate::{Error, Manager, Result, config::Config, view};

/// One image to fetch.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// Its name.
    pub url: ImageReference,
    /// When a registry is asked.
    pub policy: PullPolicy,
    /// Credentials in place of those that Docker and Podman left.
    pub registry_auth: Option<RegistryAuth>,
}

/// What a cleaning removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Images.
    pub images: Vec<Digest>,
    /// Space, in bytes.
    pub freed: u64,
}

impl Manager {
    /// Brings an image into the store. `progress` hears of a download.
    pub fn image_pull(&self, request: &PullRequest, progress: &Progress<'_>) -> Result<Pulled> {
        let wanted = Request {
            reference: &request.url,
            policy: request.policy,
            auth: request.registry_auth.as_ref(),
        };
        self.with_images(|images| images.pull(&wanted, progress))
    }

    /// All images of the store.
    pub fn image_list(&self) -> Result<Vec<ImageView>> {
        self.with_images(Images::list)
    }

    /// All bytecode images that the container runtimes of this machine hold.
    pub fn image_held(&self) -> Result<Vec<HeldImage>> {
        self.with_images(|images| Ok(images.held()))
    }

    /// One image of the store, checked.
    pub fn image_inspect(&self, name: &ImageName) -> Result<ImageView> {
        self.with_images(|images| images.inspect(name))
    }

    /// Removes a name, and the image with its last name. Programs that were loaded from it go on.
    /// Answers how many bytes that freed.
    pub fn image_remove(&self, name: &ImageName) -> Result<u64> {
        self.with_images(|images| images.remove(name))
    }

    /// Removes images that have no name; with `all`, also those that no loaded program came from.
    pub fn image_prune(&self, all: bool) -> Result<Pruned> {
        let used: BTreeSet<String> = if all {
            let state = view::read(&self.root)?;
            let records = state.programs.into_values();
            records.map(|record| record.digest).collect()
        } else {
            BTreeSet::new()
        };
        let unused = |object: Digest| all && !used.contains(&object.hex());
        let (images, freed) = self.with_images(|images| images.prune(unused))?;
        Ok(Pruned { images, freed })
    }

    fn with_images<T>(
        &self,
        verb: impl FnOnce(&Images) -> std::result::Result<T, bytecode::Error>,
    ) -> Result<T> {
        let config = Config::read(&self.config)?;
        verb(&self.images(&config)).map_err(|error| Error::Image(error).or_privilege())
    }
}
