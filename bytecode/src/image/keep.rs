//! From a manifest and a layer into the store: what images of registries and of runtimes share.

use std::{
    fs::File,
    io::{Read, Seek as _, SeekFrom},
};

use model::{Digest, Holder, ImageOrigin, Provenance};

use super::{
    ImageError, Images,
    digest::{self, Tee},
    labels::{ImageConfig, Labels},
    layer,
    manifest::{self, Descriptor, Document, Layers},
    store::{Entry, Temp, Writer},
};
use crate::{
    Error, Object,
    elf::{HEADER_SIZE, check_host},
};

/// Objects up to this size are checked against their labels as soon as they are fetched. Larger
/// ones would take the memory that a pull may not take; they are checked when they are loaded.
pub(super) const CHECKED_AT_ONCE: u64 = 4 << 20;

/// Content that is small, with its name.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
}

impl Blob {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        let digest = digest::of(&bytes);
        Self { digest, bytes }
    }

    /// Content that must have this name.
    pub(super) fn checked(
        bytes: Vec<u8>,
        wanted: Digest,
        what: &'static str,
    ) -> Result<Self, ImageError> {
        let blob = Self::new(bytes);
        match blob.digest {
            got if got != wanted => Err(ImageError::DigestMismatch { what, wanted, got }),
            _ => Ok(blob),
        }
    }
}

/// An image that is in the store now. Nothing of it is removed while the writer lives.
pub(super) struct Fetched<'a> {
    pub(super) entry: Entry,
    pub(super) from: ImageOrigin,
    pub(super) writer: Writer<'a>,
}

impl<'a> Fetched<'a> {
    /// Under the lock of a digest: what the store has of it is not fetched again, and `fetch` puts
    /// the rest there, from where `from` says. Then the image gets its `name`.
    pub(super) fn once(
        images: &'a Images,
        digest: Digest,
        from: ImageOrigin,
        name: impl FnOnce(&Writer<'_>) -> Result<(), ImageError>,
        fetch: impl FnOnce(&Writer<'_>) -> Result<Entry, Error>,
    ) -> Result<Self, Error> {
        let writer = images.store.writer()?;
        let _lock = writer.lock(digest)?;
        let (entry, from) = match whole(images, digest) {
            Some(entry) => (entry, ImageOrigin::Store),
            None => (fetch(&writer)?, from),
        };
        name(&writer)?;
        Ok(Self {
            entry,
            from,
            writer,
        })
    }

    /// Where it was found; from here on it may be removed.
    pub(super) fn provenance(self, holder: Option<Holder>) -> Provenance {
        let digest = self.entry.digest;
        drop(self.writer);
        Provenance {
            from: self.from,
            digest,
            holder,
        }
    }
}

/// What an image is called by and consists of, checked as far as it can be without the layer.
pub(super) struct Found {
    /// Index and manifest, or one of them, or none where a runtime keeps none.
    documents: Vec<Blob>,
    config: Blob,
    labels: Labels,
    pub(super) layer: Layer,
}

/// The one layer of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) digest: Digest,
    /// In bytes; None where it is not known before it is read.
    pub(super) size: Option<u64>,
}

/// A document that an image refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A manifest.
    Manifest(Digest),
    /// A configuration, and how large it is.
    Config(Digest, u64),
}

impl Found {
    /// Goes from the document that an image begins with to the manifest for this host, and to its
    /// configuration. `get` fetches one of them, checked and bounded.
    pub(super) fn begin<E: From<ImageError>>(
        top: Blob,
        media_type: Option<&str>,
        max_layer: u64,
        mut get: impl FnMut(Wanted) -> Result<(Blob, Option<String>), E>,
    ) -> Result<Self, E> {
        let (documents, image) = match Document::parse(&top.bytes, media_type)? {
            Document::Manifest(image) => (vec![top], image),
            Document::Index(index) => {
                let digest = manifest::choose(&index)?.digest()?;
                let (manifest, media_type) = get(Wanted::Manifest(digest))?;
                match Document::parse(&manifest.bytes, media_type.as_deref())? {
                    Document::Manifest(image) => (vec![top, manifest], image),
                    Document::Index(_) => {
                        let what = "its index leads to another index";
                        return Err(ImageError::Ambiguous { what }.into());
                    }
                }
            }
        };
        let layer = only_layer(image.layers, max_layer)?;
        let config = image.config.digest("configuration")?;
        let (config, _) = get(Wanted::Config(config, image.config.size))?;
        Ok(Self {
            documents,
            labels: ImageConfig::parse(&config.bytes)?.labels()?,
            config,
            layer,
        })
    }

