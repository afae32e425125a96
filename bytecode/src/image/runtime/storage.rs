//! Podman's storage as it lies in its folder (containers/storage), read without Podman. Its files
//! are put there in one step each, so they are read without a lock.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use model::Digest;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use serde::Deserialize;

use super::{
    super::{
        ImageError, Limits,
        digest::Tee,
        keep::{Blob, Bytes, Found},
        store::Temp,
    },
    Export, RuntimeError, engine,
    names::Names,
    tar_split::TarSplit,
    user::{User, var},
};

/// The largest list of images that is read, in bytes.
const MAX_LIST: u64 = 64 << 20;

/// Storage drivers whose folders hold the files of layers as they are.
const DRIVERS: [&str; 2] = ["overlay", "vfs"];

/// The storage of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storage {
    /// Its own folder, and those of others that it shows as well.
    roots: Vec<PathBuf>,
    /// Who must own it, where that is not the one who asks.
    owner: Option<u32>,
}

/// One of `images.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    id: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    layer: String,
    #[serde(default)]
    big_data_digests: BTreeMap<String, String>,
}

/// An image, and in which storage it is.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) id: Digest,
    pub(super) names: Vec<String>,
    layer: String,
    root: PathBuf,
    driver: &'static str,
}

/// `storage.conf`, as far as it is of use.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    storage: Section,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Section {
    graphroot: String,
    rootless_storage_path: String,
    options: Options,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Options {
    additionalimagestores: Vec<PathBuf>,
}

impl Storage {
    /// Where a user's Podman keeps images; None for a user without a home.
    pub(super) fn of(user: &User) -> Result<Option<Self>, RuntimeError> {
        let system = [
            "/etc/containers/storage.conf",
            "/usr/share/containers/storage.conf",
        ];
        let home_config = || {
            let folder = user.var("XDG_CONFIG_HOME");
            let folder = folder.or_else(|| Some(user.home.as_ref()?.join(".config")));
            folder.map(|folder| folder.join("containers/storage.conf"))
        };
        let own = match user.var("CONTAINERS_STORAGE_CONF") {
            Some(path) => Some(path),
            None if user.uid == 0 => None,
            None => home_config(),
        };
        let own = own.map(|path| config(&path, user)).transpose()?.flatten();
        let own = own.unwrap_or_default().storage;
        let mut shared = Section::default();
        for path in system.map(Path::new) {
            if let Some(found) = config(path, user)? {
                shared = found.storage;
                break;
            }
        }
        let data = || {
            let folder = user.var("XDG_DATA_HOME");
            let folder = folder.or_else(|| Some(user.home.as_ref()?.join(".local/share")));
            folder.map(|folder| folder.join("containers/storage"))
        };
        let written = |path: &str| (!path.is_empty()).then(|| expand(path, user));
        let root = if user.uid == 0 {
            let usual = || Some("/var/lib/containers/storage".into());
            written(&own.graphroot)
                .or_else(|| written(&shared.graphroot))
                .or_else(usual)
        } else {
            written(&own.graphroot)
                .or_else(|| written(&shared.rootless_storage_path))
                .or_else(data)
        };
        let owner = user.name.is_some().then_some(user.uid);
        Ok(root.map(|root| {
            let mut roots = vec![root];
            roots.extend(own.options.additionalimagestores);
            roots.extend(shared.options.additionalimagestores);
            Self { roots, owner }
        }))
    }

    /// The folder that is this user's own.
    pub(super) fn root(&self) -> &Path {
        self.roots.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// All images.
    pub(super) fn list(&self) -> Result<Vec<Stored>, RuntimeError> {
        Ok(self
            .images()?
            .into_iter()
            .filter_map(|(image, root, driver)| stored(image, root, driver))
            .collect())
    }

    /// The image that a name means, and how well it fits.
    pub(super) fn find(&self, names: &Names) -> Result<Option<(usize, Stored)>, RuntimeError> {
        let mut best: Option<(usize, Stored)> = None;
        for (image, root, driver) in self.images()? {
            let manifests = image.big_data_digests.iter();
            let manifests = manifests.filter(|(key, _)| key.starts_with("manifest"));
            let digests = manifests.map(|(_, digest)| digest.as_str());
            let digests: Vec<&str> = digests.chain([image.digest.as_str()]).collect();
            let Some(rank) = names.rank(&image.names, &digests, &[&image.id]) else {
                continue;
            };
            if best.as_ref().is_none_or(|(other, _)| rank < *other) {
                best = stored(image, root, driver).map(|image| (rank, image));
            }
        }
        Ok(best)
    }

    fn images(&self) -> Result<Vec<(Image, PathBuf, &'static str)>, RuntimeError> {
        let mut images = Vec::new();
        for root in &self.roots {
            if !self.is_there(root)? {
                continue;
            }
            for driver in DRIVERS {
                let name = format!("{driver}-images/images.json");
                let file = match open(root, Path::new(&name)) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(unreadable(&root.join(name), &error)),
                };
                let mut bytes = Vec::new();
                file.take(MAX_LIST)
                    .read_to_end(&mut bytes)
                    .map_err(|error| unreadable(&root.join(&name), &error))?;
                let found: Vec<Image> = serde_json::from_slice(&bytes)
                    .map_err(|error| unreadable(&root.join(&name), &error.into()))?;
                images.extend(found.into_iter().map(|image| (image, root.clone(), driver)));
            }
        }
        Ok(images)
    }

