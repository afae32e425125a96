//! Podman: its socket where it listens, otherwise its storage as it lies there, otherwise its
//! command. The storage comes before the command because Podman needs a quarter of a second to
//! hand over an image, and the storage a hundredth of that.

use std::{
    io,
    path::{Path, PathBuf},
};

use model::{Holder, Runtime};

use super::{
    Asked, Content, Located, RuntimeError,
    command::Podman,
    engine::{self, Engine},
    names::Names,
    storage::Storage,
    user::{User, var},
};

pub(super) fn holder(at: &Path, user: &User) -> Holder {
    Holder {
        runtime: Runtime::Podman,
        at: at.to_owned(),
        user: user.name.clone(),
        namespace: None,
    }
}

/// A socket that somebody names, and then nothing else counts.
pub(super) fn address(configured: Option<&PathBuf>) -> Option<Result<PathBuf, RuntimeError>> {
    match (configured, var("CONTAINER_HOST")) {
        (Some(path), _) => Some(Ok(path.clone())),
        (None, Some(host)) => Some(super::address(&host)),
        (None, None) => None,
    }
}

/// Where a user's service listens, unless it is told otherwise.
pub(super) fn socket(user: &User) -> PathBuf {
    let dir = user.runtime_dir().unwrap_or_else(|| "/run".into());
    dir.join("podman/podman.sock")
}

/// The image that a name means, of a service, and how well it fits. Its Docker-like calls complete
/// short names with `docker.io`, so it is asked for full names only; and they take names for digests
/// that are of another repository, so it is looked at what it found.
pub(super) fn find_at(
    engine: &Engine,
    names: &Names,
) -> Result<Option<(usize, engine::Image)>, RuntimeError> {
    for name in names.full.iter().chain(&names.id) {
        let Some(found) = engine.inspect(name)? else {
            continue;
        };
        let digests = found.names.iter();
        let digests = digests.filter_map(|name| Some(name.split_once('@')?.1));
        let digests: Vec<&str> = digests.collect();
        if let Some(rank) = names.rank(&found.names, &digests, &[&found.id.hex()]) {
            return Ok(Some((rank, found)));
        }
    }
    Ok(None)
}

/// The image that a name means, of a user's Podman.
pub(super) fn find(user: &User, names: &Names, asked: &mut Asked<'_>) -> Option<Located> {
    let path = socket(user);
    let at_socket = holder(&path, user);
    let engine = Engine::new(&path);
    match find_at(&engine, names) {
        Ok(found) => {
            let located =
                |(rank, known)| Located::engine(at_socket, names.of_rank(rank), engine, known);
            return found.map(located);
        }
        // Nobody listens: that is how Podman is used most.
        Err(RuntimeError::Unreachable { source }) if is_silent(&source) => {}
        Err(error) => asked.skip(&at_socket, &error),
    }
    let command = Podman::of(user.clone());
    let storage = match Storage::of(user) {
        Ok(Some(storage)) => storage,
        Ok(None) => return None,
        Err(error) => return find_by(command, user, names, &error, asked),
    };
    match storage.find(names) {
        Ok(found) => found.map(|(rank, stored)| Located {
            holder: holder(storage.root(), user),
            name: names.of_rank(rank),
            digest: stored.id,
            content: Content::Storage(stored, command),
        }),
        Err(error) => find_by(command, user, names, &error, asked),
    }
}

/// The image that a name means, by the command, because the storage cannot be read.
fn find_by(
    command: Podman,
    user: &User,
    names: &Names,
    why: &RuntimeError,
    asked: &mut Asked<'_>,
) -> Option<Located> {
    let holder = holder(Path::new("podman"), user);
    log::debug!("{holder}: {}", why.in_full());
    match command.inspect(names) {
        Ok(found) => found.map(|(rank, digest)| Located {
            holder,
            name: names.of_rank(rank),
            digest,
            content: Content::Command(command),
        }),
        Err(RuntimeError::Unreachable { source }) if is_silent(&source) => {
            asked.skip(&holder, why);
            None
        }
        Err(error) => {
            asked.skip(&holder, &error);
            None
        }
    }
}

/// Whether there is no socket, or nobody behind it.
pub(super) fn is_silent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}
