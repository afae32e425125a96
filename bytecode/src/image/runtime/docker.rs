//! Where Docker listens: <https://docs.docker.com/engine/security/protect-access/>.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    super::digest,
    RuntimeError,
    user::{User, var},
};

/// The largest file of Docker's that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Where a daemon listens, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) path: PathBuf,
    pub(super) user: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    current_context: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: Endpoint,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint {
    host: String,
}

/// All places where a daemon may listen, in the order in which they are asked.
pub(super) fn sockets(configured: Option<&Path>) -> Vec<Result<Socket, RuntimeError>> {
    let socket = |path: PathBuf, user: Option<String>| Socket { path, user };
    if let Some(path) = configured {
        return vec![Ok(socket(path.to_owned(), None))];
    }
    if let Some(host) = var("DOCKER_HOST") {
        return vec![super::address(&host).map(|path| socket(path, None))];
    }
    let mut sockets = Vec::new();
    let users = User::all();
    for user in &users {
        if let Some(host) = context(user).transpose() {
            let path = host.and_then(|host| super::address(&host));
            sockets.push(path.map(|path| socket(path, user.name.clone())));
        }
    }
    sockets.push(Ok(socket("/var/run/docker.sock".into(), None)));
    for user in &users {
        if let Some(dir) = user.runtime_dir() {
            sockets.push(Ok(socket(dir.join("docker.sock"), user.name.clone())));
        }
    }
    let mut seen = Vec::new();
    sockets.retain(|socket| match socket {
        Ok(socket) if seen.contains(&socket.path) => false,
        Ok(socket) => {
            seen.push(socket.path.clone());
            true
        }
        Err(_) => true,
    });
    sockets
}

/// The address of the context that `docker context use` chose.
fn context(user: &User) -> Result<Option<PathBuf>, RuntimeError> {
    let folder = user.var("DOCKER_CONFIG");
    let Some(folder) = folder.or_else(|| Some(user.home.as_ref()?.join(".docker"))) else {
        return Ok(None);
    };
    let name = if let Some(name) = user.var("DOCKER_CONTEXT") {
        name.to_string_lossy().into_owned()
    } else {
        let config: Option<Config> = read(&folder.join("config.json"), user)?;
        config.map_or_else(String::new, |config| config.current_context)
    };
    if name.is_empty() || name == "default" {
        return Ok(None);
    }
    let hash = digest::of(name.as_bytes()).hex();
    let path = folder.join("contexts/meta").join(hash).join("meta.json");
    let meta: Option<Meta> = read(&path, user)?;
    match meta {
        Some(meta) => Ok(Some(meta.endpoints.docker.host.into())),
        None => Err(RuntimeError::Config { path }),
    }
}

/// Reads a file; None where there is none.
fn read<T: serde::de::DeserializeOwned>(
    path: &Path,
    user: &User,
) -> Result<Option<T>, RuntimeError> {
    let wrong = || RuntimeError::Config {
        path: path.to_owned(),
    };
    let file = match user.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_) => return Err(wrong()),
    };
    let read = |file: File| {
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    };
    read(file).map(Some).ok_or_else(wrong)
}
