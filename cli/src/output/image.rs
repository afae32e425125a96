//! Results about images. docs/json.md describes the fields of the documents.

use std::{collections::BTreeMap, fmt::Display, io, iter};

use chrono::TimeZone;
use indicatif::HumanBytes;
use manager::Pruned;
use model::{HeldImage, ImageReference, ImageView, Pulled};
use serde::Serialize;

use super::{
    Format,
    document::Runtime,
    json, lines,
    table::{each, from, optional, printable, row, section},
    time, yaml,
};

/// An image of the store.
#[derive(Serialize)]
struct Image<'a> {
    references: &'a [String],
    digest: String,
    manifest: Option<String>,
    architecture: &'a str,
    file: &'a str,
    object: String,
    object_size_bytes: u64,
    programs: &'a BTreeMap<String, String>,
    maps: &'a BTreeMap<String, String>,
    size_bytes: u64,
    pulled_at: Option<String>,
}

/// What became of a pull.
#[derive(Serialize)]
struct PulledImage<'a> {
    image_url: String,
    digest: String,
    from: &'static str,
    runtime: Option<Runtime<'a>>,
    image: Image<'a>,
}

/// A bytecode image of a container runtime.
#[derive(Serialize)]
struct Held<'a> {
    runtime: Runtime<'a>,
    references: &'a [String],
    digest: String,
    programs: &'a BTreeMap<String, String>,
    maps: &'a BTreeMap<String, String>,
}

/// What a cleaning removed.
#[derive(Serialize)]
struct PrunedImages {
    images: Vec<String>,
    freed_bytes: u64,
}

impl<'a> From<&'a ImageView> for Image<'a> {
    fn from(image: &'a ImageView) -> Self {
        Self {
            references: &image.references,
            digest: image.digest.to_string(),
            manifest: image.manifest.as_ref().map(ToString::to_string),
            architecture: &image.architecture,
            file: &image.file,
            object: image.object.to_string(),
            object_size_bytes: image.object_size,
            programs: &image.programs,
            maps: &image.maps,
            size_bytes: image.size,
            pulled_at: time::universal(image.pulled_at),
        }
    }
}

/// What became of a pull.
pub(crate) fn pulled_text(
    url: &ImageReference,
    pulled: &Pulled,
    format: Format,
) -> io::Result<String> {
    let document = PulledImage {
        image_url: url.to_string(),
        digest: pulled.image.digest.to_string(),
        from: pulled.provenance.from.name(),
        runtime: pulled.provenance.holder.as_ref().map(Runtime::from),
        image: Image::from(&pulled.image),
    };
    match format {
        Format::Table => {
            let taken = pulled.provenance.holder.is_some();
            let from = taken.then(|| format!("From {}", from(&pulled.provenance)));
            let first = "Successfully downloaded bytecode".to_owned();
            Ok(lines([first].into_iter().chain(from)))
        }
        Format::Id => Ok(document.digest + "\n"),
        Format::Json => json(&document),
        Format::Yaml => yaml(&document),
    }
}

/// Many images, one name a line.
pub(crate) fn list_text(
    images: &[ImageView],
    format: Format,
    zone: &impl TimeZone<Offset: Display>,
) -> io::Result<String> {
    let documents = || images.iter().map(Image::from).collect::<Vec<_>>();
    match format {
        Format::Table => Ok(table(images, zone)),
        Format::Id => Ok(lines(images.iter().map(|image| image.digest.to_string()))),
        Format::Json => json(&documents()),
        Format::Yaml => yaml(&documents()),
    }
}

/// Digits of a digest that tell images apart.
const SHORT: usize = 12;

fn table(images: &[ImageView], zone: &impl TimeZone<Offset: Display>) -> String {
    let header = ["Image", "Digest", "Programs", "Size", "Pulled At"].map(str::to_owned);
    let of_image = |image: &ImageView| {
        let programs: Vec<_> = image.programs.keys().map(|name| printable(name)).collect();
        let rest = [
            image.digest.hex()[..SHORT].to_owned(),
            or_none(programs.join(",")),
            HumanBytes(image.size).to_string(),
            time::local(image.pulled_at, zone),
        ];
        let mut names = image.references.clone();
        if names.is_empty() {
            names.push(or_none(String::new()));
        }
        names.into_iter().map(move |name| {
            let [digest, programs, size, pulled] = rest.clone();
            [name, digest, programs, size, pulled]
        })
    };
    let rows: Vec<[String; 5]> = iter::once(header)
        .chain(images.iter().flat_map(of_image))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let [a, b, c, d] = [0, 1, 2, 3].map(|column| width(column).unwrap_or_default());
    lines(rows.iter().map(|[image, digest, programs, size, pulled]| {
        format!(" {image:a$}  {digest:b$}  {programs:c$}  {size:d$}  {pulled}")
    }))
}

