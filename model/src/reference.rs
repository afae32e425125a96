//! Names of images and of content.

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// The registry of names without a host.
const DOCKER_HUB: &str = "docker.io";

/// The longest repository name, in bytes (distribution specification).
const LONGEST_NAME: usize = 255;

/// The longest tag, in bytes (distribution specification).
const LONGEST_TAG: usize = 128;

/// SHA-256 of some content: `sha256:` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// From the hash itself.
    pub const fn new(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The 64 hex digits without the algorithm.
    pub fn hex(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ReferenceError::Digest(text.to_owned());
        let (algorithm, hex) = text.split_once(':').ok_or_else(wrong)?;
        if algorithm != "sha256" {
            return Err(ReferenceError::Algorithm(algorithm.to_owned()));
        }
        let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if hex.len() != 64 || !hex.bytes().all(lower) {
            return Err(wrong());
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = str::from_utf8(pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                .ok_or_else(wrong)?;
        }
        Ok(Self(hash))
    }
}

impl TryFrom<String> for Digest {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// The name of an image: `[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]`, as Docker and Podman read it.
///
/// Shown and stored as it was typed. (The parser of oci-spec takes 35 ms, because it compiles a
/// large regular expression, and knows no IPv6 hosts.)
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference {
    typed: String,
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ImageReference {
    /// Host and port as they were typed; `docker.io` where there was none.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path of the repository below the registry; names of Docker Hub without a path are in
    /// `library/`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` where neither tag nor digest was typed.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest. It decides, whatever the tag says.
    pub const fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// What a registry is asked for: the digest, or the tag.
    pub fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => LATEST.to_owned(),
        }
    }

    /// The name as it was typed, without tag and digest; None where it begins with a host.
    pub fn short_name(&self) -> Option<&str> {
        let name = split_tag(
            self.typed
                .split_once('@')
                .map_or(&*self.typed, |(name, _)| name),
        )
        .0;
        host_of(name).is_none().then_some(name)
    }

    /// The full name: the same for all ways to write it.
    pub fn canonical(&self) -> String {
        let Self {
            registry,
            repository,
            ..
        } = self;
        let mark = if self.digest.is_some() { '@' } else { ':' };
        format!("{registry}/{repository}{mark}{}", self.wanted())
    }
}

impl ImageReference {
    /// The full names that may be meant on this machine: what was built here without a registry's
    /// name is called `localhost/…` by Podman, and by everybody else as [`Self::canonical`] says.
    pub fn local_names(&self) -> Vec<String> {
        let mark = if self.digest.is_some() { '@' } else { ':' };
        let local = self
            .short_name()
            .map(|short| format!("localhost/{short}{mark}{}", self.wanted()));
        local.into_iter().chain([self.canonical()]).collect()
    }
}

/// The tag that is meant where none is typed.
const LATEST: &str = "latest";

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(typed: &str) -> Result<Self, Self::Err> {
        if typed.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if let Some((scheme, _)) = typed.split_once("://") {
            return Err(ReferenceError::Scheme(scheme.to_owned()));
        }
        let (rest, digest) = match typed.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (typed, None),
        };
        let (name, tag) = split_tag(rest);
        let tag = tag.map(check_tag).transpose()?;
        let (registry, repository) = split_host(name)?;
        check_repository(&repository)?;
        let tag = tag
            .or_else(|| digest.is_none().then_some(LATEST))
            .map(str::to_owned);
        Ok(Self {
            typed: typed.to_owned(),
            registry,
            repository,
            tag,
            digest,
        })
    }
}

impl TryFrom<String> for ImageReference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageReference> for String {
    fn from(reference: ImageReference) -> Self {
        reference.typed
    }
}

fn split_tag(text: &str) -> (&str, Option<&str>) {
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[last..].split_once(':') {
        Some((name, tag)) => (&text[..last + name.len()], Some(tag)),
        None => (text, None),
    }
}

/// The first part, where it cannot be anything but a host, and the rest.
fn host_of(name: &str) -> Option<(&str, &str)> {
    name.split_once('/').filter(|(first, _)| {
        first.contains(['.', ':']) || *first == "localhost" || first.starts_with('[')
    })
}

/// Host and repository.
fn split_host(name: &str) -> Result<(String, String), ReferenceError> {
    let (host, path) = match host_of(name) {
        Some((host, path)) => (check_host(host)?, path),
        None => (DOCKER_HUB, name),
    };
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        host => host,
    };
    let path = if host == DOCKER_HUB && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    Ok((host.to_owned(), path))
}

fn check_host(host: &str) -> Result<&str, ReferenceError> {
    let wrong = || ReferenceError::Host(host.to_owned());
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(wrong)?;
            address.parse::<Ipv6Addr>().map_err(|_| wrong())?;
            (
                None,
                port.strip_prefix(':').or((!port.is_empty()).then_some("")),
            )
        }
        None => match host.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(host), None),
        },
    };
    let label = |label: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let number = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    };
    if name.is_some_and(|name| !name.split('.').all(label)) || !port.is_none_or(number) {
        return Err(wrong());
    }
    Ok(host)
}

fn check_repository(path: &str) -> Result<(), ReferenceError> {
    if path.len() > LONGEST_NAME {
        return Err(ReferenceError::TooLong);
    }
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ReferenceError::Uppercase(path.to_owned()));
    }
    match path.split('/').find(|part| !is_component(part)) {
        Some(part) => Err(ReferenceError::Component(part.to_owned())),
        None => Ok(()),
    }
}

/// Letters and digits with single separators between them: `.`, `_`, `__` or any number of `-`.
fn is_component(part: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| alphanumeric(*byte));
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends(part.as_bytes().first())
        && ends(part.as_bytes().last())
        && separators.into_iter().all(|between| {
            matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-')
        })
}

fn check_tag(tag: &str) -> Result<&str, ReferenceError> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let fits = tag.len() <= LONGEST_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || b".-".contains(&byte));
    if fits {
        Ok(tag)
    } else {
        Err(ReferenceError::Tag(tag.to_owned()))
    }
}

/// Whether connections to a host (with or without a port) never leave the machine.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Why a text names no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// No text at all.
    #[error("the name of an image must not be empty")]
    Empty,
    /// A URL.
    #[error("write it without '{0}://'")]
    Scheme(String),
    /// Not a host with an optional port.
    #[error("'{0}' is no host with an optional port")]
    Host(String),
    /// Upper-case letters.
    #[error("the repository '{0}' must be in lower case")]
    Uppercase(String),
    /// A part of the path that no registry takes.
    #[error("'{0}' cannot be part of a repository's name")]
    Component(String),
    /// Longer than registries allow.
    #[error("the repository's name is longer than {LONGEST_NAME} bytes")]
    TooLong,
    /// Not a tag.
    #[error("'{0}' is no tag")]
    Tag(String),
    /// Not a digest.
    #[error("'{0}' is no digest: write sha256: and 64 lower-case hex digits")]
    Digest(String),
    /// A digest that is not SHA-256.
    #[error("digest algorithm '{0}' is not supported, only sha256")]
    Algorithm(String),
}

#[cfg(test)]
mod tests;
