//! Why a tracepoint, kprobe or uprobe cannot be opened.

use std::{io, path::PathBuf};

use model::Tracepoint;

use crate::diagnose::{self, Feature};

/// Why a tracepoint, kprobe or uprobe cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The kernel cannot do it at all.
    #[error("this kernel has no {feature}")]
    Missing {
        /// What is missing.
        feature: Feature,
    },
    /// A file of procfs, sysfs or tracefs, or the target of a uprobe.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// tracefs is not mounted and cannot be used without a mount either.
    #[error("cannot reach tracefs")]
    Tracefs {
        /// Why.
        source: io::Error,
    },
    /// No such category, or no such event in it.
    #[error("unknown tracepoint '{tracepoint}'")]
    UnknownTracepoint {
        /// The event.
        tracepoint: Tracepoint,
        /// What may have been meant.
        similar: Option<String>,
    },
    /// The kernel refused a tracepoint that is there.
    #[error("cannot open tracepoint '{tracepoint}'")]
    OpenTracepoint {
        /// The event.
        tracepoint: Tracepoint,
        /// Why.
        source: io::Error,
    },

    /// The kernel has no such function.
    #[error("unknown kernel function '{function}'")]
    UnknownKernelFunction {
        /// The function.
        function: String,
        /// What may have been meant.
        similar: Option<String>,
    },
    /// The kernel has several functions of that name.
    #[error("the kernel has {copies} functions named '{function}'")]
    AmbiguousFunction {
        /// The function.
        function: String,
        /// How many.
        copies: usize,
    },
    /// The function is there, the kernel allows no probe in it or at this place of it.
    #[error("the kernel allows no such probe in '{function}'")]
    NotProbeable {
        /// The function.
        function: String,
        /// Why.
        source: io::Error,
    },
    /// The offset leads out of the function.
    #[error("offset {offset} is behind the end of kernel function '{function}' ({size} bytes)")]
    KernelOffset {
        /// The function.
        function: String,
        /// Bytes from its start.
        offset: u64,
        /// Bytes that it has, padding included.
        size: u64,
    },
    /// The offset is not where an instruction starts.
    #[error("offset {offset} of kernel function '{function}' is inside an instruction")]
    InsideInstruction {
        /// The function.
        function: String,
        /// Bytes from its start.
        offset: u64,
    },
    /// The kernel refused a kprobe for another reason.
    #[error("cannot probe kernel function '{function}' at offset {offset}")]
    OpenKprobe {
        /// The function.
        function: String,
        /// Bytes from its start.
        offset: u64,
        /// Why.
        source: io::Error,
    },

    /// No process has this id.
    #[error("no process with pid {pid}")]
    NoProcess {
        /// The id.
        pid: u32,
    },
    /// The process is there, but not for us.
    #[error("cannot look into process {pid}")]
    ProcessDenied {
        /// Its id.
        pid: u32,
        /// Why.
        source: io::Error,
    },
    /// Neither an absolute path nor a library name.
    #[error("invalid target '{target}': give a library name or an absolute path")]
    Target {
        /// The target as given.
        target: String,
    },
    /// Neither the cache of the dynamic linker nor the usual folders have such a library.
    #[error("unknown library '{library}'{}", in_process(*container_pid))]
    UnknownLibrary {
        /// The name as given.
        library: String,
        /// The process in whose mount namespace it was looked for.
        container_pid: Option<u32>,
        /// What may have been meant.
        similar: Option<String>,
    },
    /// The target is no ELF file, or a damaged one.
    #[error("{} is no usable ELF file", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The file has no such function.
    #[error("unknown function '{function}' in {}", path.display())]
    UnknownFunction {
        /// The function.
        function: String,
        /// The file.
        path: PathBuf,
        /// Only what it exports is known by name.
        stripped: bool,
        /// What may have been meant.
        similar: Option<String>,
    },
    /// The offset leads out of the function.
    #[error("offset {offset} is behind the end of '{function}' ({size} bytes) in {}", path.display())]
    Offset {
        /// The function.
        function: String,
        /// The file.
        path: PathBuf,
        /// Bytes from the start of the function.
        offset: u64,
        /// Bytes that it has.
        size: u64,
    },
    /// No code is there.
    #[error("offset {offset:#x} of {} is not in executable code", path.display())]
    NotCode {
        /// The file.
        path: PathBuf,
        /// Bytes from the start of the file.
        offset: u64,
    },
    /// The kernel refused the uprobe.
    #[error("cannot probe {} at offset {offset:#x}", path.display())]
    OpenUprobe {
        /// The file.
        path: PathBuf,
        /// Bytes from the start of the file.
        offset: u64,
        /// Why.
        source: io::Error,
    },
}

