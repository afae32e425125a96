//! One program that should be loaded.

use std::{collections::BTreeMap, fmt};

use model::{Attach, Source};

use crate::{Identity, Of, Selector};

/// One program that should be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// By what it is found again.
    pub identity: Identity,
    /// The set of files that speaks of it.
    pub set: String,
    /// Where that is.
    pub origin: Origin,
    /// Where the bytecode is.
    pub source: Source,
    /// Function symbol; None where the object holds exactly one that fits.
    pub function: Option<String>,
    /// Global variables to set, as raw bytes in memory order.
    pub globals: BTreeMap<String, Vec<u8>>,
    /// The manifest's labels.
    pub labels: BTreeMap<String, String>,
    /// Where and how to attach it.
    pub attach: Attach,
    /// Whose maps it shares.
    pub map_owner: Option<Selector>,
}

impl Desired {
    /// The metadata that the loaded program carries: labels, and who it is.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let of = Of {
            identity: self.identity.clone(),
            set: self.set.clone(),
            map_owner: self.map_owner.as_ref().map(Selector::to_line),
        };
        of.with(&self.labels)
    }
}

/// Where in the manifests a program is spoken of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file, or `standard input`.
    pub file: String,
    /// Counted from 1.
    pub line: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
