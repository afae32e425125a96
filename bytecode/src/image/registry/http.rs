//! One exchange with a registry: which agent, which redirects, how long, and what its failures mean.

use std::{
    cell::OnceCell,
    io::{self, Read},
    time::Duration,
};

use model::is_loopback;
use ureq::{
    Agent, Body, Timeout,
    http::{Method, Request, Response, Uri, header, uri::Scheme},
};

use super::{
    super::ImageError,
    Settings,
    body::{Pace, SLOWEST},
    tls,
};

/// Redirects that are followed. Registries send to a storage service: one or two steps.
const MAX_REDIRECTS: u32 = 5;

/// The largest part of an error's text that is read, in bytes.
pub(super) const MAX_MESSAGE: u64 = 16 << 10;

/// What to send.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) accept: &'a [&'a str],
    pub(super) content_type: Option<&'a str>,
    pub(super) authorization: Option<&'a str>,
    pub(super) body: Option<&'a [u8]>,
    /// The most that is read of the answer, in bytes.
    pub(super) limit: u64,
}

impl Call<'_> {
    pub(super) const fn get(uri: Uri) -> Self {
        Self {
            method: Method::GET,
            uri,
            accept: &[],
            content_type: None,
            authorization: None,
            body: None,
            limit: MAX_MESSAGE,
        }
    }
}

/// Connections to one registry and to where it redirects.
pub(super) struct Http {
    host: String,
    plain_allowed: Vec<String>,
    timeout: Duration,
    plain: OnceCell<Agent>,
    secure: OnceCell<Agent>,
}

