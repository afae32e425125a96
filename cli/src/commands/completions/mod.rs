//! `bpfman completions`, and the hidden command that the scripts ask.
//!
//! clap_complete's own way to complete values at run time is marked unstable, so its scripts are
//! wrapped: where an id or an interface is meant they ask `bpfman __complete`.

mod fish;

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::Shell as Generator;
use manager::{ListFilter, Manager};

use crate::{args::Cli, output, report::Failure};

const LONG_ABOUT: &str = "\
Write the completions for a shell

Prints a script that completes commands, parameters and their values, program ids and interfaces
among them.";

const AFTER_HELP: &str = "\
Examples:
  bpfman completions bash > /usr/share/bash-completion/completions/bpfman
  bpfman completions zsh > /usr/share/zsh/site-functions/_bpfman
  bpfman completions fish > /usr/share/fish/vendor_completions.d/bpfman.fish";

#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Completions {
    /// Required: Shell that is to read them
    ///
    /// [possible values: bash, zsh, fish]
    #[arg(value_enum, verbatim_doc_comment, hide_possible_values = true)]
    shell: Shell,
}

/// Shells with a script of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// Fish.
    Fish,
}

#[derive(Debug, Args)]
pub(crate) struct Complete {
    #[arg(value_enum)]
    what: What,
}

/// What can be completed only at run time.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Ids of loaded programs.
    Programs,
    /// Names of interfaces.
    Interfaces,
}

/// Prints a script.
pub(crate) fn run(args: &Completions) -> Result<(), Failure> {
    output::text(&script(args.shell))?;
    Ok(())
}

/// The whole script for a shell.
pub(crate) fn script(shell: Shell) -> String {
    let (generator, wrapper) = match shell {
        Shell::Bash => (Generator::Bash, include_str!("bash.sh")),
        Shell::Zsh => (Generator::Zsh, include_str!("zsh.sh")),
        Shell::Fish => (Generator::Fish, include_str!("fish.fish")),
    };
    let mut static_part = Vec::new();
    clap_complete::generate(generator, &mut Cli::command(), "bpfman", &mut static_part);
    let mut text = without_hidden(&String::from_utf8_lossy(&static_part));
    // zsh runs the whole file the first time it completes: what ours changes must be known by then.
    if shell == Shell::Zsh
        && let Some(end) = text.rfind("if [ \"$funcstack[1]\"")
    {
        text.truncate(end);
    }
    if shell == Shell::Fish {
        let mut command = Cli::command();
        command.build();
        text += &fish::rest(&command);
    }
    text + wrapper
}

/// clap_complete offers hidden commands as well.
fn without_hidden(script: &str) -> String {
    let offers =
        |line: &&str| !line.contains("'__complete:") && !line.contains("-a \"__complete\"");
    let lines = script.lines().filter(offers);
    lines
        .map(|line| line.replace(" __complete ", " ") + "\n")
        .collect()
}

/// Prints what could stand at a place: a word a line, and what it is after a tab. Whatever fails
/// here has no words: nobody who presses a key wants to read an error.
pub(crate) fn words(args: &Complete, manager: &Manager) -> Result<(), Failure> {
    let lines: Vec<String> = match args.what {
        What::Programs => {
            let programs = manager.list(&ListFilter::default()).unwrap_or_default();
            let line = |program: &model::Summary| {
                format!("{}\t{} {}\n", program.id, program.kind, program.name)
            };
            programs.iter().map(line).collect()
        }
        What::Interfaces => {
            let names = manager.interfaces().into_iter();
            names.map(|name| name + "\n").collect()
        }
    };
    output::text(&lines.concat())?;
    Ok(())
}
