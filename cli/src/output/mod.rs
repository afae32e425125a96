//! Results, on stdout and nowhere else.

mod document;
pub(crate) mod image;
pub(crate) mod outcome;
mod table;
mod time;

use std::{collections::BTreeMap, ffi::OsString, io};

use chrono::{Local, TimeZone};
use clap::{Args, ValueEnum};
use manager::{Outcome, Pruned};
use model::{HeldImage, ImageReference, ImageView, ProgramView, Pulled, Summary};
use serde::Serialize;

pub(crate) use outcome::{Tense, differs};

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

// The choice of a format, on each command that has a result.
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

/// Prints arguments for a Containerfile.
pub(crate) fn build_args(args: &[(String, OsString)], format: Format) -> io::Result<()> {
    write_all(&mut io::stdout().lock(), build_args_text(args, format)?)
}

/// Arguments for a Containerfile: bytes, because a path may have any.
pub(crate) fn build_args_text(args: &[(String, OsString)], format: Format) -> io::Result<Vec<u8>> {
    let document = || {
        let pairs = args
            .iter()
            .map(|(name, value)| (name, value.to_string_lossy()));
        pairs.collect::<BTreeMap<_, _>>()
    };
    let text = match format {
        Format::Table => {
            let mut text = Vec::new();
            for (name, value) in args {
                let parts = [name.as_bytes(), b"=", value.as_encoded_bytes(), b"\n"];
                text.extend(parts.concat());
            }
            return Ok(text);
        }
        Format::Json => json(&document())?,
        Format::Yaml => yaml(&document())?,
        Format::Id => lines(args.iter().map(|(name, _)| name.clone())),
    };
    Ok(text.into_bytes())
}

/// Prints that something was done.
pub(crate) fn line(text: &str) -> io::Result<()> {
    print(&format!("{text}\n"))
}

/// Prints a text as it is.
pub(crate) fn text(text: &str) -> io::Result<()> {
    print(text)
}

/// Prints what became of steps, or would.
pub(crate) fn outcomes(outcomes: &[Outcome], tense: Tense, format: Format) -> io::Result<()> {
    print(&outcome::text(outcomes, tense, format)?)
}

/// Prints the steps that change something.
pub(crate) fn differences(outcomes: &[Outcome], format: Format) -> io::Result<()> {
    print(&outcome::differences_text(outcomes, format)?)
}

/// Prints what became of a pull.
pub(crate) fn pulled(url: &ImageReference, pulled: &Pulled, format: Format) -> io::Result<()> {
    print(&image::pulled_text(url, pulled, format)?)
}

/// Prints the images of the store.
pub(crate) fn images(images: &[ImageView], format: Format) -> io::Result<()> {
    print(&image::list_text(images, format, &Local)?)
}

/// Prints the images of container runtimes.
pub(crate) fn held_images(images: &[HeldImage], format: Format) -> io::Result<()> {
    print(&image::held_text(images, format)?)
}

/// Prints one image of the store.
pub(crate) fn image(image: &ImageView, format: Format) -> io::Result<()> {
    print(&image::text(image, format, &Local)?)
}

/// Prints what a cleaning removed.
pub(crate) fn pruned(pruned: &Pruned, format: Format) -> io::Result<()> {
    print(&image::pruned_text(pruned, format)?)
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
pub(crate) fn write_all(out: &mut impl io::Write, text: impl AsRef<[u8]>) -> io::Result<()> {
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
