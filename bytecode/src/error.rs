//! What can be wrong with an object, or with a request about it.

use std::fmt;

use model::{Kind, Misfit};

/// Byte order of an object or of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endianness {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl Endianness {
    /// Of the machine that this runs on.
    pub const HOST: Self = if cfg!(target_endian = "little") {
        Self::Little
    } else {
        Self::Big
    };
}

impl fmt::Display for Endianness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Little => "little-endian",
            Self::Big => "big-endian",
        })
    }
}

/// ELF machine number, shown by name where it is a usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine(pub u16);

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            3 => "i386",
            8 => "MIPS",
            20 => "PowerPC",
            21 => "PowerPC 64",
            22 => "s390x",
            40 => "Arm",
            62 => "x86-64",
            183 => "arm64",
            243 => "RISC-V",
            258 => "LoongArch",
            number => return write!(f, "machine number {number}"),
        };
        f.write_str(name)
    }
}

/// What can be wrong with an object, or with a request about it.
///
/// A message never names the file or image: the caller knows it and says so first, as in
/// `cannot use /x/y.o: not an ELF file`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An image, its registry or the store.
    #[error(transparent)]
    Image(#[from] crate::image::ImageError),
    /// Nothing at that path.
    #[error("no such file")]
    NotFound,
    /// A directory instead of a file.
    #[error("it is a directory")]
    Directory,
    /// Larger than any object should be.
    #[error("larger than {} MiB", limit >> 20)]
    TooLarge {
        /// In bytes.
        limit: u64,
    },
    /// The file is there, but it cannot be read.
    #[error("cannot be read")]
    Unreadable {
        /// What the system said.
        source: std::io::Error,
    },
    /// No bytes at all.
    #[error("the file is empty")]
    Empty,
    /// Something else, or text.
    #[error("not an ELF file{}", .looks_like.map(|what| format!(" (it looks like {what})")).unwrap_or_default())]
    NotElf {
        /// What the first bytes say, if they say something.
        looks_like: Option<&'static str>,
    },
    /// The file ends before its own tables say so.
    #[error("the file is truncated: its {what} ends at byte {needs}, the file has {has} bytes")]
    Truncated {
        /// The part that is missing or cut.
        what: &'static str,
        /// Size that the file would need, in bytes.
        needs: u64,
        /// Size that it has, in bytes.
        has: u64,
    },
    /// An ELF structure that contradicts itself.
    #[error("damaged ELF file")]
    Elf(#[source] object::read::Error),
    /// An ELF or BTF structure that contradicts itself.
    #[error("damaged object: {0}")]
    Damaged(&'static str),
    /// Compiled for a 32-bit machine.
    #[error("a 32-bit ELF file for {machine}, not an eBPF object")]
    Bits32 {
        /// Machine that it is for.
        machine: Machine,
    },
    /// eBPF code for hosts of the other byte order.
    #[error("a {object} object, and this host is {host}")]
    Endianness {
        /// Of the object.
        object: Endianness,
        /// Of this host.
        host: Endianness,
    },
    /// Code for a CPU instead of the eBPF machine.
    #[error("an ELF file for {machine}, not an eBPF object")]
    NotBpf {
        /// Machine that it is for.
        machine: Machine,
    },
    /// Linked into an executable or library, which libbpf does not take.
    #[error("an ELF executable or library, not a relocatable eBPF object")]
    NotRelocatable,
    /// Without symbols nobody can tell where a program starts.
    #[error("the object has no symbol table")]
    Stripped,
    /// Its maps are defined in a way that only BTF explains, and it has none.
    #[error("the object's maps are defined by BTF, and it has no BTF")]
    MapsWithoutBtf,
    /// No entry function in any section.
    #[error("the object contains no eBPF program")]
    NoPrograms,
    /// A map definition of the old kind that is cut short.
    #[error(
        "the definition of map '{map}' in section '{section}' has {size} bytes, at least 20 are needed"
    )]
    LegacyMap {
        /// Its symbol.
        map: String,
        /// Section of the definition.
        section: String,
        /// Size of the definition, in bytes.
        size: u64,
    },
    /// No entry function of that name.
    #[error("no program named '{name}'")]
    NoSuchProgram {
        /// As the user gave it.
        name: String,
        /// The one that is spelt most like it.
        similar: Option<String>,
        /// All entry functions.
        programs: Vec<String>,
    },
    /// No name was given, and no program fits.
    #[error("no program fits '{kind}'")]
    NoneFits {
        /// What was asked for.
        kind: Kind,
        /// All entry functions, with their sections.
        programs: Vec<(String, String)>,
    },
    /// No name was given, and several programs fit.
    #[error("{} programs fit '{kind}', and no name says which one", candidates.len())]
    Ambiguous {
        /// What was asked for.
        kind: Kind,
        /// The ones that fit.
        candidates: Vec<String>,
    },
    /// The section of the program contradicts the request.
    #[error("{}", misfit_text(program, section, *kind, *misfit))]
    Misfit {
        /// The chosen program.
        program: String,
        /// Section that it is in.
        section: String,
        /// What was asked for.
        kind: Kind,
        /// In what way it contradicts.
        misfit: Misfit,
    },
    /// No global variable of that name.
    #[error("no global variable named '{name}'")]
    NoSuchGlobal {
        /// As the user gave it.
        name: String,
        /// The one that is spelt most like it.
        similar: Option<String>,
        /// All variables, with their sizes in bytes.
        globals: Vec<(String, u64)>,
    },
    /// A value that does not fill the variable exactly.
    #[error("global variable '{name}' has {size} bytes, and the value has {given}")]
    GlobalSize {
        /// The variable.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// Size of the value in bytes.
        given: usize,
    },
}

