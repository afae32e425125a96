//! The own store of images: content by digest, names as references, one writer for a digest.
//!
//! ```text
//! blobs/sha256/<hex>   manifests, configurations, objects
//! images/<hex>.json    what the index or manifest of that digest means on this host
//! refs/<hex>.json      a name and the digest it stands for; named by the hash of the name
//! tmp/                 what is being written
//! locks/store          shared by those who add, exclusive for those who remove
//! locks/<xx>           one at a time fetches a digest that begins so
//! ```
//!
//! Readers take no lock: every file is complete before it has its name, and what it holds is
//! checked each time it is read.

mod files;
mod lock;
mod remove;

use std::{
    fs::{self, File},
    io::{self, Read, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use model::{Digest, Holder, ImageReference};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{ImageError, digest};

pub(crate) use files::Temp;
pub(crate) use lock::DigestLock;
pub(crate) use remove::{Listed, Target};

/// Version of the documents.
const VERSION: u32 = 1;

/// The largest document of ours, in bytes.
const MAX_DOCUMENT: u64 = 64 << 10;

/// What an index or a manifest means on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    version: u32,
    /// Of the index, or of the manifest where there is no index. Of the configuration where a
    /// runtime had the image that keeps neither.
    pub(crate) digest: Digest,
    /// Of the configuration where there is no manifest.
    pub(crate) manifest: Digest,
    pub(crate) config: Digest,
    pub(crate) object: Digest,
    /// In bytes.
    pub(crate) object_size: u64,
    /// The object's name in the layer.
    pub(crate) file: String,
    /// Seconds since 1970.
    pulled_at: u64,
}

impl Entry {
    pub(crate) fn new(
        [digest, manifest, config, object]: [Digest; 4],
        object_size: u64,
        file: String,
    ) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            version: VERSION,
            digest,
            manifest,
            config,
            object,
            object_size,
            file,
            pulled_at: now.map_or(0, |now| now.as_secs()),
        }
    }

    pub(crate) fn pulled_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.pulled_at)
    }

    /// All blobs that it needs, each once.
    fn blobs(&self) -> Vec<Digest> {
        let mut blobs = vec![self.digest, self.manifest, self.config, self.object];
        blobs.sort_unstable();
        blobs.dedup();
        blobs
    }
}

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ref {
    version: u32,
    /// In full.
    reference: String,
    digest: Digest,
    /// The runtime that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<Holder>,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// In full.
    pub(crate) name: String,
    pub(crate) entry: Entry,
    /// The runtime that it came from.
    pub(crate) holder: Option<Holder>,
}

/// Where images are kept.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    /// Touches nothing.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn blob_path(&self, digest: Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    fn entry_path(&self, digest: Digest) -> PathBuf {
        self.root.join("images").join(digest.hex() + ".json")
    }

    fn ref_path(&self, reference: &str) -> PathBuf {
        let name = digest::of(reference.as_bytes()).hex();
        self.root.join("refs").join(name + ".json")
    }

    /// What a name stands for; None where it was never fetched.
    pub(crate) fn find(&self, reference: &ImageReference) -> Result<Option<Named>, ImageError> {
        if !files::is_safe(&self.root)? {
            return Ok(None);
        }
        if let Some(digest) = reference.digest()
            && let Some(entry) = self.entry(digest)?
        {
            let (name, holder) = (reference.canonical(), None);
            return Ok(Some(Named {
                name,
                entry,
                holder,
            }));
        }
        for name in reference.local_names() {
            let path = self.ref_path(&name);
            let (digest, holder) = match Self::read_ref(&path)? {
                Some(found) if found.reference == name => (found.digest, found.holder),
                Some(_) => {
                    let why = "speaks of another name";
                    return Err(ImageError::Damaged { path, why });
                }
                None => continue,
            };
            match self.entry(digest)? {
                Some(entry) => {
                    return Ok(Some(Named {
                        name,
                        entry,
                        holder,
                    }));
                }
                None if reference.digest() == Some(digest) => {}
                None => {
                    return Err(ImageError::Damaged {
                        path: self.entry_path(digest),
                        why: "is missing",
                    });
                }
            }
        }
        Ok(None)
    }

    /// What the index or manifest of that digest means.
    pub(crate) fn entry(&self, digest: Digest) -> Result<Option<Entry>, ImageError> {
        let path = self.entry_path(digest);
        let entry: Option<Entry> = Self::document(&path)?;
        match entry {
            Some(entry) if entry.digest != digest || entry.version != VERSION => {
                Err(ImageError::Damaged {
                    path,
                    why: "speaks of another image",
                })
            }
            entry => Ok(entry),
        }
    }

    fn read_ref(path: &Path) -> Result<Option<Ref>, ImageError> {
        Self::document(path)
    }

    fn document<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ImageError> {
        let Some(file) = files::open(path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(MAX_DOCUMENT)
            .read_to_end(&mut bytes)
            .map_err(files::error("read", path))?;
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|_| ImageError::Damaged {
                path: path.to_owned(),
                why: "cannot be understood",
            })
    }

    /// A blob, open and with its size as it is now.
    fn open_blob(&self, digest: Digest) -> Result<(File, u64, PathBuf), ImageError> {
        let path = self.blob_path(digest);
        let Some(file) = files::open(&path)? else {
            let why = "is missing";
            return Err(ImageError::Damaged { path, why });
        };
        let size = file.metadata().map_err(files::error("read", &path))?.len();
        Ok((file, size, path))
    }

    /// The bytes of a blob, checked.
    pub(crate) fn blob(&self, digest: Digest, limit: u64) -> Result<Vec<u8>, ImageError> {
        let (file, size, path) = self.open_blob(digest)?;
        let changed = |path| ImageError::Damaged {
            path,
            why: "is not what was stored",
        };
        if size > limit {
            return Err(changed(path));
        }
        let mut bytes = Vec::new();
        bytes.reserve_exact(usize::try_from(size).unwrap_or(0) + 1);
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(files::error("read", &path))?;
        if digest::of(&bytes) != digest {
            return Err(changed(path));
        }
        Ok(bytes)
    }

    /// Checks a blob without keeping it in memory.
    pub(crate) fn verify(&self, digest: Digest) -> Result<(), ImageError> {
        let (file, _, path) = self.open_blob(digest)?;
        let (got, _) = digest::of_stream(file).map_err(files::error("read", &path))?;
        if got != digest {
            let why = "is not what was stored";
            return Err(ImageError::Damaged { path, why });
        }
        Ok(())
    }

    /// Checks everything that an entry needs.
    pub(crate) fn verify_all(&self, entry: &Entry) -> Result<(), ImageError> {
        entry
            .blobs()
            .into_iter()
            .try_for_each(|blob| self.verify(blob))
    }

    /// A writer beside others.
    pub(crate) fn writer(&self) -> Result<Writer<'_>, ImageError> {
        Ok(Writer {
            store: self,
            _lock: lock::shared(&self.root)?,
        })
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }
}