    /// Whether a folder is there, and nothing but folders that can be read without Podman.
    fn is_there(&self, root: &Path) -> Result<bool, RuntimeError> {
        let wrong = |error: io::Error| unreadable(root, &error);
        let metadata = match fs::metadata(root) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(wrong(error)),
        };
        if self.owner.is_some_and(|owner| metadata.uid() != owner) && root == self.root() {
            return Err(RuntimeError::storage(format!(
                "{} belongs to somebody else",
                root.display()
            )));
        }
        for entry in fs::read_dir(root).map_err(wrong)? {
            let name = entry.map_err(wrong)?.file_name();
            let name = name.to_string_lossy();
            if let Some(driver) = name.strip_suffix("-images")
                && !DRIVERS.contains(&driver)
            {
                return Err(RuntimeError::storage(format!(
                    "its driver '{driver}' has a form of its own"
                )));
            }
        }
        Ok(true)
    }
}

fn stored(image: Image, root: PathBuf, driver: &'static str) -> Option<Stored> {
    Some(Stored {
        // A list of images has an id that is no digest of anything.
        id: engine::id(&image.id)?,
        names: image.names,
        layer: image.layer,
        root,
        driver,
    })
}

impl Stored {
    /// Its configuration, checked.
    pub(super) fn config(&self, limit: u64) -> Result<Blob, Export> {
        let what = "configuration";
        let key = STANDARD.encode(self.id.to_string());
        let path = format!("{}-images/{}/={key}", self.driver, self.id.hex());
        let file = self.open(Path::new(&path))?;
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(&self.root.join(&path), &error))?;
        if bytes.len() as u64 > limit {
            return Err(ImageError::DocumentTooLarge { what, limit }.into());
        }
        Ok(Blob::checked(bytes, self.id, what)?)
    }

    /// The image and its layer, both checked: the tar of the layer is put together again from what
    /// the storage keeps of it and from the unpacked files, and has the digest that it had.
    pub(super) fn take(
        &self,
        limits: Limits,
        max_layer: u64,
        mut file: Temp,
    ) -> Result<(Found, Bytes), Export> {
        let found = Found::of_config(self.config(limits.manifest)?)?;
        if self.layer.is_empty() || self.layer.contains(['/', '.']) {
            return Err(RuntimeError::storage("an image without a layer").into());
        }
        let recipe = format!("{}-layers/{}.tar-split.gz", self.driver, self.layer);
        let content = match self.driver {
            "vfs" => format!("vfs/dir/{}", self.layer),
            driver => format!("{driver}/{}/diff", self.layer),
        };
        let recipe = self.open(Path::new(&recipe))?;
        let folder = Path::new(&content).to_owned();
        let mut tar = TarSplit::new(recipe, max_layer, |name: &Path| {
            open(&self.root, &folder.join(name))
        })
        .map_err(|error| unreadable(&self.root, &error))?;
        let mut tee = Tee::new(file.file());
        if let Err(error) = io::copy(&mut tar, &mut tee) {
            return Err(if tar.is_too_large() {
                let (size, limit) = (tee.size() + 1, max_layer);
                ImageError::LayerTooLarge { size, limit }.into()
            } else {
                unreadable(&self.root.join(content), &error).into()
            });
        }
        let (got, size) = tee.finish();
        let wanted = found.layer.digest;
        if got != wanted {
            let what = "layer";
            return Err(ImageError::DigestMismatch { what, wanted, got }.into());
        }
        let start = 0;
        Ok((found, Bytes { file, start, size }))
    }

    fn open(&self, path: &Path) -> Result<File, RuntimeError> {
        open(&self.root, path).map_err(|error| unreadable(&self.root.join(path), &error))
    }
}

fn unreadable(path: &Path, error: &io::Error) -> RuntimeError {
    RuntimeError::storage(format!("{}: {error}", path.display()))
}

/// Opens a regular file below a folder, without following a link that its owner, who may be
/// another user, could have put there.
fn open(root: &Path, path: &Path) -> io::Result<File> {
    let folder: OwnedFd = rustix::fs::openat(
        CWD,
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = rustix::fs::openat2(folder, path, flags, Mode::empty(), resolve)?;
    let file = File::from(file);
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("it is no file"))
}

/// A configuration; None where there is none.
fn config(path: &Path, user: &User) -> Result<Option<Config>, RuntimeError> {
    let wrong = || RuntimeError::Config {
        path: path.to_owned(),
    };
    let is_system = path.starts_with("/etc") || path.starts_with("/usr");
    let opened = if is_system {
        File::open(path)
    } else {
        user.open(path)
    };
    let mut text = String::new();
    match opened {
        Ok(mut file) => file.read_to_string(&mut text).map_err(|_| wrong())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_) => return Err(wrong()),
    };
    toml::from_str(&text).map(Some).map_err(|_| wrong())
}

/// The variables that paths in `storage.conf` may hold.
fn expand(path: &str, user: &User) -> PathBuf {
    let home = user.home.clone().or_else(|| var("HOME"));
    let home = home.unwrap_or_default();
    path.replace("$HOME", &home.to_string_lossy())
        .replace("$UID", &user.uid.to_string())
        .replace("$USER", user.name.as_deref().unwrap_or_default())
        .into()
}
