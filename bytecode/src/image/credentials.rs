//! Credentials that Docker and Podman left for a registry (containers-auth.json(5), Docker's
//! `config.json`). They are read when a registry asks for them, and go nowhere else.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Read as _, Write as _},
    os::unix::{
        fs::{MetadataExt as _, OpenOptionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use model::RegistryAuth;
use rustix::{fs::OFlags, io::Errno};
use serde::Deserialize;

use super::{Given, ImageError};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// User and password, or what stands for them.
#[derive(Clone)]
pub(crate) enum Secret {
    Password(RegistryAuth),
    /// A refresh token of the registry's token service.
    Identity(String),
}

/// A secret and where it came from.
pub(crate) struct Credential {
    pub(crate) secret: Secret,
    pub(crate) given: Given,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Login>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Login {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// A user whose files count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) home: PathBuf,
    /// The one behind sudo: uid and gid.
    pub(crate) behind: Option<(u32, u32)>,
}

/// A file that may hold credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    /// The one behind sudo: uid and gid.
    behind: Option<(u32, u32)>,
}

/// The first credentials for a repository; None where nobody logged in. `timeout` is for helpers.
pub(crate) fn find(
    registry: &str,
    repository: &str,
    timeout: Duration,
) -> Result<Option<Credential>, ImageError> {
    let var = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    for place in places(&var, rustix::process::geteuid().as_raw()) {
        let Some(file) = read(&place)? else {
            continue;
        };
        if let Some(secret) = search(&file, &place, registry, repository, timeout)? {
            let given = Given::File(place.path);
            return Ok(Some(Credential { secret, given }));
        }
    }
    Ok(None)
}

/// Files in the order of their weight.
fn places(var: &dyn Fn(&str) -> Option<PathBuf>, euid: u32) -> Vec<Place> {
    let own = |path: PathBuf| Place { path, behind: None };
    if let Some(path) = var("REGISTRY_AUTH_FILE") {
        return vec![own(path)];
    }
    let runtime = var("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
    let mut places: Vec<Place> = runtime.into_iter().map(own).collect();
    places.push(own(format!("/run/containers/{euid}/auth.json").into()));
    let mut users = Vec::new();
    users.extend(var("HOME").map(|home| User { home, behind: None }));
    if euid == 0 {
        users.extend(behind_sudo(var));
    }
    for user in users {
        let behind = user.behind;
        // The variables say where the files of root are, not those of the one behind sudo.
        let moved = |name: &str| behind.is_none().then(|| var(name)).flatten();
        let config = moved("XDG_CONFIG_HOME").unwrap_or_else(|| user.home.join(".config"));
        let docker = moved("DOCKER_CONFIG").unwrap_or_else(|| user.home.join(".docker"));
        if let Some((uid, _)) = behind {
            let path = format!("/run/user/{uid}/containers/auth.json").into();
            places.push(Place { path, behind });
        }
        for path in [
            config.join("containers/auth.json"),
            docker.join("config.json"),
        ] {
            places.push(Place { path, behind });
        }
    }
    places
}

/// The user who called sudo.
pub(crate) fn behind_sudo(var: &dyn Fn(&str) -> Option<PathBuf>) -> Option<User> {
    let number = |name| var(name)?.to_str()?.parse::<u32>().ok();
    let (uid, gid) = (number("SUDO_UID")?, number("SUDO_GID")?);
    let home = || home_of(uid, &fs::read_to_string("/etc/passwd").ok()?);
    Some(User {
        home: var("SUDO_HOME").or_else(home)?,
        behind: Some((uid, gid)),
    })
    .filter(|_| uid != 0)
}

fn home_of(uid: u32, passwd: &str) -> Option<PathBuf> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        (fields.next()?.parse() == Ok(uid)).then(|| fields.nth(2).map(PathBuf::from))?
    })
}

/// Reads a file; None where there is none. What belongs to the one behind sudo must be theirs, so
/// that nobody makes root read what they may not read themselves.
fn read(place: &Place) -> Result<Option<File>, ImageError> {
    let wrong = |why: String| ImageError::Credentials {
        path: place.path.clone(),
        why,
    };
    let mut flags = OFlags::NONBLOCK;
    if place.behind.is_some() {
        flags |= OFlags::NOFOLLOW;
    }
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(&place.path);
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            let absent = matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::PermissionDenied
            );
            let is_link = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
            let absent = absent || is_link;
            if !absent {
                return Err(wrong(error.to_string()));
            }
            if error.kind() != io::ErrorKind::NotFound {
                log::debug!("{}: {error}", place.path.display());
            }
            return Ok(None);
        }
    };
    let metadata = file.metadata().map_err(|error| wrong(error.to_string()))?;
    if !metadata.is_file() || place.behind.is_some_and(|(uid, _)| metadata.uid() != uid) {
        log::debug!(
            "{} is not read: it is not the user's own file",
            place.path.display()
        );
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(|error| wrong(error.to_string()))?;
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    // The parser's own words may repeat a part of the file.
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| wrong(format!("line {}, column {}", error.line(), error.column())))
}

