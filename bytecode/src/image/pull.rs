//! From a registry into the store.

use model::ImageOrigin;

use super::{
    ImageError, Images, Progress, Request,
    keep::{self, Blob, Bytes, Fetched, Found, Wanted},
    registry::{Access, Client, Manifest},
    store::Writer,
};
use crate::Error;

/// Asks the registry what the name means, and fetches what the store does not have.
pub(super) fn pull<'a>(
    images: &'a Images,
    request: &Request<'_>,
    progress: &Progress<'_>,
) -> Result<Fetched<'a>, Error> {
    let reference = request.reference;
    let auth = request.auth.cloned();
    let client = Client::new(reference, Access::Pull, auth, &images.settings, progress);
    let limit = images.limits.manifest;
    let top = client.manifest(&reference.wanted(), limit)?;
    let digest = top.digest;
    Fetched::once(
        images,
        digest,
        ImageOrigin::Registry,
        |writer| writer.put_name(reference, &reference.canonical(), digest, None),
        |writer| {
            let (top, media_type) = document(top);
            let layer = images.limits.layer;
            let found = Found::begin(top, media_type.as_deref(), layer, |wanted| {
                Ok::<_, ImageError>(match wanted {
                    Wanted::Manifest(digest) => {
                        document(client.manifest(&digest.to_string(), limit)?)
                    }
                    Wanted::Config(digest, size) => {
                        let bytes = client.small_blob(digest, size, limit, "configuration")?;
                        (Blob { digest, bytes }, None)
                    }
                })
            })?;
            let layer = fetch(&client, writer, &found)?;
            keep::keep(images, writer, &found, layer)
        },
    )
}

fn document(manifest: Manifest) -> (Blob, Option<String>) {
    let Manifest {
        bytes,
        digest,
        media_type,
    } = manifest;
    (Blob { digest, bytes }, media_type)
}

/// Fetches the layer, checked.
fn fetch(client: &Client<'_>, writer: &Writer<'_>, found: &Found) -> Result<Bytes, ImageError> {
    let what = "layer";
    let mut layer = writer.temp()?;
    let size = found.layer.size.unwrap_or_default();
    client.blob(found.layer.digest, size, what, true, |copy| {
        let file = layer.rewind()?;
        let emptied = file.set_len(0);
        emptied.map_err(|source| ImageError::Write { what, source })?;
        copy(file)
    })?;
    Ok(Bytes {
        file: layer,
        start: 0,
        size,
    })
}
