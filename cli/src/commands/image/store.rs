//! `bpfman image list`, `inspect`, `remove` and `prune`: the own store of images.

use std::collections::BTreeSet;

use clap::Args;
use manager::{ImageName, Manager};

use super::OUTPUT;
use crate::{output, report::Failure};

const LIST: &str = "\
List the bytecode images in the own store

Shows one name a line, and images that have lost their names to newer ones last, as 'None'. The size
is what the image takes on disk. Nothing is changed, and no registry is asked.

With --runtimes, lists the bytecode images that Docker, Podman and containerd hold on this machine:
those with labels that say what programs are in them. 'bpfman load image' takes them from there.";

const INSPECT: &str = "\
Show a bytecode image of the own store

Checks every file of the image, and shows what its labels say is in it. Nothing is changed, and no
registry is asked.";

const REMOVE: &str = "\
Remove bytecode images from the own store

Removes a name, and the image itself with its last name. A digest removes the image with all its
names. Programs that were loaded from it keep running. Prints nothing when all went well.

With several, each is tried, whatever happened to those before it.";

const PRUNE: &str = "\
Remove bytecode images that nobody needs from the own store

Removes the images that have lost their names to newer ones, and everything that killed commands
left behind.";

#[derive(Debug, Args)]
#[command(long_about = LIST)]
#[command(mut_arg("format", |arg| arg.help(OUTPUT).long_help(OUTPUT)))]
pub(crate) struct List {
    /// Optional: List the bytecode images of the container runtimes on this machine instead
    #[arg(long, verbatim_doc_comment)]
    runtimes: bool,

    #[command(flatten)]
    output: output::Choice,
}

#[derive(Debug, Args)]
#[command(long_about = INSPECT)]
#[command(mut_arg("format", |arg| arg.help(OUTPUT).long_help(OUTPUT)))]
pub(crate) struct Inspect {
    /// Required: Name of the image, or its digest
    #[arg(value_name = "IMAGE", value_parser = name)]
    image: ImageName,

    #[command(flatten)]
    output: output::Choice,
}

#[derive(Debug, Args)]
#[command(long_about = REMOVE)]
pub(crate) struct Remove {
    /// Required: Names of images, or their digests
    #[arg(value_name = "IMAGE", required = true, value_parser = name)]
    images: Vec<ImageName>,
}

#[derive(Debug, Args)]
#[command(long_about = PRUNE)]
#[command(mut_arg("format", |arg| arg.help(OUTPUT).long_help(OUTPUT)))]
pub(crate) struct Prune {
    /// Optional: Also remove images that have a name, where no loaded program came from them
    #[arg(short, long, verbatim_doc_comment)]
    all: bool,

    #[command(flatten)]
    output: output::Choice,
}

/// A digest, or a name.
fn name(text: &str) -> Result<ImageName, model::ReferenceError> {
    if text.starts_with("sha256:") {
        text.parse().map(ImageName::Digest)
    } else {
        text.parse().map(ImageName::Reference)
    }
}

fn shown(name: &ImageName) -> String {
    match name {
        ImageName::Digest(digest) => digest.to_string(),
        ImageName::Reference(reference) => reference.to_string(),
    }
}

/// Lists images.
pub(super) fn list(args: &List, manager: &Manager) -> Result<(), Failure> {
    let failed = |error| Failure::of("cannot list images", error);
    if args.runtimes {
        let images = manager.image_held().map_err(failed)?;
        output::held_images(&images, args.output.format)?;
        return Ok(());
    }
    let images = manager.image_list().map_err(failed)?;
    output::images(&images, args.output.format)?;
    Ok(())
}

/// Shows one image.
pub(super) fn inspect(args: &Inspect, manager: &Manager) -> Result<(), Failure> {
    let image = manager.image_inspect(&args.image).map_err(|error| {
        let doing = format!("cannot inspect {}", shown(&args.image));
        Failure::of(doing, error)
    })?;
    output::image(&image, args.output.format)?;
    Ok(())
}

/// Removes each image once, in the order given.
pub(super) fn remove(args: &Remove, manager: &Manager) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    let failures: Vec<Failure> = args
        .images
        .iter()
        .filter(|image| seen.insert(shown(image)))
        .filter_map(|image| {
            let failed = manager.image_remove(image).err()?;
            Some(Failure::of(
                format!("cannot remove {}", shown(image)),
                failed,
            ))
        })
        .collect();
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Failure::Several(failures))
    }
}

/// Removes what nobody needs.
pub(super) fn prune(args: &Prune, manager: &Manager) -> Result<(), Failure> {
    let pruned = manager
        .image_prune(args.all)
        .map_err(|error| Failure::of("cannot prune images", error))?;
    output::pruned(&pruned, args.output.format)?;
    Ok(())
}
