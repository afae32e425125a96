//! `bpfman image build`

use std::path::PathBuf;

use bytecode::build::{self, Bytecode, Image, Job};
use clap::{Args, ValueEnum};
use manager::Manager;
use model::ImageReference;

use super::bytecode_files::{BytecodeFiles, TO_USE};
use crate::{args::usage_error, output, report::Failure};

/// As short as a list of commands needs it.
const LONG_ABOUT: &str =
    "Build an eBPF bytecode image from local bytecode objects and push to a registry.";

const EXAMPLES: &str = "\
Examples:
   bpfman image build -f Containerfile.bytecode -t quay.io/<USER>/go-xdp-counter:test \\
     -b ./examples/go-xdp-counter/bpf_x86_bpfel.o";

const MORE_EXAMPLES: &str = "\
More examples:
   bpfman image build -f Containerfile.bytecode.multi.arch -t quay.io/<USER>/go-xdp-counter:test \\
     -c ./examples/go-xdp-counter/ --runtime podman
   bpfman image build -r none -t quay.io/<USER>/go-xdp-counter:test -c ./examples/go-xdp-counter/
   bpfman image build -r none -t go-xdp-counter:test -b ./bpf_x86_bpfel.o --output ./layout";

/// What builds the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Runtime {
    Docker,
    Podman,
    None,
}

#[derive(Debug, Args)]
#[command(long_about = format!("{LONG_ABOUT}\n\n{TO_USE}\n\n{EXAMPLES}"))]
#[command(after_long_help = MORE_EXAMPLES, override_usage = usage())]
pub(crate) struct Build {
    /// Required: Name and optionally a tag in the name:tag format.
    /// Example: --tag quay.io/bpfman-bytecode/xdp_pass:latest
    #[arg(short, long, verbatim_doc_comment)]
    tag: ImageReference,

    /// Required: Dockerfile to use for building the image.
    /// Example: --container_file Containerfile.bytecode
    ///
    /// Not needed with --runtime none. The build context is the current directory.
    #[arg(short = 'f', long, verbatim_doc_comment)]
    container_file: Option<PathBuf>,

    /// Optional: Container runtime to use, works with docker or podman, defaults to docker
    /// Example: --runtime podman
    ///
    /// With 'none' bpfman builds and pushes the image by itself: one layer with the bytecode,
    /// and the labels that Containerfile.bytecode sets.
    #[arg(
        short,
        long,
        verbatim_doc_comment,
        value_enum,
        default_value = "docker"
    )]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    runtime: Runtime,

    #[command(flatten)]
    files: BytecodeFiles,

    /// Optional: Write the image to a directory, as an OCI image layout, instead of pushing it.
    /// Only with --runtime none.
    /// Example: --output ./go-xdp-counter
    #[arg(long, value_name = "DIR", verbatim_doc_comment)]
    output: Option<PathBuf>,
}

/// `--container-file` is required unless there is no runtime, which clap cannot say.
fn usage() -> String {
    format!(
        "bpfman image build [OPTIONS] --tag <TAG> --container-file <CONTAINER_FILE> {}",
        BytecodeFiles::usage()
    )
}

/// Builds an image and pushes it, or writes it.
pub(super) fn run(args: &Build, quiet: bool, manager: &Manager) -> Result<(), Failure> {
    args.check()?;
    let failed = |error| Failure::Build {
        doing: format!("cannot build {}", args.tag),
        error: Box::new(error),
    };
    let bytecode = Bytecode::read(&args.files.0).map_err(failed)?;
    if let Some(container_file) = &args.container_file
        && args.runtime != Runtime::None
    {
        let job = Job {
            tag: &args.tag,
            container_file,
            bytecode: &bytecode,
            quiet,
        };
        match args.runtime {
            Runtime::Podman => build::podman(&job),
            _ => build::docker(&job),
        }
        .map_err(failed)?;
    } else {
        let image = Image::assemble(&bytecode).map_err(failed)?;
        if let Some(dir) = &args.output {
            let tag = args.tag.tag().unwrap_or_default();
            build::write_layout(dir, tag, &image).map_err(failed)?;
            output::line(&format!("Successfully wrote {}", dir.display()))?;
            return Ok(());
        }
        let settings = manager
            .registry()
            .map_err(|error| Failure::of(format!("cannot push {}", args.tag), error))?;
        build::push(&image, &args.tag, &settings, &|_| {}).map_err(failed)?;
    }
    Ok(output::line(&format!("Successfully pushed {}", args.tag))?)
}

impl Build {
    fn check(&self) -> Result<(), Failure> {
        let wrong = |why: &str| Err(usage_error(&["image", "build"], why));
        if self.tag.digest().is_some() {
            return wrong("--tag takes a name without a digest, which comes of the build");
        }
        if self.output.is_some() && self.runtime != Runtime::None {
            return wrong(
                "--output needs --runtime none: docker and podman keep images themselves",
            );
        }
        if self.container_file.is_none() && self.runtime != Runtime::None {
            return wrong("--container-file is required, unless with --runtime none");
        }
        Ok(())
    }
}
