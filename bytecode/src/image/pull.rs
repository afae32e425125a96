//! From a registry into the store.

use std::{fs::File, io::Read as _};

use model::{Digest, ImageOrigin};

use super::{
    ImageError, Images, Progress, Request,
    digest::Tee,
    labels::{ImageConfig, Labels},
    layer,
    manifest::{self, Descriptor, Document, Layers},
    registry::{Access, Client, Manifest},
    store::{Entry, Writer},
};
use crate::{
    Error, Object,
    elf::{HEADER_SIZE, check_host},
};

/// Objects up to this size are checked against their labels as soon as they are fetched. Larger
/// ones would take the memory that a pull may not take; they are checked when they are loaded.
pub(super) const CHECKED_AT_ONCE: u64 = 4 << 20;

/// A manifest and its configuration, checked as far as they can be without the layer.
struct Found {
    manifest: Manifest,
    config: Digest,
    config_bytes: Vec<u8>,
    labels: Labels,
    layer: Descriptor,
}

/// Asks the registry what the name means, and fetches what the store does not have. Nothing of it is
/// removed from the store while the writer lives.
pub(super) fn pull<'a>(
    images: &'a Images,
    request: &Request<'_>,
    progress: &Progress<'_>,
) -> Result<(Entry, ImageOrigin, Writer<'a>), Error> {
    let reference = request.reference;
    let auth = request.auth.cloned();
    let client = Client::new(reference, Access::Pull, auth, &images.settings, progress);
    let limit = images.limits.manifest;
    let top = client.manifest(&reference.wanted(), limit)?;
    let writer = images.store.writer()?;
    let _lock = writer.lock(top.digest)?;
    let name = reference.canonical();
    if let Some(entry) = whole(images, top.digest) {
        writer.put_ref(&name, top.digest)?;
        return Ok((entry, ImageOrigin::Store, writer));
    }
    let found = find(images, &client, &top)?;
    let entry = fetch(images, &client, &writer, &top, &found)?;
    writer.put_ref(&name, top.digest)?;
    Ok((entry, ImageOrigin::Registry, writer))
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

/// The manifest for this host, and its configuration.
fn find(images: &Images, client: &Client<'_>, top: &Manifest) -> Result<Found, ImageError> {
    let limit = images.limits.manifest;
    let (manifest, image) = match Document::parse(&top.bytes, top.media_type.as_deref())? {
        Document::Manifest(image) => (top.clone(), image),
        Document::Index(index) => {
            let digest = manifest::choose(&index)?.digest()?;
            let manifest = client.manifest(&digest.to_string(), limit)?;
            match Document::parse(&manifest.bytes, manifest.media_type.as_deref())? {
                Document::Manifest(image) => (manifest, image),
                Document::Index(_) => {
                    let what = "its index leads to another index";
                    return Err(ImageError::Ambiguous { what });
                }
            }
        }
    };
    let layer = only_layer(image.layers, images.limits.layer)?;
    let what = "configuration";
    let config = image.config.digest(what)?;
    let config_bytes = client.small_blob(config, image.config.size, limit, what)?;
    let labels = ImageConfig::parse(&config_bytes)?.labels()?;
    Ok(Found {
        manifest,
        config,
        config_bytes,
        labels,
        layer,
    })
}

fn only_layer(layers: Layers, limit: u64) -> Result<Descriptor, ImageError> {
    let count = layers.count;
    let Some(layer) = layers.first.filter(|_| count == 1) else {
        return Err(ImageError::Layers { count });
    };
    layer::check_type(&layer.media_type)?;
    let size = layer.size;
    if size > limit {
        return Err(ImageError::LayerTooLarge { size, limit });
    }
    Ok(layer)
}

/// Fetches the layer, takes the object out and keeps it with what describes it.
fn fetch(
    images: &Images,
    client: &Client<'_>,
    writer: &Writer<'_>,
    top: &Manifest,
    found: &Found,
) -> Result<Entry, Error> {
    let mut layer = writer.temp()?;
    let wanted = found.layer.digest("layer")?;
    client.blob(wanted, found.layer.size, "layer", true, |copy| {
        let file = layer.rewind()?;
        let emptied = file.set_len(0);
        emptied.map_err(|source| ImageError::Write {
            what: "layer",
            source,
        })?;
        copy(file)
    })?;
    let mut temp = writer.temp()?;
    let mut tee = Tee::new(temp.file());
    let file = layer::extract(layer.rewind()?, images.limits.object, &mut tee)?;
    let (object, object_size) = tee.finish();
    if let Some(label) = found.labels.file.clone().filter(|label| *label != file) {
        return Err(ImageError::FileName { label, file }.into());
    }
    drop(layer);
    check(temp.rewind()?, object_size, object, &found.labels)?;
    writer.keep(temp, object)?;
    writer.put(found.config, &found.config_bytes)?;
    writer.put(found.manifest.digest, &found.manifest.bytes)?;
    if top.digest != found.manifest.digest {
        writer.put(top.digest, &top.bytes)?;
    }
    let digests = [top.digest, found.manifest.digest, found.config, object];
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
