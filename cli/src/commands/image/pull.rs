//! `bpfman image pull`, and what it shares with `bpfman load image`.

use std::{convert::Infallible, fmt};

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use manager::{Manager, PullRequest};
use model::{ImageReference, PullPolicy, RegistryAuth};

use super::OUTPUT;
use crate::{args::usage_error, output, progress::Progress, report::Failure};

const LONG_ABOUT: &str = "\
Pull an eBPF bytecode image from a remote registry

Brings an image into the own store of images, so that a later 'bpfman load image' finds it there.
Where Docker, Podman or containerd have it on this machine, it is taken from them.
The image is checked on the way: its digests, that it holds just one eBPF object for this kind of
machine, and that its labels say what the object is. 'bpfman image list' shows what is there.

Registries are spoken to over HTTPS; over plain HTTP where they are on this machine, or where
[registry] plain_http in bpfman.toml names them. Credentials come from --registry-auth, otherwise
from what 'podman login' or 'docker login' left.";

const AFTER_HELP: &str = "\
Examples:
  bpfman image pull --image-url quay.io/bpfman-bytecode/xdp_pass:latest
  bpfman image pull -i localhost:5000/tc_pass@sha256:6c3c6… -p Always -o json";

// An image and how to get it.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Required: Container Image URL.
    /// Example: --image-url quay.io/bpfman-bytecode/xdp_pass:latest
    #[arg(
        short = 'i',
        long = "image-url",
        value_name = "IMAGE_URL",
        verbatim_doc_comment
    )]
    pub(crate) url: ImageReference,

    /// Optional: Registry auth for authenticating with the specified image registry.
    /// This should be base64 encoded from the '<username>:<password>' string just like
    /// it's stored in the docker/podman host config.
    /// Example: --registry_auth "YnjrcKw63PhDcQodiU9hYxQ2"
    #[arg(short = 'r', long, alias = "registry_auth", verbatim_doc_comment)]
    #[arg(value_parser = Unread::take)]
    registry_auth: Option<Unread>,

    /// Optional: Pull policy for remote images.
    ///
    /// [possible values: Always, IfNotPresent, Never]
    ///
    /// [default: IfNotPresent]
    #[arg(
        short = 'p',
        long = "pull-policy",
        value_name = "PULL_POLICY",
        verbatim_doc_comment
    )]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    #[arg(default_value = PullPolicy::IfNotPresent.name(), value_parser = policy())]
    pub(crate) policy: PullPolicy,
}

fn policy() -> impl TypedValueParser<Value = PullPolicy> {
    PossibleValuesParser::new(PullPolicy::ALL.map(PullPolicy::name))
        .try_map(|word| word.parse::<PullPolicy>())
}

/// Credentials before they are checked. clap would repeat them in its message if it checked them.
#[derive(Clone)]
struct Unread(String);

impl Unread {
    #[expect(clippy::unnecessary_wraps, reason = "clap's form of a parser")]
    fn take(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unread(..)")
    }
}

impl PullArgs {
    /// The credentials, if they have the right form. `path` names the command, for its usage line.
    pub(crate) fn auth(&self, path: &[&str]) -> Result<Option<RegistryAuth>, Failure> {
        let Some(Unread(text)) = &self.registry_auth else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|error| {
            let why = format!("the value of --registry-auth cannot be used: {error}");
            usage_error(path, why)
        })
    }
}

#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT, after_long_help = AFTER_HELP)]
#[command(mut_arg("format", |arg| arg.help(OUTPUT).long_help(OUTPUT)))]
pub(crate) struct Pull {
    #[command(flatten)]
    image: PullArgs,

    #[command(flatten)]
    output: output::Choice,
}

impl Pull {
    /// What the manager is asked for.
    pub(crate) fn request(&self) -> Result<PullRequest, Failure> {
        Ok(PullRequest {
            url: self.image.url.clone(),
            policy: self.image.policy,
            registry_auth: self.image.auth(&["image", "pull"])?,
        })
    }
}

/// Brings an image into the store.
pub(super) fn run(args: &Pull, quiet: bool, manager: &Manager) -> Result<(), Failure> {
    let request = args.request()?;
    let progress = Progress::new(&request.url, quiet);
    let pulled = manager.image_pull(&request, &|event| progress.show(event));
    drop(progress);
    let pulled =
        pulled.map_err(|error| Failure::of(format!("cannot pull {}", request.url), error))?;
    output::pulled(&request.url, &pulled, args.output.format)?;
    Ok(())
}
