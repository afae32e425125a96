//! Bytecode images: from a name to the object in it, through the own store, from a container
//! runtime of this machine or from a registry.
//!
//! ```text
//! name ─► store ─► runtimes ─► registry ─► manifest ─► layer ─► object ─► store
//! ```
//! Nothing that a runtime or a registry sends is believed: every byte is counted while it comes and named by its
//! hash, and nothing in an image decides where something is written.

mod credentials;
mod digest;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hint;
mod keep;
mod labels;
mod layer;
mod manifest;
mod pull;
mod registry;
mod runtime;
mod store;
mod zstd;

use std::{path::PathBuf, time::Duration};

use model::{
    Digest, HeldImage, ImageOrigin, ImageReference, ImageView, Kind, Provenance, PullPolicy,
    Pulled, RegistryAuth,
};

use crate::{Error, MAX_SIZE, Object};
use labels::ImageConfig;
use runtime::{Asked, Located};
use store::{Entry, Listed, Named, Store, Target};

pub use error::{Cause, Given, ImageError};
pub use labels::{Labels, MAPS, PROGRAMS};
pub use registry::{Access, Client, Manifest, Settings};
pub use runtime::{RuntimeError, RuntimeSettings};

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
    /// Where it was found.
    pub provenance: Provenance,
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
    runtimes: RuntimeSettings,
    limits: Limits,
}

impl Images {
    /// With the store in a folder. Touches nothing.
    pub fn new(
        folder: PathBuf,
        settings: Settings,
        runtimes: RuntimeSettings,
        limits: Limits,
    ) -> Self {
        Self {
            store: Store::new(folder),
            settings,
            runtimes,
            limits,
        }
    }

    /// The object of an image.
    pub fn load(&self, request: &Request<'_>, progress: &Progress<'_>) -> Result<Loaded, Error> {
        let ((object, labels), provenance) =
            self.find(request, progress, |entry, _| self.object_of(entry))?;
        Ok(Loaded {
            object,
            provenance,
            labels,
        })
    }

    /// Makes sure that an image is in the store, whole and unchanged.
    pub fn pull(&self, request: &Request<'_>, progress: &Progress<'_>) -> Result<Pulled, Error> {
        let (image, provenance) = self.find(request, progress, |entry, name| {
            self.store.verify_all(entry)?;
            self.view(entry, vec![name.to_owned()], None)
        })?;
        Ok(Pulled { image, provenance })
    }

    /// Looks an image up in the order of its policy: the own store, the runtimes of this machine,
    /// a registry. What the store has must pass `read`; what has been damaged there is fetched
    /// again.
    fn find<T>(
        &self,
        request: &Request<'_>,
        progress: &Progress<'_>,
        read: impl Fn(&Entry, &str) -> Result<T, Error>,
    ) -> Result<(T, Provenance), Error> {
        let mut asked = Asked::new(&self.runtimes);
        let mut damaged = None;
        if request.policy != PullPolicy::Always {
            match self.stored(request, &mut asked, &read) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(Error::Image(error @ ImageError::Damaged { .. })) => {
                    log::warn!("{error}: fetching it again");
                    damaged = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(located) = asked.find(request.reference) {
            return self.taken(request, located, read);
        }
        let skipped = asked.preferred_skipped();
        let nowhere = |error| match (error, skipped) {
            (Error::Image(source), Some(skipped)) => Error::Image(ImageError::Nowhere {
                skipped,
                source: Box::new(source),
            }),
            (error, _) => error,
        };
        if request.policy == PullPolicy::Never {
            let error = damaged.unwrap_or(ImageError::NotStored);
            return Err(nowhere(error.into()));
        }
        let fetched = pull::pull(self, request, progress).map_err(nowhere)?;
        let read = read(&fetched.entry, &request.reference.canonical())?;
        Ok((read, fetched.provenance(None)))
    }

    /// The image as the store has it. One that came from a runtime is taken from there again when
    /// its name means another image there by now.
    fn stored<T>(
        &self,
        request: &Request<'_>,
        asked: &mut Asked<'_>,
        read: impl Fn(&Entry, &str) -> Result<T, Error>,
    ) -> Result<Option<(T, Provenance)>, Error> {
        let Some(named) = self.store.find(request.reference)? else {
            return Ok(None);
        };
        let Named {
            name,
            entry,
            mut holder,
        } = named;
        if let Some(before) = &holder
            && let Some(located) = asked.find_in(before.runtime, request.reference)
        {
            if located.digest != entry.digest {
                return self.taken(request, located, read).map(Some);
            }
            holder = Some(located.holder);
        }
        let provenance = Provenance {
            from: ImageOrigin::Store,
            digest: entry.digest,
            holder,
        };
        Ok(Some((read(&entry, &name)?, provenance)))
    }

    fn taken<T>(
        &self,
        request: &Request<'_>,
        located: Located,
        read: impl Fn(&Entry, &str) -> Result<T, Error>,
    ) -> Result<(T, Provenance), Error> {
        let fetched = runtime::take(self, request, &located)?;
        let read = read(&fetched.entry, &located.name)?;
        Ok((read, fetched.provenance(Some(located.holder))))
    }

    /// All bytecode images that the runtimes of this machine hold.
    pub fn held(&self) -> Vec<HeldImage> {
        Asked::new(&self.runtimes).list(self.limits)
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
        if labels.programs.is_empty() && entry.object_size <= keep::CHECKED_AT_ONCE {
            labels = Labels::inferred(&self.store.blob(entry.object, entry.object_size)?)?;
        }
        Ok(ImageView {
            references,
            digest: entry.digest,
            manifest: (entry.manifest != entry.config).then_some(entry.manifest),
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
            ImageName::Reference(reference) => {
                let found = self.store.find(reference)?;
                found.map(|named| named.entry)
            }
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