/// Images of container runtimes, one name a line.
pub(crate) fn held_text(images: &[HeldImage], format: Format) -> io::Result<String> {
    let documents = || {
        let documents = images.iter().map(|image| Held {
            runtime: Runtime::from(&image.holder),
            references: &image.references,
            digest: image.digest.to_string(),
            programs: &image.programs,
            maps: &image.maps,
        });
        documents.collect::<Vec<_>>()
    };
    match format {
        Format::Table => Ok(held_table(images)),
        Format::Id => Ok(lines(images.iter().map(|image| image.digest.to_string()))),
        Format::Json => json(&documents()),
        Format::Yaml => yaml(&documents()),
    }
}

fn held_table(images: &[HeldImage]) -> String {
    let header = ["Image", "Digest", "Programs", "Runtime"].map(str::to_owned);
    let of_image = |image: &HeldImage| {
        let programs: Vec<_> = image.programs.keys().map(|name| printable(name)).collect();
        let rest = [
            image.digest.hex()[..SHORT].to_owned(),
            or_none(programs.join(",")),
            printable(&image.holder.to_string()),
        ];
        let mut names: Vec<_> = image
            .references
            .iter()
            .map(|name| printable(name))
            .collect();
        if names.is_empty() {
            names.push(or_none(String::new()));
        }
        names.into_iter().map(move |name| {
            let [digest, programs, runtime] = rest.clone();
            [name, digest, programs, runtime]
        })
    };
    let rows: Vec<[String; 4]> = iter::once(header)
        .chain(images.iter().flat_map(of_image))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let [a, b, c] = [0, 1, 2].map(|column| width(column).unwrap_or_default());
    lines(rows.iter().map(|[image, digest, programs, runtime]| {
        format!(" {image:a$}  {digest:b$}  {programs:c$}  {runtime}")
    }))
}

fn or_none(text: String) -> String {
    if text.is_empty() {
        "None".to_owned()
    } else {
        text
    }
}

/// One image in full.
pub(crate) fn text(
    image: &ImageView,
    format: Format,
    zone: &impl TimeZone<Offset: Display>,
) -> io::Result<String> {
    let pairs = |pairs: &BTreeMap<String, String>| {
        let pairs = pairs.iter().map(|(name, kind)| format!("{name} ({kind})"));
        pairs.collect::<Vec<_>>()
    };
    match format {
        Format::Table => Ok(section(
            "Image",
            &[
                each("References", image.references.iter().cloned()),
                row("Digest", &image.digest),
                optional("Manifest", image.manifest),
                row("Architecture", &image.architecture),
                each("Programs", pairs(&image.programs)),
                each("Maps", pairs(&image.maps)),
                row("File", &image.file),
                row("Object", &image.object),
                row("Object Size (bytes)", &image.object_size),
                row("Size (bytes)", &image.size),
                row("Pulled At", &time::local(image.pulled_at, zone)),
            ],
        )),
        Format::Id => Ok(format!("{}\n", image.digest)),
        Format::Json => json(&Image::from(image)),
        Format::Yaml => yaml(&Image::from(image)),
    }
}

/// What a cleaning removed.
pub(crate) fn pruned_text(pruned: &Pruned, format: Format) -> io::Result<String> {
    let images: Vec<_> = pruned.images.iter().map(ToString::to_string).collect();
    let document = PrunedImages {
        images,
        freed_bytes: pruned.freed,
    };
    match format {
        Format::Table => {
            let removed = document.images.into_iter();
            let removed = removed.map(|image| format!("Removed {image}"));
            let freed = format!("Freed {}", HumanBytes(pruned.freed));
            Ok(lines(removed.chain([freed])))
        }
        Format::Id => Ok(lines(document.images.into_iter())),
        Format::Json => json(&document),
        Format::Yaml => yaml(&document),
    }
}
