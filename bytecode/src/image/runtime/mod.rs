//! Images of the container runtimes of this machine: Docker, Podman and containerd. They are only
//! read: nothing is created, started or written there.
//!
//! ```text
//! names ─► who has one of them ─► image id ─► archive, storage or content ─► layer ─► store
//! ```

mod archive;
mod command;
mod containerd;
mod docker;
mod engine;
mod error;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod grpc;
mod list;
mod names;
mod podman;
mod storage;
mod tar_split;
mod unix;
mod user;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use model::{Digest, Holder, ImageReference, Runtime};

use super::{
    ImageError, Images, Limits, Request,
    keep::{self, Bytes, Fetched, Found},
    layer,
    store::Writer,
};
use crate::Error;
use archive::Archive;
use engine::Engine;
use grpc::Connection;
use names::Names;
use user::User;

pub use error::RuntimeError;

/// How long a runtime may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// How long it may take to say what it has.
const ANSWER: Duration = Duration::from_secs(5);

/// How long it may be silent while it hands over an image.
const SILENCE: Duration = Duration::from_secs(30);

/// How long that may take in all.
const EXPORT: Duration = Duration::from_mins(2);

/// The largest answer that is no image, in bytes.
const MAX_ANSWER: u64 = 16 << 20;

/// What an archive holds besides the layer, in bytes: documents, and other platforms' layers.
const AROUND: u64 = 16 << 20;

/// How the container runtimes of this machine are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeSettings {
    /// At all.
    pub enabled: bool,
    /// The one that is asked first.
    pub preferred: Option<Runtime>,
    /// Where Docker listens, in place of where it usually does.
    pub docker_socket: Option<PathBuf>,
    /// Where Podman listens, in place of its storage and where it usually listens.
    pub podman_socket: Option<PathBuf>,
    /// Where containerd listens, in place of where it usually does.
    pub containerd_socket: Option<PathBuf>,
    /// Namespaces of containerd, in the order in which they are asked.
    pub containerd_namespaces: Vec<String>,
}

impl Default for RuntimeSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            preferred: None,
            docker_socket: None,
            podman_socket: None,
            containerd_socket: None,
            containerd_namespaces: ["k8s.io", "default", "moby"].map(str::to_owned).to_vec(),
        }
    }
}

/// Why an image cannot be had from a runtime: because of the runtime, or because of the image.
#[derive(Debug)]
enum Export {
    Runtime(RuntimeError),
    Image(ImageError),
}

impl From<RuntimeError> for Export {
    fn from(error: RuntimeError) -> Self {
        Self::Runtime(error)
    }
}

impl From<ImageError> for Export {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

/// Runtimes that are asked, and those of them that could not be.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    settings: &'a RuntimeSettings,
    skipped: Vec<(Runtime, String)>,
}

/// An image that a runtime has.
pub(super) struct Located {
    pub(super) holder: Holder,
    /// In full, as it was found.
    pub(super) name: String,
    /// What the runtime calls it by.
    pub(super) digest: Digest,
    content: Content,
}

/// How it is handed over.
enum Content {
    Engine(Engine, engine::Image),
    /// The command, where the storage turns out not to hold what it should.
    Storage(storage::Stored, command::Podman),
    Command(command::Podman),
    Containerd(Connection),
}

/// The address of a socket as the environment names it.
fn address(text: &Path) -> Result<PathBuf, RuntimeError> {
    let address = text.to_string_lossy();
    let path = address
        .strip_prefix("unix://")
        .or_else(|| address.starts_with('/').then_some(&address));
    path.map(PathBuf::from)
        .ok_or_else(|| RuntimeError::Address {
            address: address.clone().into_owned(),
        })
}

impl<'a> Asked<'a> {
    /// Nobody yet.
    pub(super) const fn new(settings: &'a RuntimeSettings) -> Self {
        let skipped = Vec::new();
        Self { settings, skipped }
    }

    /// Why the preferred runtime could not be asked.
    pub(super) fn preferred_skipped(&self) -> Option<String> {
        let preferred = self.settings.preferred?;
        let mut skipped = self.skipped.iter();
        let (_, why) = skipped.find(|(runtime, _)| *runtime == preferred)?;
        Some(why.clone())
    }

