//! Commands on manifests: what they share.

pub(crate) mod apply;
pub(crate) mod delete;
pub(crate) mod diff;
pub(crate) mod export;
pub(crate) mod watch;

use std::{
    collections::BTreeSet,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::Args;
use manager::{Manager, Outcome, Target};
use manifest::{Desired, Document, Set};

use crate::report::Failure;

// Which manifests are meant.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// Required: Manifests: a file, a folder, of which all files that end in .yaml, .yml or .json
    /// count, or - for standard input. Several by repeating the parameter.
    /// Example: --filename /etc/bpfman/programs.d
    #[arg(short, long = "filename", value_name = "FILE|DIR|-", required = true)]
    #[arg(verbatim_doc_comment)]
    pub(crate) filename: Vec<PathBuf>,
}

/// Manifests that were read, and what was wrong with others.
pub(crate) struct Found {
    /// All documents that are right.
    documents: Vec<Document>,
    /// Sets of files that were read as a whole.
    sets: BTreeSet<String>,
    failures: Vec<Failure>,
}

impl Files {
    /// Whether standard input is meant.
    fn has_stdin(&self) -> bool {
        self.filename.iter().any(|path| path == Path::new("-"))
    }

    /// Reads them.
    fn read(&self) -> Result<Found, Failure> {
        let mut sets = Vec::new();
        for path in &self.filename {
            sets.push(if path == Path::new("-") {
                stdin()?
            } else {
                manifest::read(path)
            });
        }
        let names = sets.iter().map(|set| set.name.clone()).collect();
        let Set {
            documents, errors, ..
        } = manifest::unite(sets);
        Ok(Found {
            documents,
            sets: names,
            failures: errors.into_iter().map(Failure::from).collect(),
        })
    }
}

fn stdin() -> Result<Set, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().read_to_string(&mut text);
    let folder = read.and_then(|_| std::env::current_dir());
    let folder = folder.map_err(|error| Failure::Input {
        what: "cannot read standard input".to_owned(),
        error,
    })?;
    Ok(manifest::read_text(&text, &folder))
}

impl Found {
    /// What is wished for on this host. With `prune`, what the sets no longer speak of goes, unless
    /// something in them could not be read.
    fn target(&mut self, manager: &Manager, prune: bool) -> Result<Target, Failure> {
        let host = manager
            .host()
            .map_err(|error| Failure::of("cannot tell what this host is", error))?;
        let (desired, errors) = manifest::expand(&self.documents, &host);
        self.failures.extend(errors.into_iter().map(Failure::from));
        let sets = if self.failures.is_empty() && prune {
            std::mem::take(&mut self.sets)
        } else {
            if prune {
                log::warn!("nothing is pruned, because not all manifests can be used");
            }
            BTreeSet::new()
        };
        Ok(Target {
            desired,
            prune: sets,
            spared: BTreeSet::new(),
            images_rest: false,
        })
    }
}

/// The failures among outcomes, each with the place in its manifest.
fn failures(outcomes: Vec<Outcome>, desired: &[Desired]) -> Vec<Failure> {
    let failure = |outcome: Outcome| {
        let error = outcome.result.err()?;
        let origin = outcome.step.wish.and_then(|wish| desired.get(wish));
        let identity = outcome.step.identity;
        let doing = match origin {
            Some(desired) => format!("{identity} ({})", desired.origin),
            None => identity.to_string(),
        };
        Some(Failure::of(doing, error))
    };
    outcomes.into_iter().filter_map(failure).collect()
}

/// All of them, or none.
fn all(failures: Vec<Failure>) -> Result<(), Failure> {
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Failure::Several(failures))
    }
}
