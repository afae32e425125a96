//! What others wrote that is in our programs, and under which terms.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::sh;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
    /// None: a package of ours.
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dep>,
}

#[derive(Deserialize)]
struct Dep {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// None: neither for building nor for tests.
    kind: Option<String>,
}

/// One text: every library with its license, then the license files, each once.
pub(super) fn text() -> Result<String> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = sh::cargo("metadata");
    command.args([
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        &triple,
    ]);
    let metadata: Metadata = serde_json::from_str(&sh::output(&mut command)?)?;
    let shipped = shipped(&metadata);
    let mut list = String::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in &metadata.packages {
        if package.source.is_none() || !shipped.contains(package.id.as_str()) {
            continue;
        }
        let name = format!("{} {}", package.name, package.version);
        let license = package.license.as_deref().unwrap_or("see its license file");
        writeln!(list, "  {name}: {license}")?;
        let folder = package.manifest_path.parent();
        for file in license_files(folder.context("a package without a folder")?)? {
            let bytes = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            texts.entry(text).or_default().push(name.clone());
        }
    }
    let mut all = format!("Libraries that are part of bpfman and bpfman-rpc:\n\n{list}");
    let mut texts: Vec<_> = texts.into_iter().map(|(text, of)| (of, text)).collect();
    texts.sort_unstable();
    for (mut of, text) in texts {
        of.dedup();
        write!(all, "\n{}\n{}:\n\n{text}\n", "-".repeat(78), of.join(", "))?;
    }
    Ok(all)
}

/// Ids of all packages that our two programs are made of.
fn shipped(metadata: &Metadata) -> BTreeSet<&str> {
    let nodes: BTreeMap<_, _> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| (node.id.as_str(), node))
        .collect();
    let ours = metadata.packages.iter().filter(|package| {
        package.source.is_none() && ["bpfman", "bpfman-rpc"].contains(&package.name.as_str())
    });
    let mut open: Vec<&str> = ours.map(|package| package.id.as_str()).collect();
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !found.insert(id) {
            continue;
        }
        let deps = nodes.get(id).into_iter().flat_map(|node| &node.deps);
        let linked = deps.filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.is_none()));
        open.extend(linked.map(|dep| dep.pkg.as_str()));
    }
    found
}

/// License files of a library, and of what it brings along: libbpf comes inside libbpf-sys.
fn license_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in [folder.to_owned(), folder.join("libbpf")] {
        if !folder.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = name.to_ascii_uppercase();
            let starts = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
            if path.is_file() && starts.iter().any(|start| name.starts_with(start)) {
                files.push(path);
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}
