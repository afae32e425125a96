//! How bytecode images are looked up, and what the verbs answer about them.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::Digest;

/// When a registry is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullPolicy {
    /// Each time.
    Always,
    /// Where the image is not on this machine.
    #[default]
    IfNotPresent,
    /// Not at all.
    Never,
}

impl PullPolicy {
    /// All of them, in the order of the guide.
    pub const ALL: [Self; 3] = [Self::Always, Self::IfNotPresent, Self::Never];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

impl fmt::Display for PullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No such policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use Always, IfNotPresent or Never")]
pub struct UnknownPolicy;

impl FromStr for PullPolicy {
    type Err = UnknownPolicy;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let policy = Self::ALL.into_iter().find(|policy| policy.name() == word);
        policy.ok_or(UnknownPolicy)
    }
}

/// User and password for a registry. Never shown, stored or logged.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryAuth {
    user: String,
    password: String,
}

impl RegistryAuth {
    /// From its parts.
    pub const fn new(user: String, password: String) -> Self {
        Self { user, password }
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password.
    pub fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistryAuth(..)")
    }
}

/// Not the base64 of `user:password`. What was given is left out, because it may be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Other characters, or a cut text.
    #[error("it is not base64")]
    Base64,
    /// Bytes that are no text.
    #[error("its base64 is not UTF-8 text")]
    Text,
    /// No user, or no colon after it.
    #[error("its base64 is not of the form <username>:<password>")]
    Form,
}

impl FromStr for RegistryAuth {
    type Err = AuthError;

    /// Reads what Docker and Podman keep as `auth`: base64 of `user:password`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = STANDARD
            .decode(text.trim())
            .map_err(|_| AuthError::Base64)?;
        let text = String::from_utf8(bytes).map_err(|_| AuthError::Text)?;
        // Docker pads the password with zero bytes in old files.
        match text.trim_end_matches('\0').split_once(':') {
            Some((user, password)) if !user.is_empty() => {
                Ok(Self::new(user.to_owned(), password.to_owned()))
            }
            _ => Err(AuthError::Form),
        }
    }
}

/// A container runtime of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// containerd, as Kubernetes uses it.
    Containerd,
}

impl Runtime {
    /// All of them, in the order in which they are asked.
    pub const ALL: [Self; 3] = [Self::Docker, Self::Podman, Self::Containerd];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the bytes of an image came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ImageOrigin {
    /// The own store had them.
    Store,
    /// A registry sent them.
    Registry,
    /// Docker had them.
    Docker,
    /// Podman had them.
    Podman,
    /// containerd had them.
    Containerd,
}

impl ImageOrigin {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Registry => "registry",
            Self::Docker => Runtime::Docker.name(),
            Self::Podman => Runtime::Podman.name(),
            Self::Containerd => Runtime::Containerd.name(),
        }
    }
}

impl From<Runtime> for ImageOrigin {
    fn from(runtime: Runtime) -> Self {
        match runtime {
            Runtime::Docker => Self::Docker,
            Runtime::Podman => Self::Podman,
            Runtime::Containerd => Self::Containerd,
        }
    }
}

/// Who holds an image on this machine: a runtime, and which of its stores.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holder {
    /// The runtime.
    pub runtime: Runtime,
    /// Where it was asked: a socket, or the folder of its images.
    pub at: PathBuf,
    /// The user whose images these are, where it is not the one who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// containerd's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl Holder {
    /// A runtime by its name, as long as it is not known where it is asked.
    pub fn of(runtime: Runtime) -> Self {
        Self {
            runtime,
            at: runtime.name().into(),
            user: None,
            namespace: None,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.runtime)?;
        if let Some(user) = &self.user {
            write!(f, " of user {user}")?;
        }
        write!(f, " ({}", self.at.display())?;
        if let Some(namespace) = &self.namespace {
            write!(f, ", namespace {namespace}")?;
        }
        f.write_str(")")
    }
}

/// Where an image was found, and by which digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Where its bytes came from.
    pub from: ImageOrigin,
    /// Digest of the image: what a registry or containerd calls it, or the image id of Docker and
    /// Podman.
    pub digest: Digest,
    /// The runtime that has it, or from which the own store has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
}

/// A bytecode image that a runtime of this machine holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldImage {
    /// Who holds it.
    pub holder: Holder,
    /// Its names there.
    pub references: Vec<String>,
    /// What it is called by: see [`Provenance::digest`].
    pub digest: Digest,
    /// Programs and their types, as the labels say.
    pub programs: BTreeMap<String, String>,
    /// Maps and their types, as the labels say.
    pub maps: BTreeMap<String, String>,
}

/// An image of the own store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageView {
    /// Full names that mean it; empty when its tags have moved on.
    pub references: Vec<String>,
    /// What a registry calls it: the digest of its index, or of its manifest where it has no
    /// index. For an image of Docker or Podman, its image id.
    pub digest: Digest,
    /// Digest of the manifest that was chosen for this host; None where Docker or Podman had the
    /// image, which keep none.
    pub manifest: Option<Digest>,
    /// Architecture that the manifest is for, in Go's words.
    pub architecture: String,
    /// Name of the object file in the layer.
    pub file: String,
    /// Digest of the object.
    pub object: Digest,
    /// Size of the object, in bytes.
    pub object_size: u64,
    /// Programs and their types, as the labels say, or else the object.
    pub programs: BTreeMap<String, String>,
    /// Maps and their types, as the labels say, or else the object.
    pub maps: BTreeMap<String, String>,
    /// Space that it takes in the store, in bytes.
    pub size: u64,
    /// When it was fetched.
    pub pulled_at: SystemTime,
}

/// What became of a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The image.
    pub image: ImageView,
    /// Where its bytes came from.
    pub provenance: Provenance,
}

#[cfg(test)]
mod tests;
