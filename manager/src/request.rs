//! What the front ends ask for.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use model::{Attach, KernelType, ProgramId, RegistryAuth, Source};

use crate::{Error, Result};

/// Where the manager keeps and finds things.
#[derive(Clone, Debug)]
pub struct Options {
    /// Runtime root: state, lock and bpffs.
    pub runtime_dir: PathBuf,
    /// Configuration file; a missing one is an empty one.
    pub config: PathBuf,
    /// The own store of images.
    pub image_dir: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            runtime_dir: "/run/bpfman".into(),
            config: "/etc/bpfman/bpfman.toml".into(),
            image_dir: "/var/lib/bpfman/images".into(),
        }
    }
}

/// One program to load and attach.
#[derive(Clone, Debug)]
pub struct LoadRequest {
    /// Where the bytecode is.
    pub source: Source,
    /// Credentials for the registry of an image, in place of those that Docker and Podman left.
    pub registry_auth: Option<RegistryAuth>,
    /// Function symbol; None where the object holds exactly one program that fits.
    pub name: Option<String>,
    /// Global variables to set, as raw bytes in memory order.
    pub globals: BTreeMap<String, Vec<u8>>,
    /// The user's own key and value pairs.
    pub metadata: BTreeMap<String, String>,
    /// Share the maps of this program.
    pub map_owner_id: Option<ProgramId>,
    /// Where and how to attach it.
    pub attach: Attach,
}

impl LoadRequest {
    /// By these keys `apply` finds its programs again, and prunes them: who could set them would
    /// have his program taken away.
    pub(crate) fn reserves_nothing(&self) -> Result<()> {
        let mut keys = self.metadata.keys();
        match keys.find(|key| manifest::is_reserved(key)) {
            Some(key) => Err(Error::ReservedKey(key.clone())),
            None => Ok(()),
        }
    }
}

/// For messages: what is loaded, as what. It names the file where it is the file that is wrong.
impl fmt::Display for LoadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.source) {
            (Some(name), _) => write!(f, "'{name}'")?,
            (None, Source::File { path }) => {
                let file = path.file_name().unwrap_or(path.as_os_str());
                file.display().fmt(f)?;
            }
            (None, Source::Image { url, .. }) => url.fmt(f)?,
        }
        write!(f, " as {}", self.attach.kind())
    }
}

/// Which programs a list shows.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// Those of others as well.
    pub all: bool,
    /// Only those shown as this type.
    pub kind: Option<KernelType>,
    /// Only those that carry all of these pairs.
    pub metadata: BTreeMap<String, String>,
}
