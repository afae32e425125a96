//! `cargo xtask demo`: the main job, shown with real commands on real packets.

mod made;
mod show;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::initramfs::Content;
use crate::kernels::{self, Version};
use crate::setup::{self, Need};
use crate::sh;
use crate::stage::{self, APART};
use crate::vm::Run;

/// Options of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Play with this program, already in the namespaces of the demo
    #[arg(long, hide = true)]
    stage: Option<PathBuf>,
    /// Fail where the kernel refuses chains
    #[arg(long, hide = true, requires = "stage")]
    whole: bool,
}

/// The profile of the root `Cargo.toml`: who wants to see something does not wait for an optimizer.
const PROFILE: &str = "demo";
/// The status of a shell's command that ended because nobody reads what it prints.
const NO_READER: u8 = 141;
const GONE: &str = "Nothing of it is left in the kernel: its interfaces, mounts and programs went with \
                    its namespaces";

/// Runs `cargo xtask demo`.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let done = match &args.stage {
        Some(bpfman) => show::play(bpfman, args.whole),
        None => perform(),
    };
    match done {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // As with `head`: it has all that it wants.
        Err(error) if lacks_reader(&error) => Ok(ExitCode::from(NO_READER)),
        Err(error) => Err(error),
    }
}

fn perform() -> Result<()> {
    let start = Instant::now();
    ensure!(
        rustix::process::geteuid().is_root(),
        "the demo loads eBPF programs, and only root may do that: \
         sudo env \"PATH=$PATH\" cargo xtask demo"
    );
    tell(
        "This builds bpfman, loads programs in namespaces of their own, sends packets through them,\n\
         takes all away again and looks whether anything stayed. It is built without optimization,\n\
         which is soon done; what one installs is the release build.\n",
    )?;
    setup::ensure(&[Need::Build, Need::Demo])?;
    let bpfman = sh::step("build bpfman (profile `demo`)", || stage::build(PROFILE))?;
    let prepared = start.elapsed();

    let release = stage::kernel();
    heading(format_args!(
        "On {release}, this machine's kernel, in a network and mount namespace of its own"
    ))?;
    let here = here(&bpfman)?;
    ensure!(
        here.success(),
        "the demo failed on {release}, this machine's kernel; the reason stands above. {GONE}"
    );
    let whole = stage::takes_extensions()?;
    if !whole {
        in_guest(&bpfman)?;
    }
    passed(&bpfman, whole, prepared, start.elapsed())
}

/// Plays on this machine's kernel.
fn here(bpfman: &Path) -> Result<ExitStatus> {
    let mut here = Command::new(APART[0]);
    here.args(&APART[1..])
        .arg(std::env::current_exe().context("find this program")?)
        .args(["demo", "--stage"])
        .arg(bpfman);
    let status = here.status().context("start `unshare`")?;
    if status.code() == Some(NO_READER.into()) {
        return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
    }
    Ok(status)
}

/// Plays on a kernel that takes chains.
fn in_guest(bpfman: &Path) -> Result<()> {
    heading("The whole demo, on Debian's kernel 6.12 in QEMU")?;
    setup::ensure(&[Need::Vm])?;
    kernels::get(Version::V6_12)?;
    eprintln!(
        "── boot kernel 6.12: seconds with KVM, half a minute where QEMU emulates a processor"
    );
    let path = bpfman.to_string_lossy();
    let play = ["/init", "demo", "--whole", "--stage", &*path];
    let mut run = Run::new(Version::V6_12, &[&APART[..], &play].concat());
    run.content = Content {
        programs: vec![bpfman.to_owned()],
        ..Content::default()
    };
    let status = run.show(|_, _| Ok(()))?;
    ensure!(
        status == 0,
        "the demo failed on Debian's kernel 6.12 in QEMU; the reason stands above. {GONE}"
    );
    Ok(())
}

fn passed(bpfman: &Path, whole: bool, prepared: Duration, all: Duration) -> Result<()> {
    let release = stage::kernel();
    heading("What was shown")?;
    if whole {
        tell(format_args!(
            "All of it ran on {release}, this machine's kernel."
        ))?;
    } else {
        tell(format_args!(
            "One XDP, one TC and one tracepoint program ran on {release}, this machine's kernel;\n\
             a chain of three XDP programs with the others ran on Debian's kernel 6.12 in QEMU."
        ))?;
    }
    let repo = sh::repo();
    let program = bpfman.strip_prefix(&repo).unwrap_or(bpfman).display();
    tell(format_args!(
        "{GONE}.\n\n\
         Next, as root in {}:\n\
         \x20 {program} load file --path bpf/examples/xdp_counter.bpf.o --name xdp_stats xdp --iface lo\n\
         \x20 {program} list\n\
         \x20 {program} unload ID    # the number that `load` printed\n\
         \x20 cargo xtask package    # the release build, as a Debian package\n\
         \x20 cargo xtask test       # all checks and tests",
        repo.display()
    ))?;
    heading(format_args!(
        "The demo passed in {}, {} of it before the first program was loaded",
        minutes(all),
        minutes(prepared)
    ))
}

/// As `2 min 5 s`.
fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

fn heading(what: impl Display) -> Result<()> {
    tell(format_args!("\n━━━ {what}\n"))
}

/// Prints a line, and fails where nobody reads it.
fn tell(what: impl Display) -> Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{what}").context("print what happens")
}

fn lacks_reader(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}
