//! What `docker save` and its kin write: a tar with `manifest.json`, with an OCI layout, or both.

use std::{
    collections::BTreeMap,
    io::{self, Read, Seek as _, SeekFrom},
};

use model::Digest;
use serde::Deserialize;

use super::super::{
    ImageError, Limits,
    keep::{Blob, Bytes, Found, Wanted},
    manifest::{self, Index},
    store::Temp,
};

/// More files than the archive of an image has, many times over.
const MAX_FILES: usize = 10_000;

/// An archive in a file, and where in it its files are.
pub(super) struct Archive {
    file: Temp,
    files: BTreeMap<String, Place>,
    limits: Limits,
}

#[derive(Clone, Copy)]
struct Place {
    start: u64,
    size: u64,
}

/// One image in `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    #[serde(default)]
    layers: Vec<String>,
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err passes")]
fn damaged(source: io::Error) -> ImageError {
    wrong(source.to_string())
}

fn wrong(why: impl Into<String>) -> ImageError {
    ImageError::Archive { why: why.into() }
}

impl Archive {
    /// Looks at what is in it.
    pub(super) fn open(mut file: Temp, limits: Limits) -> Result<Self, ImageError> {
        let mut files = BTreeMap::new();
        let mut tar = tar::Archive::new(file.rewind()?);
        for entry in tar.entries_with_seek().map_err(damaged)? {
            let entry = entry.map_err(damaged)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name = name.trim_start_matches("./").to_owned();
            let place = Place {
                start: entry.raw_file_position(),
                size: entry.size(),
            };
            files.insert(name, place);
            if files.len() > MAX_FILES {
                return Err(wrong("it holds too many files"));
            }
        }
        Ok(Self {
            file,
            files,
            limits,
        })
    }

    /// The image that a runtime calls by this digest, and its layer, both checked.
    pub(super) fn take(mut self, id: Digest) -> Result<(Found, Bytes), ImageError> {
        let is_index = self.files.contains_key("index.json") && self.names(id)?;
        let (found, path) = if is_index {
            self.by_manifest(id)?
        } else {
            self.by_config(id)?
        };
        let missing = || wrong(format!("it lacks the layer {}", found.layer.digest));
        let place = *self.files.get(&path).ok_or_else(missing)?;
        if let Some(wanted) = found.layer.size
            && wanted != place.size
        {
            let (what, got) = ("layer", place.size);
            return Err(ImageError::SizeMismatch { what, wanted, got });
        }
        let mut layer = Bytes {
            file: self.file,
            start: place.start,
            size: place.size,
        };
        layer.check(found.layer.digest)?;
        Ok((found, layer))
    }

    /// Whether the layout names an index or a manifest of this digest.
    fn names(&mut self, id: Digest) -> Result<bool, ImageError> {
        let bytes = self.read("index.json", "index")?;
        let index: Index = manifest::read(&bytes, "index")?;
        Ok(index.names(id))
    }

    /// From an index or a manifest on: as Docker's and containerd's newer stores call images.
    fn by_manifest(&mut self, id: Digest) -> Result<(Found, String), ImageError> {
        let top = self.blob(id, "manifest")?;
        let found = Found::begin(top, None, self.limits.layer, |wanted| {
            let blob = match wanted {
                Wanted::Manifest(digest) => self.blob(digest, "manifest"),
                Wanted::Config(digest, _) => self.blob(digest, "configuration"),
            };
            blob.map(|blob| (blob, None))
        })?;
        let path = blob_path(found.layer.digest);
        Ok((found, path))
    }

    /// From a configuration on: as Docker's older store and Podman call images.
    fn by_config(&mut self, id: Digest) -> Result<(Found, String), ImageError> {
        let what = "manifest";
        let bytes = self.read("manifest.json", what)?;
        let images: Vec<Image> = serde_json::from_slice(&bytes)
            .map_err(|source| ImageError::Document { what, source })?;
        for image in &images {
            let config = Blob::new(self.read(&image.config, "configuration")?);
            if config.digest != id {
                continue;
            }
            let found = Found::of_config(config)?;
            let [path] = image.layers.as_slice() else {
                let count = image.layers.len();
                return Err(ImageError::Layers { count });
            };
            return Ok((found, path.clone()));
        }
        Err(wrong(format!("it does not hold {id}")))
    }

    fn blob(&mut self, digest: Digest, what: &'static str) -> Result<Blob, ImageError> {
        Blob::checked(self.read(&blob_path(digest), what)?, digest, what)
    }

    fn read(&mut self, name: &str, what: &'static str) -> Result<Vec<u8>, ImageError> {
        let place = *self
            .files
            .get(name)
            .ok_or_else(|| wrong(format!("it lacks {}", name.escape_debug())))?;
        let limit = self.limits.manifest;
        if place.size > limit {
            return Err(ImageError::DocumentTooLarge { what, limit });
        }
        let file = self.file.file();
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(place.start)).map_err(damaged)?;
        let read = file.take(place.size).read_to_end(&mut bytes);
        read.map_err(damaged)?;
        Ok(bytes)
    }
}

fn blob_path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[cfg(test)]
mod tests;
