//! Why an image cannot be built.

use std::{io, path::PathBuf};

use super::Arch;
use crate::{
    Endianness,
    image::{Given, ImageError},
};

/// Why an image cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No object was named.
    #[error("no bytecode file was named")]
    NoInput,
    /// An object is no good.
    #[error("cannot use {}: {source}", path.display())]
    Object {
        /// The object file.
        path: PathBuf,
        /// What is wrong with it. Part of the message: it says what on earth is the matter.
        source: crate::Error,
    },
    /// None of its programs can be loaded.
    #[error("no program in {} is of a type that can be loaded", path.display())]
    NothingLoadable {
        /// The object file.
        path: PathBuf,
    },
    /// The directory of a project.
    #[error("cannot read the directory {}", dir.display())]
    Project {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No object in it names a machine.
    #[error("no file in {} is named as cilium/ebpf names objects", dir.display())]
    EmptyProject {
        /// The directory.
        dir: PathBuf,
    },
    /// Two objects for one machine.
    #[error("{} and {} are both for {arch}", first.display(), second.display())]
    SameMachine {
        /// The machine.
        arch: Arch,
        /// One of the files.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// The object is for hosts of the other byte order.
    #[error(
        "{} is a {object} object, and {arch} is {}",
        path.display(),
        arch.endianness()
    )]
    Endianness {
        /// The object file.
        path: PathBuf,
        /// Of the object.
        object: Endianness,
        /// The machine that it was named for.
        arch: Arch,
    },
    /// Objects of one image that are not the same but for the machine.
    #[error(
        "the {what} of {} and {} differ: {has} and {other}",
        first.display(),
        second.display()
    )]
    Differ {
        /// Programs or maps.
        what: &'static str,
        /// The first object.
        first: PathBuf,
        /// Its label.
        has: String,
        /// The object that differs.
        second: PathBuf,
        /// Its label.
        other: String,
    },
    /// No container platform is known for this host.
    #[error("no container platform is known for this machine")]
    UnknownHost,
    /// The Containerfile cannot be read.
    #[error("cannot read {}", path.display())]
    ContainerFile {
        /// The Containerfile.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A runtime copies files of its context only.
    #[error("{} is not below the current directory, which is the build context", path.display())]
    OutsideContext {
        /// The object file.
        path: PathBuf,
    },
    /// There is no such command.
    #[error("{runtime} is not installed")]
    NoRuntime {
        /// The command.
        runtime: &'static str,
    },
    /// The command is there and cannot be run.
    #[error("cannot run {runtime}")]
    Spawn {
        /// The command.
        runtime: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Docker builds for several platforms with buildx only.
    #[error("docker builds for several platforms with its buildx plugin, which is not installed")]
    NoBuildx,
    /// A step of the runtime failed.
    #[error("'{step}' failed: {status}")]
    Step {
        /// The first words of the command.
        step: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said; empty when that went to stderr already.
        output: String,
    },
    /// A signal ended the work.
    #[error("interrupted by {}", signal_name(*signal))]
    Interrupted {
        /// Its number.
        signal: i32,
    },
    /// Signals would end the command before it has cleaned up.
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    /// A directory for the image that holds something else.
    #[error("{} is neither empty nor an OCI image layout", dir.display())]
    NotALayout {
        /// The directory.
        dir: PathBuf,
    },
    /// A file of the layout, or a temporary one.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The registry did not take the image.
    #[error(transparent)]
    Push(#[from] crate::Error),
    /// The parts of the image.
    #[error("cannot put the image together")]
    Assemble(#[source] io::Error),
    /// Its manifest, index or configuration.
    #[error("cannot describe the image")]
    Describe(#[from] oci_spec::OciSpecError),
}

impl Error {
    /// What a runtime said before it failed, where it was not shown at once.
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::Step { output, .. } => Some(output.trim_end()).filter(|text| !text.is_empty()),
            _ => None,
        }
    }

    /// The signal that ended the work, if one did.
    pub fn signal(&self) -> Option<i32> {
        match self {
            Self::Interrupted { signal } => Some(*signal),
            _ => None,
        }
    }

    /// What the user can do about it, where something can be said: one lowercase line.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            // Elsewhere there is one more way to give them.
            Self::Push(crate::Error::Image(ImageError::Unauthorized {
                host,
                given: Given::Nothing,
                ..
            })) => format!("log in with podman login {host}"),
            Self::Object { source, .. } | Self::Push(source) => source.hint()?,
            Self::EmptyProject { .. } => {
                "names end in _<machine>_bpfel.o or _<machine>_bpfeb.o, such as bpf_x86_bpfel.o; \
                 other files are given with --bc-<machine>-el or --bc-<machine>-eb"
                    .to_owned()
            }
            Self::SameMachine { arch, .. } => {
                format!("give the one that is meant with {}", arch.flag())
            }
            Self::Endianness { object, .. } => {
                let flags = Arch::ALL
                    .into_iter()
                    .filter(|arch| arch.endianness() == *object)
                    .map(Arch::flag);
                format!(
                    "give it with one of {}",
                    flags.collect::<Vec<_>>().join(" ")
                )
            }
            Self::Differ { .. } => {
                "one image holds one object, compiled for several machines".to_owned()
            }
            Self::OutsideContext { .. } => "run bpfman in a directory above the file".to_owned(),
            Self::NoRuntime { .. } => {
                "install it, choose the other one with --runtime docker or --runtime podman, or \
                 do without with --runtime none"
                    .to_owned()
            }
            Self::NoBuildx => {
                "install it (package docker-buildx-plugin or docker-buildx), or use --runtime podman \
                 or --runtime none"
                    .to_owned()
            }
            Self::NotALayout { .. } => "name a directory that does not exist yet".to_owned(),
            _ => return None,
        })
    }
}

fn signal_name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("a signal")
}
