//! Images sent to a registry by our own client.

use model::ImageReference;

use super::{Error, Image, Part};
use crate::image::{Access, Client, ImageError, Progress, Settings};

/// Sends an image to the registry that its name says. The name comes to stand for it last, when
/// all parts are there.
pub fn push(
    image: &Image,
    name: &ImageReference,
    settings: &Settings,
    progress: &Progress<'_>,
) -> Result<(), Error> {
    let client = Client::new(name, Access::Push, None, settings, progress);
    let send = || -> Result<(), ImageError> {
        for blob in &image.blobs {
            client.push_blob(&blob.bytes)?;
        }
        let document = |name: &str, part: &Part| {
            let media_type = part.media_type.to_string();
            client.push_manifest(name, &media_type, &part.bytes)
        };
        for part in &image.manifests {
            document(&part.digest.to_string(), part)?;
        }
        document(&name.wanted(), &image.root).map(|_| ())
    };
    Ok(send().map_err(crate::Error::from)?)
}
