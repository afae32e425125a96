//! What is in the store, and taking things out of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use model::{Digest, ImageReference};

use super::{Entry, ImageError, Ref, Store, files, lock};

/// An image with all names that mean it.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) entry: Entry,
    pub(crate) references: Vec<String>,
    /// Space of its blobs, in bytes; shared ones count for each image.
    pub(crate) size: u64,
}

/// What is to be removed.
pub(crate) enum Target<'a> {
    /// This name, and the image where it was the last one.
    Name(&'a ImageReference),
    /// The image, with all its names.
    Digest(Digest),
}

impl Store {
    /// All images, by name. What is damaged is left out, with a warning.
    pub(crate) fn list(&self) -> Result<Vec<Listed>, ImageError> {
        if !files::is_safe(&self.root)? {
            return Ok(Vec::new());
        }
        let mut names: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for (_, reference) in self.refs()? {
            names
                .entry(reference.digest)
                .or_default()
                .push(reference.reference);
        }
        let mut listed: Vec<Listed> = self
            .entries()?
            .into_iter()
            .map(|(_, entry)| {
                let mut references = names.remove(&entry.digest).unwrap_or_default();
                references.sort_unstable();
                Listed {
                    size: self.size(&entry),
                    references,
                    entry,
                }
            })
            .collect();
        listed.sort_by(|a, b| {
            (a.references.is_empty(), &a.references, a.entry.digest).cmp(&(
                b.references.is_empty(),
                &b.references,
                b.entry.digest,
            ))
        });
        Ok(listed)
    }

    pub(crate) fn size(&self, entry: &Entry) -> u64 {
        let blobs = entry.blobs().into_iter();
        blobs
            .filter_map(|blob| Some(fs::metadata(self.blob_path(blob)).ok()?.len()))
            .sum()
    }

    fn entries(&self) -> Result<Vec<(PathBuf, Entry)>, ImageError> {
        self.documents("images")
    }

    fn refs(&self) -> Result<Vec<(PathBuf, Ref)>, ImageError> {
        self.documents("refs")
    }

    fn documents<T: serde::de::DeserializeOwned>(
        &self,
        folder: &str,
    ) -> Result<Vec<(PathBuf, T)>, ImageError> {
        let mut documents = Vec::new();
        for path in paths(&self.root.join(folder))? {
            match Self::document(&path) {
                Ok(Some(document)) => documents.push((path, document)),
                // Removed meanwhile.
                Ok(None) => {}
                Err(error @ ImageError::Damaged { .. }) => log::warn!("{error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(documents)
    }

    /// Removes names and images, and what nobody needs any more. Answers how many bytes that freed.
    pub(crate) fn remove(&self, target: &Target<'_>) -> Result<u64, ImageError> {
        if !files::is_safe(&self.root)? {
            return Err(ImageError::NotListed);
        }
        let _lock = lock::exclusive(&self.root)?;
        let (refs, entries) = (self.refs()?, self.entries()?);
        let (gone, digest): (Vec<_>, _) = match target {
            Target::Name(name) => {
                let mut meant = name.local_names();
                meant.retain(|name| refs.iter().any(|(_, found)| found.reference == *name));
                let (gone, others): (Vec<_>, Vec<_>) = refs
                    .into_iter()
                    .partition(|(_, found)| Some(&found.reference) == meant.first());
                let digest = match gone.first() {
                    Some((_, found)) => found.digest,
                    None => name.digest().ok_or(ImageError::NotListed)?,
                };
                let is_last = others.iter().all(|(_, other)| other.digest != digest);
                (gone, is_last.then_some(digest))
            }
            Target::Digest(digest) => {
                let all = refs
                    .into_iter()
                    .filter(|(_, found)| found.digest == *digest);
                (all.collect(), Some(*digest))
            }
        };
        let image: Vec<_> = entries
            .into_iter()
            .filter(|(_, entry)| Some(entry.digest) == digest)
            .collect();
        if gone.is_empty() && image.is_empty() {
            return Err(ImageError::NotListed);
        }
        for (path, _) in &gone {
            fs::remove_file(path).map_err(files::error("remove", path))?;
        }
        let rest = || {
            fault::point("store.names-removed").map_err(files::error("remove", &self.root))?;
            for (path, _) in &image {
                remove(path, "store.document-removed")?;
            }
            self.sweep()
        };
        // Without its names it is no longer what was asked to go: the rest only takes space.
        rest().or_else(|error| {
            if gone.is_empty() {
                return Err(error);
            }
            log::warn!("{error}: `bpfman image prune` takes the rest away");
            Ok(0)
        })
    }

    /// Removes the images that `unused` names among those listed, and what nobody needs any more.
    /// Answers which images went, and how many bytes that freed.
    pub(crate) fn prune(
        &self,
        unused: impl Fn(&Listed) -> bool,
    ) -> Result<(Vec<Listed>, u64), ImageError> {
        if !files::is_safe(&self.root)? {
            return Ok((Vec::new(), 0));
        }
        let _lock = lock::exclusive(&self.root)?;
        let gone: Vec<Listed> = self
            .list()?
            .into_iter()
            .filter(|image| unused(image))
            .collect();
        for image in &gone {
            for path in image
                .references
                .iter()
                .map(|name| self.ref_path(name))
                .chain([self.entry_path(image.entry.digest)])
            {
                remove(&path, "store.document-removed")?;
            }
        }
        // Documents that cannot be read mean nothing to anybody.
        for folder in ["images", "refs"] {
            for path in paths(&self.root.join(folder))? {
                let damaged = Self::document::<serde_json::Value>(&path);
                if matches!(damaged, Err(ImageError::Damaged { .. })) {
                    remove(&path, "store.document-removed")?;
                }
            }
        }
        Ok((gone, self.sweep()?))
    }

    /// Removes blobs that no image needs.
    fn sweep(&self) -> Result<u64, ImageError> {
        let needed: BTreeSet<String> = self
            .entries()?
            .iter()
            .flat_map(|(_, entry)| entry.blobs())
            .map(|blob| blob.hex())
            .collect();
        let mut freed = 0;
        for path in paths(&self.root.join("blobs/sha256"))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !needed.contains(&*name) {
                let size = fs::symlink_metadata(&path).map_or(0, |metadata| metadata.len());
                remove(&path, "store.blob-removed")?;
                freed += size;
            }
        }
        Ok(freed)
    }
}

fn remove(path: &Path, point: &'static str) -> Result<(), ImageError> {
    fs::remove_file(path)
        .and_then(|()| fault::point(point))
        .map_err(files::error("remove", path))
}

fn paths(folder: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(files::error("list", folder)(source)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths
        .collect::<Result<_, _>>()
        .map_err(files::error("list", folder))
}
