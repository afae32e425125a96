//! `bpfman manpages`

use std::{fs, path::PathBuf};

use clap::{Args, Command, CommandFactory as _};

use crate::{args::Cli, parse, report::Failure};

const LONG_ABOUT: &str = "\
Write the manual pages

One page for each command, in section 8, made from the same texts as --help.";

const AFTER_HELP: &str = "\
Example:
  bpfman manpages /usr/local/share/man/man8";

#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Manpages {
    /// Required: Folder for the pages; it is made where it does not exist
    #[arg(value_name = "DIR", verbatim_doc_comment, value_parser = parse::absolute())]
    folder: PathBuf,
}

/// Writes all pages.
pub(crate) fn run(args: &Manpages) -> Result<(), Failure> {
    let write = || {
        fs::create_dir_all(&args.folder)?;
        for (name, page) in pages()? {
            fs::write(args.folder.join(name), page)?;
        }
        Ok(())
    };
    write().map_err(|error| Failure::Input {
        what: format!("cannot write the pages to {}", args.folder.display()),
        error,
    })
}

/// File name and text of each page.
pub(crate) fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    collect(&root, "bpfman", &mut pages)?;
    Ok(pages)
}

fn collect(
    command: &Command,
    name: &str,
    pages: &mut Vec<(String, Vec<u8>)>,
) -> std::io::Result<()> {
    // The title says which of several commands of a name it is: bpfman-load-file-xdp.
    let titled = command.clone().display_name(name);
    let man = clap_mangen::Man::new(titled)
        .title(name.to_ascii_uppercase())
        .section("8")
        .manual("bpfman");
    let mut page = Vec::new();
    man.render(&mut page)?;
    let page = polished(&String::from_utf8_lossy(&page), name);
    pages.push((format!("{name}.8"), page.into_bytes()));
    let commands = command.get_subcommands();
    for sub in commands.filter(|sub| !sub.get_name().starts_with("__")) {
        collect(sub, &format!("{name}-{}", sub.get_name()), pages)?;
    }
    Ok(())
}

/// clap_mangen leaves the empty date out of the title, so that what follows it moves up, and writes
/// long alternatives without a place where a line may end.
fn polished(page: &str, name: &str) -> String {
    let name = name.to_ascii_uppercase();
    let version = env!("CARGO_PKG_VERSION");
    let line = |line: &str| match line {
        // Whoever packs the pages knows a date.
        line if line.starts_with(".TH ") => {
            format!(".TH {name} 8 \"\" \"bpfman {version}\" bpfman\n")
        }
        ".SH SYNOPSIS" => ".SH SYNOPSIS\n.ad l\n".to_owned(),
        ".SH DESCRIPTION" => ".ad b\n.SH DESCRIPTION\n".to_owned(),
        line => line.replace("\\fR|\\fB", "\\fR|\\:\\fB") + "\n",
    };
    page.lines().map(line).collect()
}
