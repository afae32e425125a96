//! Bytecode images: from a name to the object in it, through the own store or from a registry.
//!
//! ```text
//! name ─► store ─► registry ─► manifest ─► layer ─► object ─► store
//! ```
//! Nothing that a registry sends is believed: every byte is counted while it comes and named by its
//! hash, and nothing in an image decides where something is written.

mod credentials;
mod digest;
mod error;
mod labels;
mod layer;
mod manifest;
mod pull;
mod registry;
mod store;
mod zstd;

use std::{path::PathBuf, time::Duration};

use model::{
    Digest, ImageOrigin, ImageReference, ImageView, Kind, PullPolicy, Pulled, RegistryAuth,
};

use crate::{Error, MAX_SIZE, Object};
use labels::ImageConfig;
use store::{Entry, Listed, Store, Target};

pub use error::{Cause, Given, ImageError};
pub use labels::{Labels, MAPS, PROGRAMS};
pub use registry::{Access, Client, Manifest, Settings};

/// What happens while an image is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes of the layer that came, and all there are.
    Downloading {
        /// So far.
        done: u64,
        /// In the end.
        total: u64,
    },
    /// A registry does not answer as it should, and is asked again after some time.
    Waiting {
        /// How long.
        wait: Duration,
    },
}

/// Who wants to know what happens.
pub type Progress<'a> = dyn Fn(Event) + 'a;

/// What an image may cost, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A manifest, an index or a configuration. Registries must take 4 MiB (distribution
    /// specification), and real ones are below 10 KiB.
    pub manifest: u64,
    /// The layer as it is sent.
    pub layer: u64,
    /// The object in it.
    pub object: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest: 4 << 20,
            layer: MAX_SIZE,
            object: MAX_SIZE,
        }
    }
}

/// One image to find.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Its name.
    pub reference: &'a ImageReference,
    /// When a registry is asked.
    pub policy: PullPolicy,
    /// Credentials in place of those that Docker and Podman left.
    pub auth: Option<&'a RegistryAuth>,
}

/// An image whose object is to be loaded.
#[derive(Debug)]
pub struct Loaded {
    /// The object, checked against its digest and its labels.
    pub object: Object,
    /// Where its bytes came from.
    pub from: ImageOrigin,
    labels: Labels,
}

impl Loaded {
    /// The program that the labels declare for a kind, where they declare exactly one.
    pub fn declared(&self, kind: Kind) -> Option<&str> {
        self.labels.only(kind)
    }
}

/// The images of this machine, and the way to those of registries.
#[derive(Clone, Debug)]
pub struct Images {
    store: Store,
    settings: Settings,
    limits: Limits,
}

impl Images {
    /// With the store in a folder. Touches nothing.
    pub fn new(folder: PathBuf, settings: Settings, limits: Limits) -> Self {
        Self {
            store: Store::new(folder),
            settings,
            limits,
        }
    }

    /// The object of an image.
    pub fn load(&self, request: &Request<'_>, progress: &Progress<'_>) -> Result<Loaded, Error> {
        let ((object, labels), _, from) =
            self.find(request, progress, |entry| self.object_of(entry))?;
        Ok(Loaded {
            object,
            from,
            labels,
        })
    }

    /// Makes sure that an image is in the store, whole and unchanged.
    pub fn pull(&self, request: &Request<'_>, progress: &Progress<'_>) -> Result<Pulled, Error> {
        let (image, _, from) = self.find(request, progress, |entry| {
            self.store.verify_all(entry)?;
            let names = vec![request.reference.canonical()];
            self.view(entry, names, None)
        })?;
        Ok(Pulled { image, from })
    }