fn search(
    file: &File,
    place: &Place,
    registry: &str,
    repository: &str,
    timeout: Duration,
) -> Result<Option<Secret>, ImageError> {
    let full = format!("{registry}/{repository}");
    if let Some((key, helper)) = longest(&file.cred_helpers, &full) {
        return ask(helper, &server(key), place, timeout);
    }
    if !file.creds_store.is_empty()
        && let Some(secret) = ask(&file.creds_store, &server(registry), place, timeout)?
    {
        return Ok(Some(secret));
    }
    let logins = file.auths.iter().filter(|(_, login)| !login.is_empty());
    let logins: BTreeMap<&String, &Login> = logins.collect();
    let Some((_, login)) = longest(&logins, &full) else {
        return Ok(None);
    };
    login
        .secret()
        .map(Some)
        .map_err(|why| ImageError::Credentials {
            path: place.path.clone(),
            why: format!("the login for {registry}: {why}"),
        })
}

/// The key that names most of a repository.
fn longest<'a, K: AsRef<str>, V>(keys: &'a BTreeMap<K, V>, full: &str) -> Option<(&'a str, &'a V)> {
    keys.iter()
        .map(|(key, value)| (key.as_ref(), normal(key.as_ref()), value))
        .filter(|(_, key, _)| {
            full.strip_prefix(key.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .max_by_key(|(_, key, _)| key.len())
        .map(|(key, _, value)| (key, value))
}

/// A key without what older tools write around it: `https://index.docker.io/v1/`.
fn normal(key: &str) -> String {
    let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
    let bare = bare.trim_end_matches('/');
    let bare = bare
        .strip_suffix("/v1")
        .or(bare.strip_suffix("/v2"))
        .unwrap_or(bare);
    let (host, path) = bare
        .split_once('/')
        .map_or((bare, None), |(host, path)| (host, Some(path)));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    path.map_or_else(|| host.to_owned(), |path| format!("{host}/{path}"))
}

/// What helpers call a registry.
fn server(key: &str) -> String {
    match normal(key).as_str() {
        "docker.io" => "https://index.docker.io/v1/".to_owned(),
        _ => key.to_owned(),
    }
}

impl Login {
    const fn is_empty(&self) -> bool {
        self.auth.is_empty() && self.username.is_empty() && self.identitytoken.is_empty()
    }

    fn secret(&self) -> Result<Secret, model::AuthError> {
        if !self.identitytoken.is_empty() {
            return Ok(Secret::Identity(self.identitytoken.clone()));
        }
        let auth = if self.auth.is_empty() {
            RegistryAuth::new(self.username.clone(), self.password.clone())
        } else {
            self.auth.parse()?
        };
        Ok(Secret::Password(auth))
    }
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

fn failure(helper: &str) -> impl Fn(String) -> ImageError {
    move |why| ImageError::Helper {
        helper: helper.to_owned(),
        why,
    }
}

/// Runs `docker-credential-HELPER get`. A helper of the one behind sudo runs as that user: it looks
/// into their key ring, and it is no business of root.
fn ask(
    helper: &str,
    server: &str,
    place: &Place,
    timeout: Duration,
) -> Result<Option<Secret>, ImageError> {
    let failed = failure(helper);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if helper.starts_with('.') || !helper.chars().all(plain) {
        return Err(failed("this is no name of a helper".to_owned()));
    }
    let command = Command::new(format!("docker-credential-{helper}"));
    run_helper(helper, command, server, place, timeout)
}

fn run_helper(
    helper: &str,
    mut command: Command,
    server: &str,
    place: &Place,
    timeout: Duration,
) -> Result<Option<Secret>, ImageError> {
    let failed = failure(helper);
    command
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some((uid, gid)) = place.behind {
        command.uid(uid).gid(gid);
        if let Some(home) = home_above(&place.path) {
            command.env("HOME", home);
        }
        command.env("XDG_RUNTIME_DIR", format!("/run/user/{uid}"));
    }
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that reads nothing says why by its status.
        let _ = stdin.write_all(server.as_bytes());
    }
    let ended = ending(&mut child, timeout);
    if ended.is_err() {
        // It may have ended at this very moment.
        let _ = child.kill();
        let _ = child.wait();
    }
    let (status, output) = ended.map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        let said = String::from_utf8_lossy(&output);
        // The words of docker-credential-helpers for "not logged in".
        if said.contains("credentials not found") {
            return Ok(None);
        }
        let said: String = said
            .trim()
            .chars()
            .filter(|c| !c.is_control())
            .take(200)
            .collect();
        return Err(failed(format!("{status}: {said}")));
    }
    let answer: Answer = serde_json::from_slice(&output)
        .map_err(|_| failed("its answer cannot be understood".to_owned()))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Secret::Identity(answer.secret),
        _ => Secret::Password(RegistryAuth::new(answer.username, answer.secret)),
    }))
}

/// What a helper writes until it ends, unless that takes too long.
fn ending(child: &mut Child, timeout: Duration) -> io::Result<(ExitStatus, Vec<u8>)> {
    let late = || {
        let why = format!("it did not answer within {} s", timeout.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, why)
    };
    let end = Instant::now() + timeout;
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        // Whatever the helper started may keep the pipe open: nobody waits for this thread.
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(MAX_FILE).read_to_end(&mut bytes);
            // Nobody listens any more once the time is over.
            let _ = sender.send(read.map(|_| bytes));
        });
    }
    let output = receiver.recv_timeout(timeout).map_err(|_| late())??;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, output));
        }
        if Instant::now() >= end {
            return Err(late());
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// The home of the file `~/.docker/config.json` or `~/.config/containers/auth.json`.
fn home_above(path: &Path) -> Option<&Path> {
    let hidden = path.ancestors().find(|folder| {
        folder
            .file_name()
            .is_some_and(|name| name == ".docker" || name == ".config")
    });
    hidden?.parent()
}

#[cfg(test)]
mod tests;
