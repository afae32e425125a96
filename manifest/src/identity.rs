//! By what a program of a manifest is found again.

use std::{collections::BTreeMap, fmt};

use model::{Kind, Record};

/// `<Kind>/<name>` of the manifest, in the metadata of a program that was loaded from it.
const NAME: &str = "bpfman.io/manifest";
/// Which of several programs of the manifest it is.
const INSTANCE: &str = "bpfman.io/manifest-instance";
/// The set of files that the manifest is in.
const SET: &str = "bpfman.io/manifest-set";
/// How the manifest selects the owner of its maps.
const MAP_OWNER: &str = "bpfman.io/manifest-map-owner";

/// Metadata keys that begin so are ours.
const RESERVED: &str = "bpfman.io/manifest";

/// The name of a kind in manifests.
pub const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Xdp => "XdpProgram",
        Kind::Tc => "TcProgram",
        Kind::Tcx => "TcxProgram",
        Kind::Tracepoint => "TracepointProgram",
        Kind::Kprobe => "KprobeProgram",
        Kind::Uprobe => "UprobeProgram",
        Kind::Fentry => "FentryProgram",
        Kind::Fexit => "FexitProgram",
    }
}

/// Whether a metadata key is ours: only a manifest may set it.
pub fn is_reserved(key: &str) -> bool {
    key.starts_with(RESERVED)
}

/// By what a program is found again: the manifest, and which of its programs it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Kind of the manifest.
    pub kind: Kind,
    /// Its `metadata.name`.
    pub name: String,
    /// The interface or the tracepoint; empty where a manifest stands for one program.
    pub instance: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = (kind_name(self.kind), &self.name);
        match self.instance.as_str() {
            "" => write!(f, "{kind}/{name}"),
            instance => write!(f, "{kind}/{name} on {instance}"),
        }
    }
}

/// What the metadata of a loaded program say of its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Of {
    /// Who it is.
    pub identity: Identity,
    /// The set of files.
    pub set: String,
    /// How the owner of its maps was selected, as [`crate::Selector`] wrote it.
    pub(crate) map_owner: Option<String>,
}

impl Of {
    /// None for a program that no manifest speaks of.
    pub fn record(record: &Record) -> Option<Self> {
        Self::metadata(&record.metadata)
    }

    /// None where these are not the metadata of a program of a manifest.
    pub fn metadata(metadata: &BTreeMap<String, String>) -> Option<Self> {
        let (kind, name) = metadata.get(NAME)?.split_once('/')?;
        let kind = crate::field::KINDS
            .iter()
            .find(|known| kind_name(**known) == kind)?;
        Some(Self {
            identity: Identity {
                kind: *kind,
                name: name.to_owned(),
                instance: metadata.get(INSTANCE).cloned().unwrap_or_default(),
            },
            set: metadata.get(SET).cloned().unwrap_or_default(),
            map_owner: metadata.get(MAP_OWNER).cloned(),
        })
    }

    /// The metadata of a program: the labels of its manifest, and these.
    pub(crate) fn with(&self, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut metadata = labels.clone();
        let name = format!("{}/{}", kind_name(self.identity.kind), self.identity.name);
        metadata.insert(NAME.to_owned(), name);
        if !self.identity.instance.is_empty() {
            metadata.insert(INSTANCE.to_owned(), self.identity.instance.clone());
        }
        metadata.insert(SET.to_owned(), self.set.clone());
        if let Some(selector) = &self.map_owner {
            metadata.insert(MAP_OWNER.to_owned(), selector.clone());
        }
        metadata
    }
}

/// The labels among the metadata of a program.
pub(crate) fn labels(metadata: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let own = metadata.iter().filter(|(key, _)| !is_reserved(key));
    own.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