    /// Looks an image up in the order of its policy: the own store, then the registry. What the
    /// store has must pass `read`; what has been damaged there is fetched again.
    fn find<T>(
        &self,
        request: &Request<'_>,
        progress: &Progress<'_>,
        read: impl Fn(&Entry) -> Result<T, Error>,
    ) -> Result<(T, Entry, ImageOrigin), Error> {
        if request.policy != PullPolicy::Always {
            let stored = || -> Result<_, Error> {
                let Some(entry) = self.store.find(request.reference)? else {
                    return Ok(None);
                };
                Ok(Some((read(&entry)?, entry)))
            };
            match stored() {
                Ok(Some((found, entry))) => return Ok((found, entry, ImageOrigin::Store)),
                Ok(None) if request.policy == PullPolicy::Never => {
                    return Err(ImageError::NotStored.into());
                }
                Ok(None) => {}
                Err(Error::Image(error @ ImageError::Damaged { .. }))
                    if request.policy == PullPolicy::IfNotPresent =>
                {
                    log::warn!("{error}: fetching it again");
                }
                Err(error) => return Err(error),
            }
        }
        let (entry, from, _kept) = pull::pull(self, request, progress)?;
        Ok((read(&entry)?, entry, from))
    }

    fn config_of(&self, entry: &Entry) -> Result<ImageConfig, ImageError> {
        ImageConfig::parse(&self.store.blob(entry.config, self.limits.manifest)?)
    }

    fn object_of(&self, entry: &Entry) -> Result<(Object, Labels), Error> {
        let labels = self.config_of(entry)?.labels()?;
        let bytes = self.store.blob(entry.object, entry.object_size)?;
        let object = Object::parse_named(bytes, entry.object.hex())?;
        labels.check(&object)?;
        Ok((object, labels))
    }

    fn view(
        &self,
        entry: &Entry,
        references: Vec<String>,
        size: Option<u64>,
    ) -> Result<ImageView, Error> {
        let config = self.config_of(entry)?;
        let mut labels = config.labels()?;
        if labels.programs.is_empty() && entry.object_size <= pull::CHECKED_AT_ONCE {
            labels = Labels::inferred(&self.store.blob(entry.object, entry.object_size)?)?;
        }
        Ok(ImageView {
            references,
            digest: entry.digest,
            manifest: entry.manifest,
            architecture: config.architecture,
            file: entry.file.clone(),
            object: entry.object,
            object_size: entry.object_size,
            programs: labels.programs,
            maps: labels.maps,
            size: size.unwrap_or_else(|| self.store.size(entry)),
            pulled_at: entry.pulled_at(),
        })
    }

    /// All images of the store, by name; those without a name last.
    pub fn list(&self) -> Result<Vec<ImageView>, Error> {
        let listed = self.store.list()?.into_iter();
        Ok(listed.filter_map(|image| self.listed(image)).collect())
    }

    fn listed(&self, image: Listed) -> Option<ImageView> {
        let view = self.view(&image.entry, image.references, Some(image.size));
        view.inspect_err(|error| log::warn!("{error}")).ok()
    }

    /// The images that a name or a digest means, with all their names.
    pub fn inspect(&self, name: &ImageName) -> Result<ImageView, Error> {
        let found = match name {
            ImageName::Digest(digest) => self.store.entry(*digest)?,
            ImageName::Reference(reference) => self.store.find(reference)?,
        };
        let entry = found.ok_or(ImageError::NotListed)?;
        self.store.verify_all(&entry)?;
        let listed = self.store.list()?.into_iter();
        let names = listed
            .filter(|image| image.entry.digest == entry.digest)
            .flat_map(|image| image.references);
        self.view(&entry, names.collect(), None)
    }

    /// Removes a name, and the image with its last name; with a digest, the image and all its
    /// names. Answers how many bytes that freed.
    pub fn remove(&self, name: &ImageName) -> Result<u64, Error> {
        Ok(self.store.remove(&match name {
            ImageName::Digest(digest) => Target::Digest(*digest),
            ImageName::Reference(reference) => Target::Name(reference),
        })?)
    }

    /// Removes images without a name, and those whose object `unused` says nobody uses. Answers
    /// what went and how many bytes that freed.
    pub fn prune(&self, unused: impl Fn(Digest) -> bool) -> Result<(Vec<Digest>, u64), Error> {
        let (gone, freed) = self
            .store
            .prune(|image| image.references.is_empty() || unused(image.entry.object))?;
        Ok((gone.iter().map(|image| image.entry.digest).collect(), freed))
    }
}

/// How users name an image of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageName {
    /// `sha256:…`, of the image.
    Digest(Digest),
    /// A name.
    Reference(ImageReference),
}
