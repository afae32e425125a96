//! The command line as a whole. Each command describes its own arguments, and is built only when it
//! is the one that was called. What its list says of it stands here, beside its name: clap takes any
//! doc comment on a type of arguments for that, so those that are part of others have plain ones.

use std::{ffi::OsString, path::PathBuf};

use clap::{
    ArgAction, CommandFactory as _, Parser, Subcommand,
    builder::StyledStr,
    error::{ContextKind, ContextValue, ErrorKind},
};
use manager::{Manager, Options};

use crate::{
    commands::{
        completions::{Complete, Completions},
        get::Get,
        image::Image,
        list::List,
        load::Load,
        manifest::{apply::Apply, delete::Delete, diff::Diff, export::Export, watch::WatchArgs},
        manpages::Manpages,
        unload::Unload,
    },
    parse,
    report::Failure,
    words,
};

const ABOUT: &str = "\
An eBPF manager focusing on simplifying the deployment and administration of eBPF programs.";

const LONG_ABOUT: &str = "\
An eBPF manager focusing on simplifying the deployment and administration of eBPF programs.

A program is loaded from an object file and attached in one step, and it stays when the command
ends: bpfman needs no daemon. The kernel gives each program an id, and every other command takes
that id. XDP and TC programs of one interface share its hook: they run one after the other, in the
order of their priority, for as long as each program's return value lets the next one run.

bpfman needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, and CAP_SYS_ADMIN where the kernel
asks for it.";

const AFTER_HELP: &str = "\
Examples:
  bpfman load file --path ./xdp_pass.o --name pass xdp --iface eth0 --priority 100
  bpfman list
  bpfman get 6204
  bpfman unload 6204
  bpfman apply -f /etc/bpfman/programs.d

For packagers: 'bpfman completions SHELL' and 'bpfman manpages DIR'.

Exit status:
  0  the command did what was asked
  1  it failed: stderr says at what, and why
  2  the command line is wrong";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "bpfman", version, about = ABOUT, long_about = LONG_ABOUT)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Optional: Folder of the state, the lock and the pins of loaded programs.
    ///
    /// Programs that were loaded with one folder are unknown with another.
    ///
    /// [default: /run/bpfman]
    #[arg(long, value_name = "DIR", global = true, verbatim_doc_comment)]
    #[arg(env = "BPFMAN_RUNTIME_DIR", hide_env_values = true, value_parser = parse::absolute())]
    runtime_dir: Option<PathBuf>,

    /// Optional: Configuration file. It need not exist.
    ///
    /// [default: /etc/bpfman/bpfman.toml]
    #[arg(long, value_name = "FILE", global = true, verbatim_doc_comment)]
    #[arg(env = "BPFMAN_CONFIG", hide_env_values = true, value_parser = parse::absolute())]
    config: Option<PathBuf>,

    /// Optional: Folder of the images that were pulled.
    ///
    /// [default: /var/lib/bpfman/images]
    #[arg(long, value_name = "DIR", global = true, verbatim_doc_comment)]
    #[arg(env = "BPFMAN_IMAGE_DIR", hide_env_values = true, value_parser = parse::absolute())]
    image_dir: Option<PathBuf>,

    /// Optional: Say more on stderr; twice for debugging.
    #[arg(short, long, global = true, action = ArgAction::Count, verbatim_doc_comment)]
    pub(crate) verbose: u8,

    /// Optional: No warnings on stderr, only errors.
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        verbatim_doc_comment
    )]
    pub(crate) quiet: bool,
}