fn misfit_text(program: &str, section: &str, kind: Kind, misfit: Misfit) -> String {
    match misfit {
        Misfit::Unknown => {
            format!("program '{program}' is in section '{section}', which does not fit '{kind}'")
        }
        Misfit::OtherKind(declared) => format!(
            "program '{program}' is in section '{section}', which makes it '{declared}', not '{kind}'"
        ),
        Misfit::OnReturn => format!(
            "program '{program}' is in section '{section}', so it is written for the return of a function"
        ),
        Misfit::OtherDirection(direction) => format!(
            "program '{program}' is in section '{section}', so it is written for {direction} traffic"
        ),
    }
}

/// At most this many names are listed in a hint.
const LISTED: usize = 20;

fn list(names: impl ExactSizeIterator<Item = String>) -> String {
    let left = names.len().saturating_sub(LISTED);
    let text = names.take(LISTED).collect::<Vec<_>>().join(", ");
    if left > 0 {
        format!("{text} and {left} more")
    } else {
        text
    }
}

fn did_you_mean(similar: Option<&str>, all: &str) -> String {
    match similar {
        Some(similar) => format!("did you mean '{similar}'? {all}"),
        None => all.to_owned(),
    }
}

impl Error {
    /// What the user can do about it, where something can be said: one lowercase line.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Image(error) => return error.hint(),
            Self::NoSuchProgram {
                similar, programs, ..
            } => did_you_mean(
                similar.as_deref(),
                &format!("the object has: {}", list(programs.iter().cloned())),
            ),
            Self::NoneFits { programs, .. } => {
                let each = programs
                    .iter()
                    .map(|(name, section)| format!("{name} ({section})"));
                format!("the object has: {}", list(each))
            }
            Self::Ambiguous { candidates, .. } => {
                format!("choose one by name: {}", list(candidates.iter().cloned()))
            }
            Self::Misfit {
                misfit: Misfit::OtherKind(declared),
                ..
            } => {
                format!("load it as '{declared}'")
            }
            Self::Misfit {
                misfit: Misfit::OnReturn,
                ..
            } => "attach it to the return, with --retprobe".to_owned(),
            Self::Misfit {
                misfit: Misfit::OtherDirection(direction),
                ..
            } => {
                format!("attach it to the other direction, {direction}")
            }
            Self::NoSuchGlobal { globals, .. } if globals.is_empty() => {
                "the object has no global variables".to_owned()
            }
            Self::NoSuchGlobal {
                similar, globals, ..
            } => {
                let each = globals
                    .iter()
                    .map(|(name, size)| format!("{name} ({size} bytes)"));
                did_you_mean(
                    similar.as_deref(),
                    &format!("the object has: {}", list(each)),
                )
            }
            Self::GlobalSize { size, .. } => {
                format!(
                    "write {} hex digits, in the byte order of this host",
                    size.saturating_mul(2)
                )
            }
            Self::Endianness { host, .. } => format!("compile it for a {host} host"),
            Self::NotElf {
                looks_like: Some("LLVM bitcode"),
            } => "compile it without -emit-llvm, or run llc -march=bpf -filetype=obj on it"
                .to_owned(),
            Self::NotElf {
                looks_like: Some("C source"),
            }
            | Self::NotBpf { .. } => "compile it with clang -O2 -g -target bpf -c".to_owned(),
            Self::MapsWithoutBtf => "compile it with -g".to_owned(),
            Self::Stripped => "strip it with llvm-strip -g, which keeps the symbols".to_owned(),
            _ => return None,
        })
    }
}

/// The candidate that is spelt most like `name`, if one is near enough to be meant.
pub(crate) fn similar<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.to_owned())
}
