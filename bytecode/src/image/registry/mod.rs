//! A client of the OCI distribution protocol, for one repository of one registry.

mod auth;
mod body;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod http;
mod retry;
mod tls;

use std::{
    cell::RefCell,
    io::{self, Read, Write},
    time::Duration,
};

use model::{Digest, ImageReference, RegistryAuth};
use ureq::{
    Body,
    http::{Method, Response, uri::Scheme},
};

use super::{
    Event, Given, ImageError, Progress,
    credentials::{self, Credential, Secret},
    digest::{self, Tee},
    manifest::ACCEPTED,
};
use auth::Challenge;
use body::{Pace, read_bounded};
use http::{Call, Http, MAX_MESSAGE, message};
use retry::Retries;

/// How registries are asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Hosts (with or without a port) that may be spoken to over plain HTTP, besides loopback ones.
    pub plain_http: Vec<String>,
    /// How long a registry may be silent.
    pub timeout: Duration,
    /// How often something is tried that may succeed another time; at least once.
    pub attempts: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            plain_http: Vec::new(),
            timeout: Duration::from_secs(30),
            attempts: 4,
        }
    }
}

/// What is going to be done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only reading.
    Pull,
    /// Reading and writing.
    Push,
}

/// A manifest or an index as a registry sent it, checked against its digest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The document.
    pub bytes: Vec<u8>,
    /// Its digest.
    pub digest: Digest,
    /// What the registry calls it, without parameters.
    pub media_type: Option<String>,
}

/// A client for one repository. Makes no connection before it is used.
pub struct Client<'a> {
    http: Http,
    repository: String,
    access: Access,
    retries: Retries,
    progress: &'a Progress<'a>,
    /// Of the request; what Docker and Podman left is looked up when it is needed.
    auth: Option<RegistryAuth>,
    /// As the user wrote the host.
    registry: String,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    scheme: Option<Scheme>,
    authorization: Option<String>,
    /// Credentials that were tried.
    given: Option<Given>,
}

impl<'a> Client<'a> {
    /// For the repository of an image.
    pub fn new(
        image: &ImageReference,
        access: Access,
        auth: Option<RegistryAuth>,
        settings: &Settings,
        progress: &'a Progress<'a>,
    ) -> Self {
        // Docker Hub's registry is not where its name says.
        let host = match image.registry() {
            "docker.io" => "registry-1.docker.io",
            host => host,
        };
        Self {
            http: Http::new(host, settings),
            repository: image.repository().to_owned(),
            access,
            retries: Retries::new(settings.attempts),
            progress,
            auth,
            registry: image.registry().to_owned(),
            state: RefCell::default(),
        }
    }

    /// A manifest or an index by tag or digest, at most `limit` bytes of it.
    pub fn manifest(&self, wanted: &str, limit: u64) -> Result<Manifest, ImageError> {
        loop {
            match self.whole_manifest(wanted, limit) {
                Err(error) => self.retries.after(error, self.progress)?,
                manifest => return manifest,
            }
        }
    }

