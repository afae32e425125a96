//! The bytecode of an image on the command line: one object, a directory, or one for each machine.

use std::path::PathBuf;

use bytecode::build::{Arch, Input};
use clap::{
    Arg, ArgAction, ArgGroup, ArgMatches, Args, Command, FromArgMatches,
    builder::PathBufValueParser, error::ErrorKind,
};

const BYTECODE: &str = "bytecode";
const BYTECODE_HELP: &str = "\
Optional: bytecode file to use for building the image assuming host architecture.
Example: -b ./examples/go-xdp-counter/bpf_x86_bpfel.o";

const PROJECT: &str = "cilium-ebpf-project";
const PROJECT_HELP: &str = "\
Optional: If specified pull multi-arch bytecode files from a cilium/ebpf formatted project
where the bytecode files all contain a standard bpf_<GOARCH>_<(el/eb)>.o tag.
Example: --cilium-ebpf-project ./examples/go-xdp-counter";

/// Sentences of both commands that take bytecode files.
pub(super) const TO_USE: &str = "\
To use, the --container-file and --tag must be included, as well as a pointer to
at least one bytecode file that can be passed in several ways. Use either:

* --bytecode: for a single bytecode built for the host architecture.

* --cilium-ebpf-project: for a cilium/ebpf project directory which contains
    multiple object files for different architectures.

* --bc-386-el .. --bc-s390x-eb: to add one or more architecture specific bytecode files.";

/// Thirteen of the arguments differ by the machine only, so they are made, not derived.
#[derive(Clone, Debug)]
pub(crate) struct BytecodeFiles(pub(super) Input);

impl BytecodeFiles {
    /// The alternatives as a usage line has them.
    pub(super) fn usage() -> String {
        let flags = [BYTECODE.to_owned(), PROJECT.to_owned()]
            .into_iter()
            .chain(Arch::ALL.map(id));
        let words = flags.map(|id| format!("--{id} <{}>", value_name(&id)));
        format!("<{}>", words.collect::<Vec<_>>().join("|"))
    }
}

impl Args for BytecodeFiles {
    fn augment_args(command: Command) -> Command {
        let machines = Arch::ALL.map(id);
        let command = command
            .arg(
                file(BYTECODE, BYTECODE_HELP)
                    .short('b')
                    .conflicts_with_all(&machines),
            )
            .arg(
                file(PROJECT, PROJECT_HELP)
                    .short('c')
                    .conflicts_with(BYTECODE)
                    .conflicts_with_all(&machines),
            )
            .args(Arch::ALL.map(|arch| file(&id(arch), &machine_help(arch))));
        let all = [BYTECODE.to_owned(), PROJECT.to_owned()]
            .into_iter()
            .chain(machines);
        command.group(
            ArgGroup::new("bytecode-files")
                .args(all)
                .required(true)
                .multiple(true),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for BytecodeFiles {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let path = |id: &str| matches.get_one::<PathBuf>(id).cloned();
        let machines = Arch::ALL
            .into_iter()
            .filter_map(|arch| Some((arch, path(&id(arch))?)));
        match (path(BYTECODE), path(PROJECT)) {
            (Some(file), _) => Ok(Self(Input::Host(file))),
            (None, Some(dir)) => Ok(Self(Input::Project(dir))),
            (None, None) => {
                let machines: std::collections::BTreeMap<_, _> = machines.collect();
                if machines.is_empty() {
                    return Err(clap::Error::new(ErrorKind::MissingRequiredArgument));
                }
                Ok(Self(Input::Machines(machines)))
            }
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn file(id: &str, help: &str) -> Arg {
    Arg::new(id.to_owned())
        .long(id.to_owned())
        .value_name(value_name(id))
        .action(ArgAction::Set)
        .value_parser(PathBufValueParser::new())
        .help(help.to_owned())
}

fn value_name(id: &str) -> String {
    id.replace('-', "_").to_ascii_uppercase()
}

/// The flag without its dashes.
fn id(arch: Arch) -> String {
    arch.flag().trim_start_matches('-').to_owned()
}

fn machine_help(arch: Arch) -> String {
    // The guide's own words, slip included: both are machines of one family.
    let machine = match arch {
        Arch::X86 => Arch::Amd64.name(),
        arch => arch.name(),
    };
    let (flag, file) = (arch.flag(), arch.file_name());
    format!(
        "Optional: bytecode file to use for building the image assuming {machine} architecture.\n\
         Example: {flag} ./examples/go-xdp-counter/{file}"
    )
}