    fn skip(&mut self, holder: &Holder, error: &RuntimeError) {
        let why = format!("{holder} was not asked: {}", error.in_full());
        log::warn!("{why}");
        self.skipped.push((holder.runtime, why));
    }

    /// Passes over a runtime that is not there, unless somebody said that it is.
    fn pass(&mut self, holder: &Holder, error: &RuntimeError, is_named: bool) {
        let is_absent = matches!(
            error,
            RuntimeError::Unreachable { source } if source.kind() == io::ErrorKind::NotFound
        );
        let is_named = is_named || self.settings.preferred == Some(holder.runtime);
        if is_absent && !is_named {
            log::debug!("{holder}: {}", error.in_full());
        } else {
            self.skip(holder, error);
        }
    }

    /// Runtimes, in the order in which they are asked.
    fn order(&self) -> Vec<Runtime> {
        let mut runtimes = if self.settings.enabled {
            Runtime::ALL.to_vec()
        } else {
            Vec::new()
        };
        runtimes.sort_by_key(|runtime| Some(*runtime) != self.settings.preferred);
        runtimes
    }

    /// The image that a name means in the first runtime that has one.
    pub(super) fn find(&mut self, reference: &ImageReference) -> Option<Located> {
        let order = self.order().into_iter();
        let found = order.filter_map(|runtime| self.find_in(runtime, reference));
        { found }.next()
    }

    /// The image that a name means in one runtime.
    pub(super) fn find_in(
        &mut self,
        runtime: Runtime,
        reference: &ImageReference,
    ) -> Option<Located> {
        if !self.settings.enabled {
            return None;
        }
        let names = Names::of(reference);
        match runtime {
            Runtime::Docker => self.find_in_docker(&names),
            Runtime::Podman => self.find_in_podman(&names),
            Runtime::Containerd => self.find_in_containerd(&names),
        }
    }

    fn find_in_docker(&mut self, names: &Names) -> Option<Located> {
        for (holder, engine) in self.docker_engines() {
            match engine.inspect(&names.typed) {
                Ok(Some(known)) => {
                    // Docker knows no names that begin with localhost/ unless they are typed so.
                    let name = names.of_rank(usize::MAX);
                    return Some(Located::engine(holder, name, engine, known));
                }
                Ok(None) => {}
                Err(error) => self.pass_docker(&holder, &error),
            }
        }
        None
    }

    fn pass_docker(&mut self, holder: &Holder, error: &RuntimeError) {
        let is_named = self.settings.docker_socket.is_some() || user::var("DOCKER_HOST").is_some();
        self.pass(holder, error, is_named);
    }

    fn docker_engines(&mut self) -> Vec<(Holder, Engine)> {
        let mut engines = Vec::new();
        for socket in docker::sockets(self.settings.docker_socket.as_deref()) {
            let mut holder = Holder::of(Runtime::Docker);
            match socket {
                Ok(socket) => {
                    let engine = Engine::new(&socket.path);
                    holder.at = socket.path;
                    holder.user = socket.user;
                    engines.push((holder, engine));
                }
                Err(error) => self.skip(&holder, &error),
            }
        }
        engines
    }

    /// The service of Podman at an address that somebody named.
    fn podman_at(&mut self, address: Result<PathBuf, RuntimeError>) -> Option<(Holder, Engine)> {
        let mut holder = Holder::of(Runtime::Podman);
        let path = address.map_err(|error| self.skip(&holder, &error)).ok()?;
        let engine = Engine::new(&path);
        holder.at = path;
        Some((holder, engine))
    }

    fn find_in_podman(&mut self, names: &Names) -> Option<Located> {
        let Some(address) = podman::address(self.settings.podman_socket.as_ref()) else {
            let users = User::all().into_iter();
            let mut found = users.filter_map(|user| podman::find(&user, names, self));
            return found.next();
        };
        let (holder, engine) = self.podman_at(address)?;
        match podman::find_at(&engine, names) {
            Ok(found) => found
                .map(|(rank, known)| Located::engine(holder, names.of_rank(rank), engine, known)),
            Err(error) => {
                self.skip(&holder, &error);
                None
            }
        }
    }

