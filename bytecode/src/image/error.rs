//! What can be wrong with an image, a registry or the store.

use std::{fmt, io, path::PathBuf, time::Duration};

use model::Digest;

use super::RuntimeError;

/// A cause of any type, of a library.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What can be wrong with an image, a registry or the store.
///
/// As with [`crate::Error`], a message never names the image: the caller knows it and says so
/// first. No message and no cause holds credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Not here, and the policy forbids to ask a registry.
    #[error(
        "neither the image store nor a container runtime has it, and the pull policy 'Never' \
         forbids to ask a registry"
    )]
    NotStored,
    /// A runtime has it, but not so that it can be used.
    #[error("{holder} has it, but it cannot be used")]
    Held {
        /// The runtime, in words.
        holder: String,
        /// Why.
        source: Box<crate::Error>,
    },
    /// The runtime that has it does not hand it over.
    #[error("it is not handed over")]
    Runtime {
        /// Why.
        source: RuntimeError,
    },
    /// Nobody has it, and the runtime that is preferred was not asked.
    #[error("{skipped}; nobody else has it")]
    Nowhere {
        /// Which runtime, and why.
        skipped: String,
        /// Why it was not had elsewhere.
        source: Box<ImageError>,
    },
    /// An export that is none.
    #[error("its archive cannot be used: {why}")]
    Archive {
        /// In what way.
        why: String,
    },
    /// An export that is larger than it may be.
    #[error("its archive has more than {limit} bytes")]
    ExportTooLarge {
        /// In bytes.
        limit: u64,
    },
    /// No image of that name in the store.
    #[error("no such image in the store")]
    NotListed,

    /// The host's name has no address.
    #[error("the name of registry '{host}' does not resolve")]
    NoHost {
        /// Host and port.
        host: String,
    },
    /// No connection, or one that broke.
    #[error("registry '{host}' cannot be reached")]
    Unreachable {
        /// Host and port.
        host: String,
        /// Why.
        source: Cause,
    },
    /// Silent for too long.
    #[error("registry '{host}' took longer than {} s to {doing}", limit.as_secs())]
    Timeout {
        /// Host and port.
        host: String,
        /// What it was to do.
        doing: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// Sends, but next to nothing.
    #[error("registry '{host}' sends too slowly: {received} bytes in {} s", after.as_secs())]
    TooSlow {
        /// Host and port.
        host: String,
        /// What came, in bytes.
        received: u64,
        /// After how long.
        after: Duration,
    },
    /// TLS does not trust the other side.
    #[error("the certificate of registry '{host}' is not trusted")]
    Certificate {
        /// Host and port.
        host: String,
        /// Why not.
        source: Cause,
    },
    /// It does not speak TLS.
    #[error("registry '{host}' does not speak TLS")]
    NoTls {
        /// Host and port.
        host: String,
        /// What came instead.
        source: Cause,
    },
    /// Certificates that cannot be used.
    #[error("cannot use the certificates in {path}")]
    CertificateFile {
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: Cause,
    },
    /// No certificate authorities on this machine.
    #[error("this machine has no certificate authorities to check registry '{host}' with")]
    NoRoots {
        /// Host and port.
        host: String,
    },
    /// The last of several attempts failed as well.
    #[error("gave up after {attempts} attempts")]
    GaveUp {
        /// How many.
        attempts: u32,
        /// What the last one came to.
        source: Box<ImageError>,
    },
    /// 401.
    #[error("registry '{host}' asks for credentials for '{repository}'{}", given.explain())]
    Unauthorized {
        /// Host and port.
        host: String,
        /// The repository.
        repository: String,
        /// What was tried.
        given: Given,
    },
    /// 403.
    #[error("registry '{host}' denies access to '{repository}'{}", Said(message))]
    Denied {
        /// Host and port.
        host: String,
        /// The repository.
        repository: String,
        /// What it said.
        message: String,
    },
    /// 404.
    #[error(
        "registry '{host}' has no '{wanted}' in '{repository}'{}",
        Said(message)
    )]
    NotFound {
        /// Host and port.
        host: String,
        /// The repository.
        repository: String,
        /// Tag or digest.
        wanted: String,
        /// What it said.
        message: String,
    },
    /// 429 to the last attempt.
    #[error("registry '{host}' takes no more requests{}", after(*retry_after))]
    Throttled {
        /// Host and port.
        host: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// Any other status.
    #[error(
        "registry '{host}' answered {what} with status {status}{}",
        Said(message)
    )]
    Status {
        /// Host and port.
        host: String,
        /// What it was asked for.
        what: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// An endless chain of redirects, most likely.
    #[error("registry '{host}' redirected more than {limit} times")]
    Redirects {
        /// Host and port.
        host: String,
        /// Redirects that are followed.
        limit: u32,
    },
    /// A redirect to where credentials or bytes are not safe.
    #[error("registry '{host}' points to '{to}', which is not allowed")]
    RedirectTarget {
        /// Host and port.
        host: String,
        /// Scheme and host of the target.
        to: String,
    },
    /// Another host asks for credentials.
    #[error("registry '{host}' points to '{to}', which asks for credentials and gets none")]
    RedirectAsks {
        /// Host and port.
        host: String,
        /// Scheme and host of the target.
        to: String,
    },
    /// An answer that is none.
    #[error("registry '{host}' does not follow the protocol: {what}")]
    Protocol {
        /// Host and port.
        host: String,
        /// In what way.
        what: &'static str,
    },
    /// A document that is larger than it may be.
    #[error("its {what} is larger than {limit} bytes")]
    DocumentTooLarge {
        /// Which document.
        what: &'static str,
        /// In bytes.
        limit: u64,
    },
    /// Content is not what its name says.
    #[error("the digest of its {what} is {got}, not {wanted}")]
    DigestMismatch {
        /// What part.
        what: &'static str,
        /// Announced.
        wanted: Digest,
        /// Computed.
        got: Digest,
    },
    /// Content is shorter or longer than announced.
    #[error("its {what} has {got} bytes, and {wanted} were announced")]
    SizeMismatch {
        /// What part.
        what: &'static str,
        /// Announced, in bytes.
        wanted: u64,
        /// Received, in bytes.
        got: u64,
    },
    /// The connection ended in the middle.
    #[error("its {what} is cut short: {got}{} bytes came", of(*wanted))]
    Cut {
        /// What part.
        what: &'static str,
        /// Announced, in bytes.
        wanted: Option<u64>,
        /// Received, in bytes.
        got: u64,
    },

    /// What came cannot be written down: no space, most likely.
    #[error("cannot write its {what}")]
    Write {
        /// What part.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A document that is no JSON, or lacks what it must have.
    #[error("its {what} cannot be understood")]
    Document {
        /// Which document.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// A document of another kind.
    #[error("its manifest is of type '{media_type}', which is not supported")]
    ManifestType {
        /// As the registry names it.
        media_type: String,
    },
    /// Manifest and index at once, or neither.
    #[error("its manifest contradicts itself: {what}")]
    Ambiguous {
        /// In what way.
        what: &'static str,
    },
    /// A digest that is not SHA-256.
    #[error(
        "its {what} has the digest '{digest}', and only sha256 with 64 lowercase hex digits is supported"
    )]
    DigestAlgorithm {
        /// What part.
        what: &'static str,
        /// As it is written.
        digest: String,
    },
    /// No manifest for this host.
    #[error("it has no variant for {wanted}")]
    NoPlatform {
        /// What this host is.
        wanted: String,
        /// What the index offers.
        has: Vec<String>,
    },
    /// Not one layer.
    #[error("it has {count} layers, and a bytecode image has one")]
    Layers {
        /// How many.
        count: usize,
    },
    /// A layer that is no tar.
    #[error("its layer is of type '{media_type}', which is not supported")]
    LayerType {
        /// As the manifest names it.
        media_type: String,
    },
    /// A layer that is larger than it may be.
    #[error("its layer has {size} bytes, and {limit} are allowed")]
    LayerTooLarge {
        /// In bytes.
        size: u64,
        /// In bytes.
        limit: u64,
    },
    /// The layer cannot be unpacked.
    #[error("its layer is damaged")]
    Layer {
        /// Why.
        source: io::Error,
    },
    /// Unpacks to more than it may.
    #[error("its layer unpacks to more than {limit} bytes")]
    Bomb {
        /// In bytes.
        limit: u64,
    },
    /// A path out of the layer.
    #[error("its layer holds '{}', a path that leads out of it", name.escape_debug())]
    Traversal {
        /// As the layer says.
        name: String,
    },
    /// A link, a device or worse.
    #[error("its layer holds '{}', which is {kind}", name.escape_debug())]
    EntryKind {
        /// As the layer says.
        name: String,
        /// In words.
        kind: &'static str,
    },
    /// A file in a folder.
    #[error("its layer holds '{}', and the object must be at the root", name.escape_debug())]
    NotAtRoot {
        /// As the layer says.
        name: String,
    },
    /// No file at all.
    #[error("its layer holds no object file")]
    NoObject,
    /// More than one file.
    #[error("its layer holds several files: '{}' and '{}'", first.escape_debug(), second.escape_debug())]
    SeveralObjects {
        /// One.
        first: String,
        /// Another.
        second: String,
    },
    /// The label names another file.
    #[error("its label io.ebpf.filename says '{}', and the layer holds '{}'", label.escape_debug(), file.escape_debug())]
    FileName {
        /// As the label says.
        label: String,
        /// As the layer says.
        file: String,
    },
    /// An object that is larger than it may be.
    #[error("its object has {size} bytes, and {limit} are allowed")]
    ObjectTooLarge {
        /// In bytes.
        size: u64,
        /// In bytes.
        limit: u64,
    },
    /// A label that is no JSON object of strings.
    #[error("its label {label} cannot be understood")]
    Label {
        /// Key of the label.
        label: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// A label that is larger than it may be.
    #[error("its label {label} is larger than {limit} bytes")]
    LabelTooLarge {
        /// Key of the label.
        label: &'static str,
        /// In bytes.
        limit: usize,
    },
    /// A label names a program that the object does not have.
    #[error("its labels name a program '{}', which the object does not have", program.escape_debug())]
    LabelProgram {
        /// As the label says.
        program: String,
        /// What the object has.
        has: Vec<String>,
    },
    /// A label contradicts the section of the program.
    #[error(
        "its labels say that program '{program}' is of type '{}', and its section '{section}' says '{kind}'",
        label.escape_debug()
    )]
    LabelType {
        /// The program.
        program: String,
        /// As the label says.
        label: String,
        /// Its section in the object.
        section: String,
        /// What that means.
        kind: model::Kind,
    },
    /// A label names a map that the object does not have.
    #[error("its labels name a map '{}', which the object does not have", map.escape_debug())]
    LabelMap {
        /// As the label says.
        map: String,
        /// What the object has.
        has: Vec<String>,
    },
    /// A label contradicts the definition of the map.
    #[error(
        "its labels say that map '{map}' is of type '{}', and the object says '{kind}'",
        label.escape_debug()
    )]
    LabelMapType {
        /// The map.
        map: String,
        /// As the label says.
        label: String,
        /// As the object defines it.
        kind: String,
    },

    /// Files of Docker or Podman that do not parse. The text stays out: it may hold a password.
    #[error("the credentials in {path} cannot be understood: {why}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Without any of its text.
        why: String,
    },
    /// The program that keeps credentials failed.
    #[error("the credential helper '{helper}' failed: {why}")]
    Helper {
        /// Its name.
        helper: String,
        /// What it said, or why it cannot run.
        why: String,
    },

    /// A file of the store.
    #[error("cannot {doing} {path}")]
    Store {
        /// Verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A path of the store that others could change.
    #[error("the image store is not safe: {path} {why}")]
    Unsafe {
        /// File or folder.
        path: PathBuf,
        /// In what way.
        why: &'static str,
    },
    /// A file of the store is not what it was when it was written.
    #[error("the image store is damaged: {path} {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In what way.
        why: &'static str,
    },
}

/// Credentials that were tried, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// None were found.
    Nothing,
    /// Those of the request.
    Request,
    /// Those of a file, or of the helper that it names.
    File(PathBuf),
}

impl Given {
    fn explain(&self) -> String {
        match self {
            Self::Nothing => ", and none were found".to_owned(),
            Self::Request => " and refuses those of --registry-auth".to_owned(),
            Self::File(path) => format!(" and refuses those of {}", path.display()),
        }
    }
}

/// What a registry said, if it said something.
struct Said<'a>(&'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.0)
        }
    }
}

fn after(wait: Option<Duration>) -> String {
    wait.map(|wait| format!(" before {} s have passed", wait.as_secs()))
        .unwrap_or_default()
}

fn of(wanted: Option<u64>) -> String {
    wanted
        .map(|wanted| format!(" of {wanted}"))
        .unwrap_or_default()
}