    fn whole_manifest(&self, wanted: &str, limit: u64) -> Result<Manifest, ImageError> {
        let what = "manifest";
        let path = format!("manifests/{wanted}");
        let answer = self.call(&Method::GET, &path, &ACCEPTED, None, limit)?;
        let answer = self.expect(answer, &[200], wanted)?;
        let media_type = answer.body().mime_type().map(str::to_owned);
        let announced = answer
            .headers()
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok()?.parse::<Digest>().ok());
        let bytes = read_bounded(&self.http, answer, limit, what)?;
        let got = digest::of(&bytes);
        let asked = wanted.parse::<Digest>().ok();
        match asked.or(announced) {
            Some(wanted) if wanted != got => Err(ImageError::DigestMismatch { what, wanted, got }),
            _ => Ok(Manifest {
                bytes,
                digest: got,
                media_type,
            }),
        }
    }

    /// A small blob, checked.
    pub fn small_blob(
        &self,
        wanted: Digest,
        size: u64,
        limit: u64,
        what: &'static str,
    ) -> Result<Vec<u8>, ImageError> {
        if size > limit {
            return Err(ImageError::DocumentTooLarge { what, limit });
        }
        let mut bytes = Vec::new();
        self.blob(wanted, size, what, false, |copy| {
            bytes.clear();
            copy(&mut bytes)
        })?;
        Ok(bytes)
    }

    /// Copies a blob and checks it. `to` is called for each attempt: it makes place, and hands a
    /// writer to what it is given.
    pub(crate) fn blob(
        &self,
        wanted: Digest,
        size: u64,
        what: &'static str,
        shown: bool,
        mut to: impl FnMut(&mut Copy<'_>) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        loop {
            let mut copy = |out: &mut dyn Write| self.copy_blob(wanted, size, what, shown, out);
            match to(&mut copy) {
                Ok(()) => return Ok(()),
                Err(error) => self.retries.after(error, self.progress)?,
            }
        }
    }

    fn copy_blob(
        &self,
        wanted: Digest,
        size: u64,
        what: &'static str,
        shown: bool,
        out: &mut dyn Write,
    ) -> Result<(), ImageError> {
        let answer = self.call(&Method::GET, &format!("blobs/{wanted}"), &[], None, size)?;
        let answer = self.expect(answer, &[200], &wanted.to_string())?;
        if let Some(got) = answer.body().content_length().filter(|got| *got != size) {
            return Err(ImageError::SizeMismatch {
                what,
                wanted: size,
                got,
            });
        }
        let mut tee = Tee::new(out);
        self.copy_body(answer, size, what, shown, &mut tee)?;
        let (got, _) = tee.finish();
        if got != wanted {
            return Err(ImageError::DigestMismatch { what, wanted, got });
        }
        Ok(())
    }

    /// Copies exactly `size` bytes, in bounded time.
    fn copy_body<W: Write>(
        &self,
        answer: Response<Body>,
        size: u64,
        what: &'static str,
        shown: bool,
        out: &mut Tee<W>,
    ) -> Result<(), ImageError> {
        let mut body = answer.into_body().into_reader();
        let mut buffer = vec![0; 64 << 10];
        let pace = Pace::new(&self.http);
        loop {
            if shown {
                (self.progress)(Event::Downloading {
                    done: out.size(),
                    total: size,
                });
            }
            let read = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if http::is_broken(&error) => break,
                Err(error) => return Err(self.http.failed(error.into(), "send")),
            };
            if out.size() + read as u64 > size {
                let (wanted, got) = (size, out.size() + read as u64);
                return Err(ImageError::SizeMismatch { what, wanted, got });
            }
            out.write_all(&buffer[..read])
                .map_err(|source| ImageError::Write { what, source })?;
            pace.check(out.size())?;
        }
        if out.size() != size {
            return Err(ImageError::Cut {
                what,
                wanted: Some(size),
                got: out.size(),
            });
        }
        Ok(())
    }

    /// Whether the repository has a blob.
    pub fn has_blob(&self, digest: Digest) -> Result<bool, ImageError> {
        let answer = self.call(
            &Method::HEAD,
            &format!("blobs/{digest}"),
            &[],
            None,
            MAX_MESSAGE,
        )?;
        if answer.status() == 404 {
            return Ok(false);
        }
        self.expect(answer, &[200], &digest.to_string())
            .map(|_| true)
    }

    /// Uploads a blob in one piece, where the repository does not have it.
    pub fn push_blob(&self, bytes: &[u8]) -> Result<Digest, ImageError> {
        let digest = digest::of(bytes);
        if self.has_blob(digest)? {
            return Ok(digest);
        }
        let answer = self.call(
            &Method::POST,
            "blobs/uploads/",
            &[],
            Some(("", &[])),
            MAX_MESSAGE,
        )?;
        let answer = self.expect(answer, &[201, 202], "an upload")?;
        let from = self.address("blobs/uploads/")?;
        let to = self.http.location(&from, &answer)?.to_string();
        let mark = if to.contains('?') { '&' } else { '?' };
        let to = format!("{to}{mark}digest={}", auth::escape(&digest.to_string()));
        let body = ("application/octet-stream", bytes);
        let answer = self.call(&Method::PUT, &to, &[], Some(body), MAX_MESSAGE)?;
        self.expect(answer, &[201, 204], "an upload")?;
        Ok(digest)
    }

    /// Gives a manifest or an index a tag, or its digest as the only name.
    pub fn push_manifest(
        &self,
        name: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, ImageError> {
        let body = (media_type, bytes);
        let answer = self.call(
            &Method::PUT,
            &format!("manifests/{name}"),
            &[],
            Some(body),
            MAX_MESSAGE,
        )?;
        self.expect(answer, &[200, 201, 202], name)?;
        Ok(digest::of(bytes))
    }

    /// An address below the repository; a whole one stays as it is.
    fn address(&self, path: &str) -> Result<ureq::http::Uri, ImageError> {
        if path.contains("://") {
            return self.http.uri(path);
        }
        let known = self.state.borrow().scheme.clone();
        let scheme = match known {
            Some(scheme) => scheme,
            None => loop {
                match self.http.scheme() {
                    Ok(scheme) => break scheme,
                    Err(error) => self.retries.after(error, self.progress)?,
                }
            },
        };
        self.state.borrow_mut().scheme = Some(scheme.clone());
        let host = self.http.host();
        self.http
            .uri(&format!("{scheme}://{host}/v2/{}/{path}", self.repository))
    }

    /// One call, with credentials where they are asked for, and again where that may help. At most
    /// `limit` bytes of the answer are going to be read.
    fn call(
        &self,
        method: &Method,
        path: &str,
        accept: &[&str],
        body: Option<(&str, &[u8])>,
        limit: u64,
    ) -> Result<Response<Body>, ImageError> {
        let uri = self.address(path)?;
        let mut answered = false;
        loop {
            let authorization = self.state.borrow().authorization.clone();
            let answer = self.insist(path, || {
                let call = Call {
                    method: method.clone(),
                    uri: uri.clone(),
                    accept,
                    content_type: body
                        .map(|(media_type, _)| media_type)
                        .filter(|t| !t.is_empty()),
                    authorization: authorization.as_deref(),
                    body: body.map(|(_, bytes)| bytes),
                    limit,
                };
                self.http.send(call, "answer")
            })?;
            if answer.status() != 401 || answered {
                return Ok(answer);
            }
            answered = true;
            self.authenticate(&answer)?;
        }
    }

    /// Sends again what may succeed another time.
    fn insist(
        &self,
        what: &str,
        send: impl Fn() -> Result<Response<Body>, ImageError>,
    ) -> Result<Response<Body>, ImageError> {
        loop {
            match send() {
                Ok(answer) if matches!(answer.status().as_u16(), 429 | 500 | 502 | 503 | 504) => {
                    let wait = retry::retry_after(answer.headers());
                    let error = self.refused(answer, what, wait);
                    self.retries.wait(error, wait, self.progress)?;
                }
                Ok(answer) => return Ok(answer),
                Err(error) => self.retries.after(error, self.progress)?,
            }
        }
    }

    /// Answers a challenge.
    fn authenticate(&self, answer: &Response<Body>) -> Result<(), ImageError> {
        let credential = match &self.auth {
            Some(auth) => Some(Credential {
                secret: Secret::Password(auth.clone()),
                given: Given::Request,
            }),
            None => credentials::find(&self.registry, &self.repository, self.http.timeout())?,
        };
        let (secret, given) = match credential {
            Some(Credential { secret, given }) => (Some(secret), given),
            None => (None, Given::Nothing),
        };
        self.state.borrow_mut().given = Some(given);
        let authorization = match (Challenge::find(answer.headers()), &secret) {
            (Some(Challenge::Basic), Some(Secret::Password(auth))) => {
                auth::basic(auth.user(), auth.password())
            }
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                secret,
            ) => {
                let scope = scope.unwrap_or_else(|| self.scope());
                let mut query = vec![("scope", scope.as_str())];
                query.extend(service.as_deref().map(|service| ("service", service)));
                let answer = self.insist("a token", || {
                    auth::ask(&self.http, &realm, &query, secret.as_ref())
                })?;
                if matches!(answer.status().as_u16(), 400 | 401 | 403) {
                    return Err(self.unauthorized());
                }
                auth::token(&self.http, self.expect(answer, &[200], "a token")?)?
            }
            _ => return Err(self.unauthorized()),
        };
        self.state.borrow_mut().authorization = Some(authorization);
        Ok(())
    }

    /// What a token is to allow.
    fn scope(&self) -> String {
        let actions = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        format!("repository:{}:{actions}", self.repository)
    }

    fn unauthorized(&self) -> ImageError {
        ImageError::Unauthorized {
            host: self.http.host().to_owned(),
            repository: self.repository.clone(),
            given: self.state.borrow().given.clone().unwrap_or(Given::Nothing),
        }
    }

    /// The answer where its status is one of those wanted.
    fn expect(
        &self,
        answer: Response<Body>,
        wanted: &[u16],
        what: &str,
    ) -> Result<Response<Body>, ImageError> {
        if wanted.contains(&answer.status().as_u16()) {
            return Ok(answer);
        }
        Err(self.refused(answer, what, None))
    }

    fn refused(
        &self,
        answer: Response<Body>,
        what: &str,
        retry_after: Option<Duration>,
    ) -> ImageError {
        let host = self.http.host().to_owned();
        let repository = self.repository.clone();
        let status = answer.status().as_u16();
        match status {
            401 => self.unauthorized(),
            403 => ImageError::Denied {
                host,
                repository,
                message: message(&self.http, answer),
            },
            404 => ImageError::NotFound {
                host,
                repository,
                wanted: what.to_owned(),
                message: message(&self.http, answer),
            },
            429 => ImageError::Throttled { host, retry_after },
            status => ImageError::Status {
                host,
                what: format!("the request for {what}"),
                status,
                message: message(&self.http, answer),
            },
        }
    }
}

/// Copies a blob to the writer that it is given.
pub(crate) type Copy<'a> = dyn FnMut(&mut dyn Write) -> Result<(), ImageError> + 'a;