impl Http {
    pub(super) fn new(host: &str, settings: &Settings) -> Self {
        Self {
            host: host.to_owned(),
            plain_allowed: settings.plain_http.clone(),
            timeout: settings.timeout,
            plain: OnceCell::new(),
            secure: OnceCell::new(),
        }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether plain HTTP may be spoken with a host.
    fn may_be_plain(&self, host: &str) -> bool {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        is_loopback(host)
            || self
                .plain_allowed
                .iter()
                .any(|allowed| allowed == host || allowed == name)
    }

    /// `http` where it is allowed and spoken, `https` otherwise.
    pub(super) fn scheme(&self) -> Result<Scheme, ImageError> {
        if !self.may_be_plain(&self.host) || !tls::folders(&self.host).is_empty() {
            return Ok(Scheme::HTTPS);
        }
        let uri = self.uri(&format!("http://{}/v2/", self.host))?;
        match self.exchange(&Call::get(uri)) {
            // What Go's and nginx's TLS servers answer to plain HTTP.
            Ok(answer) if answer.status() == 400 => Ok(Scheme::HTTPS),
            Ok(_) => Ok(Scheme::HTTP),
            Err(ureq::Error::Protocol(_)) => Ok(Scheme::HTTPS),
            Err(ureq::Error::Io(error)) if is_broken(&error) => Ok(Scheme::HTTPS),
            Err(error) => Err(self.failed(error, "answer")),
        }
    }

    pub(super) fn uri(&self, text: &str) -> Result<Uri, ImageError> {
        text.parse()
            .map_err(|_| self.protocol("an address that is none"))
    }

    pub(super) fn protocol(&self, what: &'static str) -> ImageError {
        let host = self.host.clone();
        ImageError::Protocol { host, what }
    }

    fn agent(&self, secure: bool) -> Result<&Agent, ImageError> {
        let cell = if secure { &self.secure } else { &self.plain };
        if let Some(agent) = cell.get() {
            return Ok(agent);
        }
        let timeout = Some(self.timeout);
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("bpfman/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_send_request(timeout)
            .timeout_recv_response(timeout)
            .timeout_per_read(timeout)
            .timeout_per_write(timeout);
        if secure {
            config = config.tls_config(tls::config(&self.host)?);
        }
        if is_loopback(&self.host) {
            config = config.proxy(None);
        }
        Ok(cell.get_or_init(|| config.build().new_agent()))
    }

    fn exchange(&self, call: &Call<'_>) -> Result<Response<Body>, ureq::Error> {
        let secure = call.uri.scheme() != Some(&Scheme::HTTP);
        let agent = self
            .agent(secure)
            .map_err(|error| ureq::Error::Other(Box::new(error)))?;
        let mut request = Request::builder().method(&call.method).uri(&call.uri);
        for accept in call.accept {
            request = request.header(header::ACCEPT, *accept);
        }
        if let Some(media_type) = call.content_type {
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        if let Some(authorization) = call.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        // What is no content, such as the ends of chunks, may not come for ever either.
        let all = Some(self.timeout + Duration::from_secs(call.limit / SLOWEST));
        if let Some(body) = call.body {
            let request = agent.configure_request(request.body(body)?);
            return agent.run(request.timeout_recv_body(all).build());
        }
        let request = agent.configure_request(request.body(())?);
        agent.run(request.timeout_recv_body(all).build())
    }

    /// Sends a call and follows redirects of what is only read. Credentials stay with the host that
    /// they are for.
    pub(super) fn send(
        &self,
        call: Call<'_>,
        doing: &'static str,
    ) -> Result<Response<Body>, ImageError> {
        let mut call = call;
        let asked = call.uri.clone();
        let follow = call.method == Method::GET || call.method == Method::HEAD;
        for _ in 0..=MAX_REDIRECTS {
            let answer = self
                .exchange(&call)
                .map_err(|error| self.failed(error, doing))?;
            let status = answer.status().as_u16();
            if status == 401 && call.uri.authority() != asked.authority() {
                // Whoever answers it would get what is meant for the registry.
                return Err(ImageError::RedirectAsks {
                    host: self.host.clone(),
                    to: shown(&call.uri),
                });
            }
            if !follow || !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let to = self.location(&call.uri, &answer)?;
            log::debug!("redirected to {}", shown(&to));
            if to.authority() != call.uri.authority() || to.scheme() != call.uri.scheme() {
                call.authorization = None;
            }
            call.uri = to;
        }
        let host = self.host.clone();
        let limit = MAX_REDIRECTS;
        Err(ImageError::Redirects { host, limit })
    }

    /// Where an answer points to, if that is a safe place.
    pub(super) fn location(&self, from: &Uri, answer: &Response<Body>) -> Result<Uri, ImageError> {
        let text = answer
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| self.protocol("a redirect to nowhere"))?;
        let to = if text.starts_with("//") {
            format!("{}:{text}", from.scheme_str().unwrap_or("https"))
        } else if text.starts_with('/') {
            let scheme = from.scheme_str().unwrap_or("https");
            format!(
                "{scheme}://{}{text}",
                from.authority().map_or("", |a| a.as_str())
            )
        } else {
            text.to_owned()
        };
        let to = self.uri(&to)?;
        self.check(&to)?;
        Ok(to)
    }

    /// Refuses places to which nothing may be sent in the clear.
    pub(super) fn check(&self, to: &Uri) -> Result<(), ImageError> {
        let host = to
            .authority()
            .map(ureq::http::uri::Authority::as_str)
            .unwrap_or_default();
        let safe = match to.scheme_str() {
            Some("https") => true,
            // Nobody from outside may point to services of this machine.
            Some("http") if is_loopback(host) => is_loopback(&self.host),
            Some("http") => self.may_be_plain(host),
            _ => false,
        };
        // A user part would show up in messages.
        if safe && !host.is_empty() && !host.contains('@') {
            return Ok(());
        }
        Err(ImageError::RedirectTarget {
            host: self.host.clone(),
            to: shown(to),
        })
    }

    /// What a failed exchange means.
    pub(super) fn failed(&self, error: ureq::Error, doing: &'static str) -> ImageError {
        let host = self.host.clone();
        match error {
            ureq::Error::Other(error) => match error.downcast::<ImageError>() {
                Ok(error) => *error,
                Err(source) => ImageError::Unreachable { host, source },
            },
            ureq::Error::HostNotFound => ImageError::NoHost { host },
            ureq::Error::Timeout(timeout) => ImageError::Timeout {
                host,
                doing: match timeout {
                    Timeout::Resolve => "resolve",
                    Timeout::Connect => "connect",
                    _ => doing,
                },
                limit: self.timeout,
            },
            ureq::Error::Protocol(_) => self.protocol("its answer is no HTTP"),
            ureq::Error::LargeResponseHeader(..) => {
                self.protocol("its answer has too large a header")
            }
            ureq::Error::Rustls(error) => self.failed_tls(error),
            ureq::Error::Io(error) => match error.downcast::<rustls::Error>() {
                Ok(error) => self.failed_tls(error),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => ImageError::Timeout {
                    host,
                    doing,
                    limit: self.timeout,
                },
                Err(error) => ImageError::Unreachable {
                    host,
                    source: error.into(),
                },
            },
            error => ImageError::Unreachable {
                host,
                source: error.into(),
            },
        }
    }

    fn failed_tls(&self, error: rustls::Error) -> ImageError {
        let host = self.host.clone();
        match error {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                ImageError::Certificate {
                    host,
                    source: error.into(),
                }
            }
            rustls::Error::InvalidMessage(_) => ImageError::NoTls {
                host,
                source: error.into(),
            },
            error => ImageError::Unreachable {
                host,
                source: error.into(),
            },
        }
    }
}

/// Scheme and host: paths and queries of redirects hold signatures.
fn shown(uri: &Uri) -> String {
    let host = uri
        .authority()
        .map(ureq::http::uri::Authority::as_str)
        .unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{}://{host}", uri.scheme_str().unwrap_or_default())
}

/// The connection ended too early; another one may not.
pub(super) fn is_broken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

/// What an answer says of itself, on one line, without control characters.
pub(super) fn message(http: &Http, answer: Response<Body>) -> String {
    let mut body = answer.into_body().into_reader().take(MAX_MESSAGE);
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    let pace = Pace::new(http);
    // Nothing is lost with what cannot be read: the status says enough.
    while let Ok(read @ 1..) = body.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..read]);
        if pace.check(bytes.len() as u64).is_err() {
            break;
        }
    }
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(&bytes) else {
        return String::new();
    };
    let error = &document["errors"][0];
    let text = [
        &error["message"],
        &error["code"],
        &document["details"],
        &document["message"],
    ]
    .into_iter()
    .find_map(|value| value.as_str().filter(|text| !text.is_empty()))
    .unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