/// What can be done.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Load an eBPF program on the system
    Load(Load),
    /// Unload an eBPF program using the Program Id
    Unload(Unload),
    /// List all eBPF programs loaded via bpfman
    List(List),
    /// Get an eBPF program using the Program Id
    Get(Get),
    /// eBPF Bytecode Image related commands
    Image(Image),
    /// Load what manifests say, and change only what differs
    Apply(Apply),
    /// Show in what the loaded programs differ from manifests
    Diff(Diff),
    /// Unload the programs of manifests
    Delete(Delete),
    /// Write what is loaded as manifests
    Export(Export),
    /// Keep what is loaded the same as a folder of manifests
    Watch(WatchArgs),
    // Hidden, because the guide's list of commands has no room for such long names.
    /// Write the completions for a shell
    #[command(hide = true)]
    Completions(Completions),
    /// Write the manual pages
    #[command(hide = true)]
    Manpages(Manpages),
    /// What the completions of shells ask
    #[command(name = "__complete", hide = true)]
    Complete(Complete),
}

impl Globals {
    /// Where the manager keeps and finds things.
    pub(crate) fn options(&self) -> Options {
        let default = Options::default();
        Options {
            runtime_dir: self.runtime_dir.clone().unwrap_or(default.runtime_dir),
            config: self.config.clone().unwrap_or(default.config),
            image_dir: self.image_dir.clone().unwrap_or(default.image_dir),
        }
    }

    /// Opens the manager.
    pub(crate) fn open(&self) -> Manager {
        Manager::new(self.options())
    }
}

impl Cli {
    /// Reads the words of a command line, the first of which is the program's own name.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, Failure> {
        let args = words::deal_out(args);
        Self::try_parse_from(&args).map_err(|error| Failure::Usage(explain(error, &args)))
    }
}

/// An error of the arguments of one command, worded and printed like those of clap.
pub(crate) fn usage_error(path: &[&str], message: impl std::fmt::Display) -> Failure {
    let mut root = Cli::command();
    root.build();
    let found = path
        .iter()
        .try_fold(&mut root, |command, name| command.find_subcommand_mut(name));
    Failure::Usage(match found {
        Some(command) => command.error(ErrorKind::ValueValidation, message),
        // Then only the usage line is less exact.
        None => Cli::command().error(ErrorKind::ValueValidation, message),
    })
}

/// Flags of `load` that stand before the program type and mean nothing after it.
const BEFORE_TYPE: [&str; 13] = [
    "--path",
    "--image-url",
    "--registry-auth",
    "--pull-policy",
    "--name",
    "-g",
    "--global",
    "-m",
    "--metadata",
    "--map-owner-id",
    "-o",
    "--output",
    "--verifier-log",
];

/// Adds what clap cannot know: how lists are written and where options stand.
fn explain(mut error: clap::Error, args: &[OsString]) -> clap::Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let of_list = text(ContextKind::InvalidArg).is_some_and(|arg| arg.contains("--proceed-on"));
    let tip = match error.kind() {
        ErrorKind::InvalidSubcommand => text(ContextKind::InvalidSubcommand)
            .filter(|word| ends_list(word, args))
            .map(|_| "after --global and --metadata come words with '=', then the program type"),
        ErrorKind::InvalidValue => text(ContextKind::InvalidValue)
            .filter(|value| value.contains(',') && of_list)
            .map(|_| "write several values as separate words, for example: drop pass"),
        ErrorKind::UnknownArgument => text(ContextKind::InvalidArg)
            .filter(|flag| stands_before(flag, args))
            .map(|_| "this option stands before the program type"),
        _ => None,
    };
    if let Some(tip) = tip {
        let tips = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
        error.insert(ContextKind::Suggested, tips);
    }
    error
}

/// Whether a word comes right after a list of `NAME=VALUE` words.
fn ends_list(word: &str, args: &[OsString]) -> bool {
    args.windows(2)
        .any(|pair| pair[1] == word && pair[0].to_str().is_some_and(words::is_dealt))
}

/// Whether a flag that the program type does not know is one of those for all types.
fn stands_before(flag: &str, args: &[OsString]) -> bool {
    args.iter().any(|word| word == "load") && BEFORE_TYPE.contains(&flag)
}