impl ProbeError {
    /// What the user can do about it, one sentence.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { feature } => {
                let ((major, minor), option) = (feature.since(), feature.build_option());
                Some(format!(
                    "{feature} need kernel {major}.{minor} or newer, built with {option}"
                ))
            }
            Self::UnknownTracepoint {
                similar: Some(name),
                ..
            }
            | Self::UnknownKernelFunction {
                similar: Some(name),
                ..
            }
            | Self::UnknownLibrary {
                similar: Some(name),
                ..
            }
            | Self::UnknownFunction {
                similar: Some(name),
                ..
            } => Some(format!("did you mean '{name}'?")),
            Self::UnknownFunction { stripped: true, .. } => Some(
                "the file is stripped, so only the functions that it exports have names; \
                 the others can be probed by their offset in the file"
                    .to_owned(),
            ),
            Self::UnknownLibrary {
                container_pid: None,
                ..
            } => Some("give its absolute path, or the pid of the container that has it".to_owned()),
            Self::AmbiguousFunction { .. } => {
                Some("the kernel cannot tell them apart; probe one of their callers".to_owned())
            }
            Self::NotProbeable { .. } => Some(
                "it may be one of the few that the kernel itself needs to handle probes".to_owned(),
            ),
            Self::Tracefs { source } if is_denied(source) => Some(
                "tracepoints need CAP_SYS_ADMIN, or a tracefs at /sys/kernel/tracing that this \
                 user may read"
                    .to_owned(),
            ),
            Self::OpenUprobe { source, .. } if is_denied(source) && diagnose::lacks_sys_admin() => {
                Some("the kernel asks for CAP_SYS_ADMIN to set a uprobe".to_owned())
            }
            Self::ProcessDenied { .. } => {
                Some("the files of another user's process need CAP_SYS_PTRACE".to_owned())
            }
            _ => None,
        }
    }

    /// The caller lacks a privilege, or the kernel refuses it to everybody.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Read { source, .. }
            | Self::Tracefs { source }
            | Self::OpenTracepoint { source, .. }
            | Self::OpenKprobe { source, .. }
            | Self::ProcessDenied { source, .. }
            | Self::OpenUprobe { source, .. } => is_denied(source),
            _ => false,
        }
    }
}

fn is_denied(source: &io::Error) -> bool {
    source.kind() == io::ErrorKind::PermissionDenied
}

fn in_process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| {
        format!(" in the mount namespace of process {pid}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints() {
        let unknown = |similar, stripped| ProbeError::UnknownFunction {
            function: "mallco".into(),
            path: "/lib/libc.so.6".into(),
            stripped,
            similar,
        };
        let named = unknown(Some("malloc".to_owned()), true);
        assert_eq!(
            named.to_string(),
            "unknown function 'mallco' in /lib/libc.so.6"
        );
        assert_eq!(named.hint().as_deref(), Some("did you mean 'malloc'?"));
        assert!(
            unknown(None, true)
                .hint()
                .is_some_and(|hint| hint.contains("stripped"))
        );
        assert_eq!(unknown(None, false).hint(), None);
    }

    #[test]
    fn a_library_in_a_container_names_the_process() {
        let error = ProbeError::UnknownLibrary {
            library: "libfoo".into(),
            container_pid: Some(7),
            similar: None,
        };
        assert_eq!(
            error.to_string(),
            "unknown library 'libfoo' in the mount namespace of process 7"
        );
        assert_eq!(error.hint(), None);
    }
}