/// Adds to the store. Nothing is removed while it lives.
pub(crate) struct Writer<'a> {
    store: &'a Store,
    _lock: File,
}

impl Writer<'_> {
    /// Waits until nobody else fetches this digest, and keeps others waiting.
    pub(crate) fn lock(&self, digest: Digest) -> Result<DigestLock, ImageError> {
        DigestLock::take(&self.store.root, digest)
    }

    /// A file without a name.
    pub(crate) fn temp(&self) -> Result<Temp, ImageError> {
        Temp::new(&self.store.tmp())
    }

    /// Gives content its name.
    pub(crate) fn keep(&self, temp: Temp, digest: Digest) -> Result<(), ImageError> {
        temp.keep(&self.store.blob_path(digest))
    }

    /// Keeps bytes under their digest.
    pub(crate) fn put(&self, digest: Digest, bytes: &[u8]) -> Result<(), ImageError> {
        self.write(&self.store.blob_path(digest), bytes)
    }

    /// Says what a digest means.
    pub(crate) fn put_entry(&self, entry: &Entry) -> Result<(), ImageError> {
        self.write_document(&self.store.entry_path(entry.digest), entry)
    }

    /// Says what a name stands for, and which runtime it came from.
    pub(crate) fn put_ref(
        &self,
        name: &str,
        digest: Digest,
        holder: Option<&Holder>,
    ) -> Result<(), ImageError> {
        let path = self.store.ref_path(name);
        let document = Ref {
            version: VERSION,
            reference: name.to_owned(),
            digest,
            holder: holder.cloned(),
        };
        // A pull that finds nothing new changes nothing.
        if matches!(Store::read_ref(&path), Ok(Some(old)) if old == document) {
            return Ok(());
        }
        self.write_document(&path, &document)
    }

    /// Says what a name stands for, and which of the full names that it may mean it is now.
    pub(crate) fn put_name(
        &self,
        reference: &ImageReference,
        name: &str,
        digest: Digest,
        holder: Option<&Holder>,
    ) -> Result<(), ImageError> {
        self.put_ref(name, digest, holder)?;
        // One that comes before it would hide it.
        for other in reference
            .local_names()
            .iter()
            .take_while(|other| *other != name)
        {
            let path = self.store.ref_path(other);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(files::error("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn write_document(&self, path: &Path, document: &impl Serialize) -> Result<(), ImageError> {
        let bytes = serde_json::to_vec_pretty(document)
            .map_err(|error| files::error("write", path)(error.into()))?;
        self.write(path, &bytes)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
        let mut temp = self.temp()?;
        let written = temp.file().write_all(bytes);
        written.map_err(files::error("write", path))?;
        temp.keep(path)
    }
}

impl Temp {
    /// Goes back to the start, to be written again or to be read.
    pub(crate) fn rewind(&mut self) -> Result<&mut File, ImageError> {
        let path = self.folder().to_owned();
        self.file()
            .rewind()
            .map_err(files::error("rewind a file in", &path))?;
        Ok(self.file())
    }
}

#[cfg(test)]
mod tests;
