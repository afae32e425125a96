//! `bpfman load image`

use clap::Args;
use manager::{LoadRequest, Manager};
use model::Source;

use super::{Common, Program};
use crate::{commands::image::PullArgs, progress::Progress, report::Failure};

const LONG_ABOUT: &str = "\
Load an eBPF program packaged in a OCI container image from a given registry

The image is looked up in the own store of images first, then in Docker, Podman and containerd on
this machine, then at its registry; --pull-policy changes that. One that came from a runtime is
loaded as it is there now: what was just built runs. What was fetched stays in the store, see
'bpfman image'. The parameters below come first, then the program type, then the parameters of that
type:

  bpfman load image <what to load> <program type> <where to attach it>";

const AFTER_HELP: &str = "\
Examples:
  bpfman load image --image-url quay.io/bpfman-bytecode/xdp_pass:latest --name pass xdp \\
    --iface eth0 --priority 100
  bpfman load image -i quay.io/bpfman-bytecode/fentry:latest -n test_fentry fentry -f do_unlinkat
  bpfman load image -i localhost:5000/tc_pass:dev -p Always tc -d ingress -i eth0

See 'bpfman load image <COMMAND> --help' for the parameters of a program type.";

const NAME: &str = "\
Required: The name of the function that is the entry point for the eBPF program.

It is the name of the function, not that of its SEC(). It may be left out where the image
holds just one program that fits the program type, or its labels name just one.";

const METADATA: &str = "\
Optional: Specify Key/Value metadata to be attached to a program when it
is loaded by bpfman.
Format: <KEY>=<VALUE>

This can later be used to list a certain subset of programs which contain
the specified metadata.
Example: --metadata owner=acme";

#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT, after_long_help = AFTER_HELP)]
#[command(mut_arg("name", |arg| arg.long_help(NAME)))]
#[command(mut_arg("metadata", |arg| arg.long_help(METADATA)))]
pub(crate) struct LoadImage {
    #[command(flatten)]
    image: PullArgs,

    #[command(flatten)]
    common: Common,

    #[command(subcommand)]
    program: Program,
}

impl LoadImage {
    /// What the manager is asked for.
    pub(crate) fn request(&self) -> Result<LoadRequest, Failure> {
        let source = Source::Image {
            url: self.image.url.clone(),
            pull_policy: self.image.policy,
        };
        let auth = self.image.auth(&["load", "image"])?;
        self.common
            .request((source, auth), &self.program, &["load", "image"])
    }
}

/// Loads a program from an image.
pub(super) fn run(args: &LoadImage, quiet: bool, manager: &Manager) -> Result<(), Failure> {
    let request = args.request()?;
    let progress = Progress::new(&args.image.url, quiet);
    args.common
        .load(manager, &request, &|event| progress.show(event))
}
