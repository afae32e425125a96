//! `cargo xtask vm`: one command under another kernel.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::initramfs::{self, Content};
use crate::kernels::{self, Version};
use crate::qemu::{self, Accel, End, Machine};
use crate::setup::{self, Need};
use crate::wire::{Frame, Job};

/// Exit status of `vm` when the time was up, as timeout(1) has it.
const TIME_UP: u8 = 124;
/// Exit status of `vm` when the guest died.
const BROKEN: u8 = 125;

/// Options of `cargo xtask vm`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The guest is a small Debian in memory: bash, busybox, ip, tc, ping, ethtool, bpftool, xdp-loader, \
the objects below bpf/ at their own path, and what --bin and --file add. Standard output and error \
and the exit status of the command come through unchanged; 124 means that the time was up, 125 \
that the guest died. BPFMAN_ACCEL=tcg or kvm overrides the choice of the accelerator, \
BPFMAN_CACHE the directory that keeps the kernels.

Example: cargo xtask vm --kernel 6.1 --bin target/debug/bpfman -- bpfman list --all")]
pub(crate) struct Args {
    /// Kernel to boot
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Version,
    /// A program to pack with its shared libraries: it keeps its path and is on PATH
    #[arg(long, value_name = "PATH")]
    bin: Vec<PathBuf>,
    /// A file or directory to pack; it keeps its absolute path unless GUEST is given
    #[arg(long, value_name = "HOST[:GUEST]")]
    file: Vec<String>,
    /// A kernel module to load beside the usual ones
    #[arg(long, value_name = "NAME")]
    module: Vec<String>,
    /// An environment variable of the command
    #[arg(long, value_name = "K=V", value_parser = pair)]
    env: Vec<(String, String)>,
    /// A file to bring back after the command has ended
    #[arg(long, value_name = "GUEST:HOST")]
    fetch: Vec<String>,
    /// Give up after this many seconds, not counting those in which this machine was too busy
    /// to run the guest
    #[arg(long, value_name = "SECS", default_value_t = 300)]
    timeout: u64,
    /// Number of processors
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// Memory in MiB
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected K=V")?;
    Ok((key.into(), value.into()))
}

/// A command for a guest and all it needs; what lanes, demo and bench run is one of these.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) kernel: Version,
    pub(crate) content: Content,
    pub(crate) argv: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    /// Paths in the guest that come back as [`Frame::File`].
    pub(crate) fetch: Vec<String>,
    /// Until it is given up, see [`Machine`].
    pub(crate) limit: Duration,
    /// Between two signs of life, likewise.
    pub(crate) silence: Duration,
    pub(crate) cpus: u32,
    /// Memory in MiB.
    pub(crate) memory: u32,
    /// A disk with a system that is to run the command, see `disk`; without one it runs in a small
    /// Debian in memory.
    pub(crate) disk: Option<PathBuf>,
}

impl Run {
    /// A command with nothing beside the usual tools.
    pub(crate) fn new(kernel: Version, argv: &[&str]) -> Self {
        Self {
            kernel,
            content: Content::default(),
            argv: argv.iter().map(ToString::to_string).collect(),
            env: BTreeMap::new(),
            fetch: Vec::new(),
            limit: Duration::from_mins(5),
            silence: Duration::MAX,
            cpus: 2,
            memory: 2048,
            disk: None,
        }
    }

    /// Boots the guest and hands over what it sends.
    pub(crate) fn boot(&self, on_frame: impl FnMut(Frame) -> Result<()>) -> Result<End> {
        setup::ensure(&[Need::Vm])?;
        let accel = qemu::accel(|accel| {
            let mut probe = Self::new(self.kernel, &["ip", "link", "add", "type", "veth"]);
            probe.limit = Duration::from_secs(15);
            Ok(matches!(probe.boot_under(accel, |_| Ok(()))?, End::Exit(0)))
        })?;
        self.boot_under(accel, on_frame)
    }

