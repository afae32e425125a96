//! What state says of a loaded program: the meaning that the kernel does not keep.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Attach, ImageReference, ProgramId, Provenance, PullPolicy};

/// Where the bytecode came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum Source {
    /// A local object file.
    File {
        /// Absolute path.
        path: PathBuf,
    },
    /// A bytecode image.
    Image {
        /// Its name, as it was typed.
        url: ImageReference,
        /// When a registry is asked.
        pull_policy: PullPolicy,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path } => path.display().fmt(f),
            Self::Image { url, .. } => write!(f, "image {url}"),
        }
    }
}

/// The interface that a name meant when the program was loaded. Names and namespaces come and go
/// and are used again; this tells whether it is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Device of the namespace's file in nsfs.
    pub ns_dev: u64,
    /// Inode of the namespace's file in nsfs, what `readlink /proc/self/ns/net` shows.
    pub ns_ino: u64,
    /// Index of the interface in that namespace.
    pub ifindex: u32,
}

/// One loaded program. Credentials are never part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The kernel's id.
    pub id: ProgramId,
    /// Function symbol in the object; the kernel's own name is cut at 15 bytes.
    pub name: String,
    /// Where the bytecode came from.
    pub source: Source,
    /// Where the image was found, where the source is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// SHA-256 of the object, lower-case hex.
    pub digest: String,
    /// Where and how it is attached.
    pub attach: Attach,
    /// The interface behind `attach`, for the hooks of an interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Global variables that were set, name to upper-case hex.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub globals: BTreeMap<String, String>,
    /// The user's own key and value pairs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The program whose maps it shares, as the user named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_owner: Option<ProgramId>,
    /// The program that made the maps: the name of the folder of their pins.
    pub maps: ProgramId,
    /// Grows by one with each load: a higher one is newer.
    pub seq: u64,
}