    /// An image that is called by its configuration, which names the layer as it is unpacked.
    pub(super) fn of_config(config: Blob) -> Result<Self, ImageError> {
        let parsed = ImageConfig::parse(&config.bytes)?;
        let count = parsed.layers().map_or(0, |layers| layers.count);
        let layer = parsed.layers().and_then(|layers| layers.first.as_ref());
        let Some(layer) = layer.filter(|_| count == 1) else {
            return Err(ImageError::Layers { count });
        };
        let digest = layer.parse().map_err(|_| ImageError::DigestAlgorithm {
            what: "layer",
            digest: layer.clone(),
        })?;
        Ok(Self {
            documents: Vec::new(),
            labels: parsed.labels()?,
            config,
            layer: Layer { digest, size: None },
        })
    }

    /// What the labels say.
    pub(super) const fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Whether the labels say that it holds bytecode.
    pub(super) fn is_bytecode(&self) -> bool {
        self.labels != Labels::default()
    }

    /// What the image is called by.
    fn digest(&self) -> Digest {
        self.documents.first().unwrap_or(&self.config).digest
    }
}

fn only_layer(layers: Layers<Descriptor>, limit: u64) -> Result<Layer, ImageError> {
    let count = layers.count;
    let Some(layer) = layers.first.filter(|_| count == 1) else {
        return Err(ImageError::Layers { count });
    };
    layer::check_type(&layer.media_type)?;
    let size = layer.size;
    if size > limit {
        return Err(ImageError::LayerTooLarge { size, limit });
    }
    Ok(Layer {
        digest: layer.digest("layer")?,
        size: Some(size),
    })
}

/// The image as it is in the store, if nothing of it is missing or damaged.
fn whole(images: &Images, digest: Digest) -> Option<Entry> {
    let stored = || {
        let entry = images.store.entry(digest)?;
        entry
            .iter()
            .try_for_each(|entry| images.store.verify_all(entry))?;
        Ok(entry)
    };
    stored()
        .inspect_err(|error: &ImageError| log::warn!("{error}: fetching it again"))
        .ok()
        .flatten()
}

/// Where the bytes of a layer are, within a file.
pub(super) struct Bytes {
    pub(super) file: Temp,
    pub(super) start: u64,
    pub(super) size: u64,
}

impl Bytes {
    fn reader(&mut self) -> Result<impl Read + '_, ImageError> {
        let start = SeekFrom::Start(self.start);
        let what = "layer";
        let file = self.file.file();
        file.seek(start)
            .map_err(|source| ImageError::Write { what, source })?;
        Ok(file.take(self.size))
    }

    /// Checks them.
    pub(super) fn check(&mut self, wanted: Digest) -> Result<(), ImageError> {
        let what = "layer";
        let (got, _) = digest::of_stream(self.reader()?)
            .map_err(|source| ImageError::Write { what, source })?;
        if got == wanted {
            return Ok(());
        }
        Err(ImageError::DigestMismatch { what, wanted, got })
    }
}

/// Takes the object out of a layer that has been checked, and keeps it with what describes it.
pub(super) fn keep(
    images: &Images,
    writer: &Writer<'_>,
    found: &Found,
    mut layer: Bytes,
) -> Result<Entry, Error> {
    let mut temp = writer.temp()?;
    let mut tee = Tee::new(temp.file());
    let file = layer::extract(layer.reader()?, images.limits.object, &mut tee)?;
    let (object, object_size) = tee.finish();
    if let Some(label) = found.labels.file.clone().filter(|label| *label != file) {
        return Err(ImageError::FileName { label, file }.into());
    }
    drop(layer);
    check(temp.rewind()?, object_size, object, &found.labels)?;
    writer.keep(temp, object)?;
    for blob in found.documents.iter().chain([&found.config]) {
        writer.put(blob.digest, &blob.bytes)?;
    }
    let manifest = found.documents.last().unwrap_or(&found.config).digest;
    let digests = [found.digest(), manifest, found.config.digest, object];
    let entry = Entry::new(digests, object_size, file);
    writer.put_entry(&entry)?;
    Ok(entry)
}

/// Refuses an object that no load could take.
fn check(file: &mut File, size: u64, digest: Digest, labels: &Labels) -> Result<(), Error> {
    let unreadable = |source| Error::Unreadable { source };
    let mut bytes = Vec::new();
    if size > CHECKED_AT_ONCE {
        let mut start = file.take(HEADER_SIZE);
        start.read_to_end(&mut bytes).map_err(unreadable)?;
        return check_host(&bytes);
    }
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    labels.check(&Object::parse_named(bytes, digest.hex())?)?;
    Ok(())
}
