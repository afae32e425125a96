//! Results, on stdout and nowhere else.

mod document;
mod table;
mod time;

use std::io;

use chrono::{Local, TimeZone};
use clap::{Args, ValueEnum};
use model::{ProgramView, Summary};
use serde::Serialize;

/// How a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs, as docs/json.md describes it.
    Json,
    /// The same fields as YAML.
    Yaml,
    /// Only the program id, one a line.
    Id,
}

/// The choice of a format, on each command that has a result.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// Optional: Output format: a table for people, json or yaml for programs, or only the
    /// program id.
    ///
    /// [possible values: table, json, yaml, id]
    ///
    /// [default: table]
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value = "table"
    )]
    #[arg(
        verbatim_doc_comment,
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub(crate) format: Format,
}

/// Prints one program in full.
pub(crate) fn program(view: &ProgramView, format: Format) -> io::Result<()> {
    print(&program_text(view, format, &Local)?)
}

/// Prints many programs, one a line where the format has lines.
pub(crate) fn list(programs: &[Summary], format: Format) -> io::Result<()> {
    print(&list_text(programs, format, &Local)?)
}

/// One program, with times of day as in `zone` where people read them.
pub(crate) fn program_text(
    view: &ProgramView,
    format: Format,
    zone: &impl TimeZone<Offset: std::fmt::Display>,
) -> io::Result<String> {
    match format {
        Format::Table => Ok(table::program(view, zone)),
        Format::Id => Ok(format!("{}\n", view.kernel.id)),
        Format::Json => json(&document::Program::from(view)),
        Format::Yaml => yaml(&document::Program::from(view)),
    }
}

/// Many programs, with times of day as in `zone` where people read them.
pub(crate) fn list_text(
    programs: &[Summary],
    format: Format,
    zone: &impl TimeZone<Offset: std::fmt::Display>,
) -> io::Result<String> {
    let documents = || {
        programs
            .iter()
            .map(document::Listed::from)
            .collect::<Vec<_>>()
    };
    match format {
        Format::Table => Ok(table::list(programs, zone)),
        Format::Id => Ok(lines(programs.iter().map(|program| program.id.to_string()))),
        Format::Json => json(&documents()),
        Format::Yaml => yaml(&documents()),
    }
}

/// The texts, each as a line.
fn lines(texts: impl Iterator<Item = String>) -> String {
    texts.map(|text| text + "\n").collect()
}

fn json(document: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(document)? + "\n")
}

fn yaml(document: &impl Serialize) -> io::Result<String> {
    serde_saphyr::to_string(document).map_err(io::Error::other)
}

/// Writes a whole result.
fn print(text: &str) -> io::Result<()> {
    write_all(&mut io::stdout().lock(), text)
}

/// A reader that has seen enough (`| head`) is no error.
pub(crate) fn write_all(out: &mut impl io::Write, text: &str) -> io::Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
