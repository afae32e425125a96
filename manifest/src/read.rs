//! From files to documents.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    Document, Error,
    document::Written,
    error::At,
    expand,
    field::{self, KINDS},
    identity::{is_reserved, kind_name},
};

/// The only version of the group that is known.
const API_VERSION: &str = "bpfman.io/v1alpha1";

/// Larger files are no manifests.
const LARGEST: u64 = 4 << 20;

/// Manifests that were read together, and what was wrong with the others.
#[derive(Debug, Default)]
pub struct Set {
    /// By what programs remember the set: the path, or `-` for standard input.
    pub name: String,
    /// In the order of file names, then as written.
    pub documents: Vec<Document>,
    /// What could not be read. Whatever it was, it is not known what the set lacks.
    pub errors: Vec<Error>,
}

/// Sets that are meant together. A name stands for one manifest in all of them.
pub fn unite(sets: Vec<Set>) -> Set {
    let mut all = Set::default();
    for set in sets {
        all.documents.extend(set.documents);
        all.errors.extend(set.errors);
    }
    no_name_twice(&mut all);
    all
}

/// Reads a file, or all `.yaml`, `.yml` and `.json` files of a folder in the order of their names.
pub fn read(path: &Path) -> Set {
    let mut set = Set::default();
    // The same however the caller wrote it: the path is what the set is known by later.
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) => {
            set.errors.push(Error::file(path, "cannot read it", error));
            return set;
        }
    };
    set.name = path.display().to_string();
    let files = if path.is_dir() {
        manifests_in(&path)
    } else {
        Ok(vec![path.clone()])
    };
    match files {
        Ok(files) => {
            for file in files {
                read_file(&file, &mut set);
            }
        }
        Err(error) => set.errors.push(Error::file(path, "cannot list it", error)),
    }
    no_name_twice(&mut set);
    set
}

/// Reads a text, with relative paths from `folder`.
pub fn read_text(text: &str, folder: &Path) -> Set {
    let mut set = Set {
        name: "-".to_owned(),
        ..Set::default()
    };
    parse(text, "standard input", folder, &mut set);
    no_name_twice(&mut set);
    set
}

fn manifests_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let suffix = path.extension().and_then(|suffix| suffix.to_str());
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if matches!(suffix, Some("yaml" | "yml" | "json")) && !hidden {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn read_file(path: &Path, set: &mut Set) {
    let text = fs::metadata(path).and_then(|about| {
        if about.is_file() && about.len() > LARGEST {
            let what = format!("it is larger than {} MiB", LARGEST >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        fs::read_to_string(path)
    });
    match text {
        Ok(text) => {
            let folder = path.parent().unwrap_or(Path::new("/"));
            parse(&text, &path.display().to_string(), folder, set);
        }
        Err(error) => set.errors.push(Error::file(path, "cannot read it", error)),
    }
}

/// The documents of one text. Where one of them cannot be read, none of the text counts: what comes
/// after the mistake may mean something else.
fn parse(text: &str, file: &str, folder: &Path, set: &mut Set) {
    let options = serde_saphyr::options! { with_snippet: false };
    let written: Vec<Written> = match serde_saphyr::from_multiple_with_options(text, options) {
        Ok(written) => written,
        Err(error) => {
            let at = error.location().map(At::from).unwrap_or_default();
            set.errors.push(Error {
                file: file.to_owned(),
                at,
                what: complaint(&error),
                source: None,
            });
            return;
        }
    };
    for written in written {
        let document = Document {
            file: file.to_owned(),
            set: set.name.clone(),
            folder: folder.to_owned(),
            written,
        };
        let errors = check(&document);
        if errors.is_empty() {
            set.documents.push(document);
        } else {
            set.errors.extend(errors);
        }
    }
}

/// What the parser says, without the place, which stands before it.
fn complaint(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let place = error
        .location()
        .map(|at| format!(" at line {}, column {}", at.line(), at.column()));
    let text = match place {
        Some(place) => text.replace(&place, ""),
        None => text,
    };
    match text.as_str() {
        "invalid u32" | "invalid u64" => "a whole number from 0 on is needed here".to_owned(),
        _ => text,
    }
}

/// All that can be said about a document by itself.
fn check(document: &Document) -> Vec<Error> {
    let written = &document.written;
    let mut errors = Vec::new();
    let mut wrong = |location, what: String| {
        errors.push(Error::at(&document.file, location, what));
    };
    if written.api_version.value != API_VERSION {
        let version = &written.api_version;
        let what = format!(
            "unknown apiVersion '{}': write {API_VERSION}",
            version.value
        );
        wrong(version.referenced, what);
    }
    if let Err(what) = check_name(&written.metadata.name.value) {
        wrong(written.metadata.name.referenced, what);
    }
    if let Some(labels) = &written.metadata.labels
        && let Some(key) = labels
            .value
            .keys()
            .find(|key| is_reserved(key) || key.is_empty())
    {
        wrong(
            labels.referenced,
            format!("the label '{key}' is one of bpfman's own"),
        );
    }
    let Some(kind) = expand::kind_of(document) else {
        let known: Vec<_> = KINDS.iter().map(|kind| kind_name(*kind)).collect();
        let what = format!(
            "unknown kind '{}': use one of {}",
            written.kind.value,
            known.join(", ")
        );
        wrong(written.kind.referenced, what);
        return errors;
    };
    for (field, location) in written.spec.value.present() {
        if !field::takes(kind, field) {
            let what = format!(
                "unknown field '{field}' of {}: it takes {}",
                kind_name(kind),
                field::of(kind)
            );
            wrong(location, what);
        }
    }
    if errors.is_empty() {
        errors = expand::check(document, kind);
    }
    errors
}

/// Names of Kubernetes objects, which are also good file names.
fn check_name(name: &str) -> Result<(), String> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let fits = name.len() <= 253
        && name.chars().all(inside)
        && end(name.chars().next())
        && end(name.chars().last());
    if fits {
        Ok(())
    } else {
        Err(format!(
            "'{name}' is no name: use lower-case letters, digits, '-' and '.', a letter or digit \
             at both ends"
        ))
    }
}

/// A name stands for one manifest of its kind.
fn no_name_twice(set: &mut Set) {
    let mut seen: Vec<(String, String, String)> = Vec::new();
    let mut errors = Vec::new();
    set.documents.retain(|document| {
        let (kind, name) = (
            &document.written.kind.value,
            &document.written.metadata.name,
        );
        let before = seen.iter().find(|(k, n, _)| (k, n) == (kind, &name.value));
        if let Some((.., place)) = before {
            let what = format!("{kind}/{} is defined at {place} already", name.value);
            errors.push(Error::at(&document.file, name.referenced, what));
            return false;
        }
        let place = format!("{}:{}", document.file, name.referenced.line());
        seen.push((kind.clone(), name.value.clone(), place));
        true
    });
    set.errors.append(&mut errors);
}
