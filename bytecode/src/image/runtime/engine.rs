//! Docker's Engine API on a unix socket, which Podman serves as well. Only what reads is called.

use std::{
    io::{self, Read as _, Write as _},
    path::Path,
};

use model::Digest;
use serde::{Deserialize, de::DeserializeOwned};
use ureq::{Agent, Body, http::Response};

use super::{
    super::{ImageError, labels::Known, store::Temp},
    ANSWER, CONNECT, EXPORT, Export, MAX_ANSWER, RuntimeError, SILENCE,
    unix::{Nowhere, Socket},
};

/// One engine.
#[derive(Debug)]
pub(super) struct Engine {
    agent: Agent,
}

/// What `GET /images/NAME/json` answers, as far as it is of use.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
}

/// An image that an engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) id: Digest,
    /// What it takes there, in bytes.
    pub(super) size: u64,
    /// With tags and with digests.
    pub(super) names: Vec<String>,
}

/// One of `GET /images/json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Summary {
    pub(super) id: String,
    #[serde(default)]
    pub(super) repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub(super) labels: Option<Known>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    message: String,
}

impl Engine {
    /// On a socket. Makes no connection yet.
    pub(super) fn new(socket: &Path) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("bpfman/", env!("CARGO_PKG_VERSION")))
            .timeout_send_request(Some(ANSWER))
            .timeout_recv_response(Some(ANSWER))
            .timeout_recv_body(Some(ANSWER))
            .build();
        let socket = Socket {
            path: socket.to_owned(),
            timeout: CONNECT,
        };
        Self {
            agent: Agent::with_parts(config, socket, Nowhere),
        }
    }

    /// What an image is called by; None where the engine does not have it.
    pub(super) fn inspect(&self, name: &str) -> Result<Option<Image>, RuntimeError> {
        let answer = self.get(&format!("/images/{}/json", escape(name)))?;
        if answer.status() == 404 {
            return Ok(None);
        }
        let found: Inspected = document(answer)?;
        let id = id(&found.id).ok_or_else(|| RuntimeError::protocol("an image without an id"))?;
        let mut names = found.repo_tags.unwrap_or_default();
        names.extend(found.repo_digests.unwrap_or_default());
        let size = found.size;
        Ok(Some(Image { id, size, names }))
    }

    /// All images.
    pub(super) fn list(&self) -> Result<Vec<Summary>, RuntimeError> {
        document(self.get("/images/json")?)
    }

    /// Copies an image's archive to a file.
    pub(super) fn export(&self, id: Digest, limit: u64, mut file: Temp) -> Result<Temp, Export> {
        let request = self
            .agent
            .get(format!("http://localhost/images/{id}/get"))
            .config()
            .timeout_global(Some(EXPORT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_recv_body(Some(EXPORT))
            .timeout_per_read(Some(SILENCE))
            .build();
        let answer = request.call().map_err(|error| failed(error, "export"))?;
        if answer.status() != 200 {
            return Err(refused(answer).into());
        }
        let mut body = answer.into_body().into_reader();
        let mut buffer = vec![0; 64 << 10];
        let mut done = 0;
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => return Ok(file),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error.into(), "export").into()),
            };
            done += read as u64;
            if done > limit {
                return Err(ImageError::ExportTooLarge { limit }.into());
            }
            let what = "archive";
            let written = file.file().write_all(&buffer[..read]);
            written.map_err(|source| ImageError::Write { what, source })?;
        }
    }

    fn get(&self, path: &str) -> Result<Response<Body>, RuntimeError> {
        let call = self.agent.get(format!("http://localhost{path}")).call();
        call.map_err(|error| failed(error, "answer"))
    }
}

/// An id with or without its algorithm.
pub(super) fn id(text: &str) -> Option<Digest> {
    if text.contains(':') {
        text.parse().ok()
    } else {
        format!("sha256:{text}").parse().ok()
    }
}

/// The one kind of name that is no path as it is: an IPv6 address.
fn escape(name: &str) -> String {
    name.replace('[', "%5B").replace(']', "%5D")
}

fn document<T: DeserializeOwned>(answer: Response<Body>) -> Result<T, RuntimeError> {
    if answer.status() != 200 {
        return Err(refused(answer));
    }
    let body = answer.into_body().into_reader();
    let bytes = read(body.take(MAX_ANSWER))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| RuntimeError::protocol(format!("its answer is not as expected: {error}")))
}

fn read(mut body: impl io::Read) -> Result<Vec<u8>, RuntimeError> {
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes)
        .map_err(|error| failed(error.into(), "answer"))?;
    Ok(bytes)
}

fn refused(answer: Response<Body>) -> RuntimeError {
    let status = answer.status().as_u16();
    let bytes = read(answer.into_body().into_reader().take(MAX_ANSWER)).unwrap_or_default();
    let said = serde_json::from_slice(&bytes).unwrap_or(Said {
        message: String::new(),
    });
    let message = said.message.chars().filter(|c| !c.is_control());
    RuntimeError::Status {
        status,
        message: message.take(200).collect(),
    }
}

fn failed(error: ureq::Error, doing: &'static str) -> RuntimeError {
    match error {
        ureq::Error::Timeout(ureq::Timeout::Connect) => RuntimeError::Timeout {
            doing: "connect",
            limit: CONNECT,
        },
        ureq::Error::Timeout(ureq::Timeout::Global) => RuntimeError::Timeout {
            doing,
            limit: EXPORT,
        },
        ureq::Error::Timeout(_) => RuntimeError::Timeout {
            doing,
            limit: if doing == "answer" { ANSWER } else { SILENCE },
        },
        // Reads of a body wrap what happened to them.
        ureq::Error::Io(error) => match error.downcast::<ureq::Error>() {
            Ok(error) => failed(error, doing),
            Err(error) => RuntimeError::of_io(error, doing, SILENCE),
        },
        error => RuntimeError::protocol(error.to_string()),
    }
}
