//! From what the user names to the objects of an image.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use super::{Arch, Error, Labels};
use crate::{Endianness, Inventory, read_file};

/// Where the bytecode of an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// One object, for the machine that this runs on.
    Host(PathBuf),
    /// A directory with one object for each machine, named as cilium/ebpf's bpf2go names them.
    Project(PathBuf),
    /// One object for each machine.
    Machines(BTreeMap<Arch, PathBuf>),
}

/// One object of an image.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The machine that it is for; none for an object of this host.
    pub arch: Option<Arch>,
    /// As the user named it.
    pub path: PathBuf,
    /// Of the object.
    pub endianness: Endianness,
    pub(crate) bytes: Vec<u8>,
}

/// The objects of an image, and the labels that hold for all of them.
#[derive(Clone, Debug)]
pub struct Bytecode {
    /// In the order of the build arguments; never empty.
    pub entries: Vec<Entry>,
    /// The same for every object.
    pub labels: Labels,
}

impl Bytecode {
    /// Reads the objects. Objects for several machines must have the same programs and maps,
    /// because one label speaks for all of them.
    pub fn read(input: &Input) -> Result<Self, Error> {
        let files = match input {
            Input::Host(path) => vec![(None, path.clone())],
            Input::Project(dir) => some(project(dir)?),
            Input::Machines(files) => some(files.clone()),
        };
        let mut entries: Vec<Entry> = Vec::with_capacity(files.len());
        let mut labels: Option<Labels> = None;
        for (arch, path) in files {
            let (entry, own) = read_entry(arch, path)?;
            match (&labels, entries.first()) {
                (Some(labels), Some(first)) => agree((first, labels), (&entry, &own))?,
                _ => labels = Some(own),
            }
            entries.push(entry);
        }
        Ok(Self {
            entries,
            // Every input names a file, but for an empty list of machines.
            labels: labels.ok_or(Error::NoInput)?,
        })
    }

    /// The arguments that a Containerfile takes, in a stable order: name and value.
    pub fn build_args(&self) -> Vec<(String, OsString)> {
        let files = self.entries.iter().map(|entry| {
            let name = entry.build_arg();
            (name, entry.path.clone().into_os_string())
        });
        files.chain(self.label_args()).collect()
    }

    pub(crate) fn label_args(&self) -> [(String, OsString); 2] {
        [
            ("PROGRAMS".to_owned(), self.labels.programs_json().into()),
            ("MAPS".to_owned(), self.labels.maps_json().into()),
        ]
    }
}

impl Entry {
    /// The build argument that names this object.
    pub(crate) fn build_arg(&self) -> String {
        self.arch
            .map_or_else(|| "BYTECODE_FILE".to_owned(), Arch::build_arg)
    }

    /// The machine of its image. An object that names none is for this host, and must fit it.
    pub(crate) fn platform(&self) -> Result<Arch, Error> {
        if let Some(arch) = self.arch {
            return Ok(arch);
        }
        let host = Arch::host().ok_or(Error::UnknownHost)?;
        fits(host, &self.path, self.endianness)?;
        Ok(host)
    }
}

fn some(files: BTreeMap<Arch, PathBuf>) -> Vec<(Option<Arch>, PathBuf)> {
    files
        .into_iter()
        .map(|(arch, path)| (Some(arch), path))
        .collect()
}

/// The objects of a directory that name a machine.
fn project(dir: &Path) -> Result<BTreeMap<Arch, PathBuf>, Error> {
    let unreadable = |source: io::Error| Error::Project {
        dir: dir.to_owned(),
        source,
    };
    let mut names = fs::read_dir(dir)
        .and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name()))
                .collect::<io::Result<Vec<_>>>()
        })
        .map_err(unreadable)?;
    names.sort_unstable();
    let mut files = BTreeMap::new();
    for name in names {
        let path = dir.join(name);
        let Some(arch) = Arch::of_file(&path) else {
            continue;
        };
        if let Some(first) = files.insert(arch, path.clone()) {
            let second = path;
            return Err(Error::SameMachine {
                arch,
                first,
                second,
            });
        }
    }
    if files.is_empty() {
        return Err(Error::EmptyProject {
            dir: dir.to_owned(),
        });
    }
    Ok(files)
}

fn read_entry(arch: Option<Arch>, path: PathBuf) -> Result<(Entry, Labels), Error> {
    let read = || {
        let bytes = read_file(&path)?;
        let inventory = Inventory::read(&bytes)?;
        Ok((bytes, inventory))
    };
    let (bytes, inventory) = match read() {
        Ok(read) => read,
        Err(source) => return Err(Error::Object { path, source }),
    };
    if let Some(arch) = arch {
        fits(arch, &path, inventory.endianness)?;
    }
    let labels = Labels::of(&inventory);
    for (program, section) in &inventory.programs {
        if !labels.programs.contains_key(program) {
            log::warn!(
                "{}: program '{program}' is not in the labels: no command loads section '{section}'",
                path.display()
            );
        }
    }
    if labels.programs.is_empty() {
        return Err(Error::NothingLoadable { path });
    }
    let endianness = inventory.endianness;
    let entry = Entry {
        arch,
        path,
        endianness,
        bytes,
    };
    Ok((entry, labels))
}

fn fits(arch: Arch, path: &Path, object: Endianness) -> Result<(), Error> {
    if object == arch.endianness() {
        return Ok(());
    }
    Err(Error::Endianness {
        path: path.to_owned(),
        object,
        arch,
    })
}

fn agree(first: (&Entry, &Labels), second: (&Entry, &Labels)) -> Result<(), Error> {
    let (what, left, right) = if first.1.programs != second.1.programs {
        (
            "programs",
            first.1.programs_json(),
            second.1.programs_json(),
        )
    } else if first.1.maps != second.1.maps {
        ("maps", first.1.maps_json(), second.1.maps_json())
    } else {
        return Ok(());
    };
    Err(Error::Differ {
        what,
        first: first.0.path.clone(),
        has: left,
        second: second.0.path.clone(),
        other: right,
    })
}
