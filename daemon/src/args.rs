//! The daemon's command line.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Parser, builder::PathBufValueParser, builder::TypedValueParser};
use manager::Options;

const LONG_ABOUT: &str = "\
The gRPC daemon of bpfman

Answers Load, Unload, List, Get and PullBytecode on a unix socket, for those that cannot call the
command line. Both work on the same programs, in any mix and at the same time. Programs do not
depend on the daemon: they keep running when it ends.

systemd may hand over the socket (LISTEN_FDS). Otherwise the daemon makes it, for root and the group
'bpfman' where /etc/group has one. It stops at SIGTERM, after it has finished what was asked.";

/// Arguments of `bpfman-rpc`.
#[derive(Debug, Parser)]
#[command(name = "bpfman-rpc", version, about = "The gRPC daemon of bpfman")]
#[command(long_about = LONG_ABOUT)]
pub struct Args {
    /// Optional: Socket to listen on, unless systemd hands one over.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/run/bpfman-sock/bpfman.sock"
    )]
    #[arg(value_parser = absolute())]
    pub(crate) socket: PathBuf,

    /// Optional: End when nothing was asked for so long; 0 for never.
    ///
    /// [default: 900 when systemd handed over the socket, and so starts the daemon again when it is
    /// asked the next time; 0 otherwise]
    #[arg(long, value_name = "SECONDS")]
    idle_timeout: Option<u64>,

    /// Optional: Folder of the state, the lock and the pins of loaded programs.
    #[arg(long, value_name = "DIR", default_value_os_t = Options::default().runtime_dir)]
    #[arg(env = "BPFMAN_RUNTIME_DIR", hide_env_values = true, value_parser = absolute())]
    runtime_dir: PathBuf,

    /// Optional: Configuration file. It need not exist.
    #[arg(long, value_name = "FILE", default_value_os_t = Options::default().config)]
    #[arg(env = "BPFMAN_CONFIG", hide_env_values = true, value_parser = absolute())]
    config: PathBuf,

    /// Optional: Folder of the images that were pulled.
    #[arg(long, value_name = "DIR", default_value_os_t = Options::default().image_dir)]
    #[arg(env = "BPFMAN_IMAGE_DIR", hide_env_values = true, value_parser = absolute())]
    image_dir: PathBuf,

    /// Optional: Say more on stderr.
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Optional: Only warnings and errors on stderr, and not who changed what.
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// How long the daemon stays idle where systemd starts it again.
const IDLE: u64 = 15 * 60;

impl Args {
    /// Where the manager keeps and finds things.
    pub(crate) fn options(&self) -> Options {
        Options {
            runtime_dir: self.runtime_dir.clone(),
            config: self.config.clone(),
            image_dir: self.image_dir.clone(),
        }
    }

    /// How long nothing may be asked before the daemon ends; None: for ever.
    pub(crate) fn idle(&self, handed_over: bool) -> Option<Duration> {
        let default = if handed_over { IDLE } else { 0 };
        let seconds = self.idle_timeout.unwrap_or(default);
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}

/// A path that means the same in every working directory.
fn absolute() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(std::path::absolute)
}