    fn boot_under(&self, accel: Accel, on_frame: impl FnMut(Frame) -> Result<()>) -> Result<End> {
        let kernel = kernels::get(self.kernel)?;
        let mut env: BTreeMap<String, String> = [
            ("HOME", "/root"),
            ("LANG", "C.UTF-8"),
            ("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ]
        .map(|(key, value)| (key.into(), value.into()))
        .into();
        env.extend(self.env.clone());
        let mut job = Job {
            modules: Vec::new(),
            argv: self.argv.clone(),
            env,
            fetch: self.fetch.clone(),
            from_disk: self.disk.is_some(),
        };
        let root = if job.from_disk {
            initramfs::build_starter(&kernel.modules, &mut job)?
        } else {
            initramfs::build(&kernel.modules, &self.content, &mut job)?
        };
        let machine = Machine {
            accel,
            cpus: self.cpus,
            memory: self.memory,
            limit: self.limit,
            silence: self.silence,
            disk: self.disk.as_deref(),
        };
        qemu::boot(machine, &kernel, &root, on_frame)
    }

    /// Boots the guest with its output on this terminal; says what went wrong when it did.
    pub(crate) fn show(&self, mut on_file: impl FnMut(&str, &[u8]) -> Result<()>) -> Result<u8> {
        let end = self.boot(|frame| {
            match frame {
                Frame::Stdout(bytes) => write_all(std::io::stdout(), &bytes),
                Frame::Stderr(bytes) => write_all(std::io::stderr(), &bytes),
                Frame::File { path, content } => on_file(&path, &content)?,
                Frame::Ready | Frame::Failed(_) | Frame::Exit(_) => {}
            }
            Ok(())
        })?;
        let kernel = self.kernel.name();
        Ok(match end {
            End::Exit(status) => status,
            End::TimeUp(reason) | End::Hung(reason) => {
                eprintln!("error: the {kernel} guest was given up: {reason}");
                TIME_UP
            }
            End::NeverReady(reason) => {
                eprintln!("error: the {kernel} guest was never ready: {reason}");
                BROKEN
            }
            End::Broken(reason) => {
                eprintln!("error: the {kernel} guest failed: {reason}");
                BROKEN
            }
        })
    }
}

fn write_all(mut out: impl std::io::Write, bytes: &[u8]) {
    // The reader of a pipe may have gone away; the guest goes on and tells its exit status.
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Runs `cargo xtask vm`.
pub(crate) fn run(options: Args) -> Result<ExitCode> {
    let mut content = Content {
        programs: options.bin,
        files: Vec::new(),
        modules: options.module,
    };
    for file in &options.file {
        let (from, to) = file.split_once(':').unwrap_or((file, ""));
        let from = std::path::absolute(from)?;
        let to = if to.is_empty() {
            from.to_string_lossy().into_owned()
        } else {
            to.into()
        };
        content.files.push((from, to));
    }
    let mut fetch = BTreeMap::new();
    for file in &options.fetch {
        let (from, to) = file.split_once(':').context("--fetch takes GUEST:HOST")?;
        fetch.insert(from.to_owned(), to.to_owned());
    }
    let mut argv = options.command;
    if argv[0].contains('/') && Path::new(&argv[0]).is_file() {
        let program = std::path::absolute(&argv[0])?;
        argv[0] = program.to_string_lossy().into_owned();
        content.programs.push(program);
    }
    let run = Run {
        kernel: options.kernel,
        content,
        argv,
        env: options.env.into_iter().collect(),
        fetch: fetch.keys().cloned().collect(),
        limit: Duration::from_secs(options.timeout),
        silence: Duration::MAX,
        cpus: options.cpus,
        memory: options.memory,
        disk: None,
    };
    let status = run.show(|path, content| {
        let to = fetch
            .get(path)
            .context("the guest sent a file nobody asked for")?;
        std::fs::write(to, content).with_context(|| format!("write {to}"))
    })?;
    Ok(ExitCode::from(status))
}