    /// A connection to containerd, where there is one.
    fn containerd(&mut self) -> Option<(Holder, Connection)> {
        let mut holder = Holder::of(Runtime::Containerd);
        let (path, is_named) = containerd::socket(self.settings.containerd_socket.as_ref())
            .map_err(|error| self.skip(&holder, &error))
            .ok()?;
        holder.at.clone_from(&path);
        // No runtime is started for a socket that is not there.
        let there = path
            .metadata()
            .map_err(|error| RuntimeError::of_io(error, "connect", CONNECT))
            .and_then(|_| Connection::open(&path));
        match there {
            Ok(connection) => Some((holder, connection)),
            Err(error) => {
                self.pass(&holder, &error, is_named);
                None
            }
        }
    }

    fn find_in_containerd(&mut self, names: &Names) -> Option<Located> {
        let (mut holder, connection) = self.containerd()?;
        for name in &self.settings.containerd_namespaces {
            let namespace = containerd::Namespace {
                connection: &connection,
                name,
            };
            holder.namespace = Some(name.clone());
            match namespace.find(names) {
                Ok(Some((rank, image))) => {
                    if let Some(digest) = image.digest() {
                        let content = Content::Containerd(connection);
                        return Some(Located {
                            holder,
                            name: names.of_rank(rank),
                            digest,
                            content,
                        });
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    self.skip(&holder, &error);
                    return None;
                }
            }
        }
        None
    }
}

impl Located {
    const fn engine(holder: Holder, name: String, engine: Engine, known: engine::Image) -> Self {
        Self {
            holder,
            name,
            digest: known.id,
            content: Content::Engine(engine, known),
        }
    }

    /// Hands the image over: what describes it, and its layer, all checked.
    fn export(&self, limits: Limits, writer: &Writer<'_>) -> Result<(Found, Bytes), Export> {
        // Runtimes hand over what is unpacked, so that the limit of the object counts as well.
        let max_layer = limits.layer.max(limits.object + layer::ENVELOPE);
        let limits = Limits {
            layer: max_layer,
            ..limits
        };
        let max_archive = max_layer + AROUND;
        let open = |file| Ok(Archive::open(file, limits)?.take(self.digest)?);
        match &self.content {
            Content::Engine(engine, known) => {
                // Docker may count an image twice: packed and unpacked.
                if known.size / 2 > max_archive {
                    let (size, limit) = (known.size, max_layer);
                    return Err(ImageError::LayerTooLarge { size, limit }.into());
                }
                open(engine.export(self.digest, max_archive, writer.temp()?)?)
            }
            Content::Storage(stored, command) => {
                match stored.take(limits, max_layer, writer.temp()?) {
                    Err(Export::Runtime(error)) => {
                        log::debug!("podman's storage: {}", error.in_full());
                        open(command.export(self.digest, max_archive, writer.temp()?)?)
                    }
                    taken => taken,
                }
            }
            Content::Command(command) => {
                open(command.export(self.digest, max_archive, writer.temp()?)?)
            }
            Content::Containerd(connection) => {
                let name = self.holder.namespace.as_deref().unwrap_or_default();
                let namespace = containerd::Namespace { connection, name };
                namespace.take(self.digest, limits, writer.temp()?)
            }
        }
    }
}

/// Brings an image of a runtime into the store, where the store does not have it.
pub(super) fn take<'a>(
    images: &'a Images,
    request: &Request<'_>,
    located: &Located,
) -> Result<Fetched<'a>, Error> {
    let (digest, holder) = (located.digest, &located.holder);
    let wrong = |source: Error| ImageError::Held {
        holder: holder.to_string(),
        source: Box::new(source),
    };
    Fetched::once(
        images,
        digest,
        holder.runtime.into(),
        |writer| writer.put_name(request.reference, &located.name, digest, Some(holder)),
        |writer| {
            let exported = located.export(images.limits, writer);
            let (found, layer) = exported.map_err(|error| match error {
                Export::Image(error) => wrong(error.into()),
                Export::Runtime(source) => wrong(ImageError::Runtime { source }.into()),
            })?;
            Ok(keep::keep(images, writer, &found, layer).map_err(wrong)?)
        },
    )
}
