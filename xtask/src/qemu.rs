//! Boots a guest and carries what it says to the caller.

use std::io::{BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cache;
use crate::cpio::Archive;
use crate::kernels::Kernel;
use crate::wire::{Frame, PORT};

/// How the guest's instructions are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accel {
    /// By the processor.
    Kvm,
    /// By QEMU.
    Tcg,
}

/// The shape of a guest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine<'a> {
    pub(crate) accel: Accel,
    pub(crate) cpus: u32,
    /// Memory in MiB.
    pub(crate) memory: u32,
    /// From the start of QEMU to the command's end.
    pub(crate) limit: Duration,
    /// A disk with a system that is started; without one everything is in memory.
    pub(crate) disk: Option<&'a Path>,
}

/// How a guest came to its end.
#[derive(Debug)]
pub(crate) enum End {
    /// The command ended with this status.
    Exit(u8),
    /// The time was up; with the last lines of the console.
    TimeUp(String),
    /// QEMU was killed by this signal before the guest was ready.
    NeverReady(ExitStatus),
    /// The guest died or could not do its job; with the reason and the last lines of the console.
    Broken(String),
}

/// How often a guest is booted before it is given up.
const BOOTS: u32 = 3;
const CONSOLE_LINES: usize = 30;

/// Boots `kernel` with `root` and hands every frame before the last to `on_frame`.
///
/// QEMU 10 aborts once in some forty boots under emulation, while the guest sets up its devices
/// (`iotlb_to_section: Assertion …`). Then the guest is booted again. That hides nothing: its
/// command had not begun.
pub(crate) fn boot(
    machine: Machine<'_>,
    kernel: &Kernel,
    root: &Archive,
    mut on_frame: impl FnMut(Frame) -> Result<()>,
) -> Result<End> {
    for _ in 1..BOOTS {
        match try_boot(machine, kernel, root, &mut on_frame)? {
            End::NeverReady(status) if machine.accel == Accel::Tcg => {
                eprintln!("QEMU itself died before the guest was ready ({status}): once more");
            }
            end => return Ok(end),
        }
    }
    try_boot(machine, kernel, root, &mut on_frame)
}

fn try_boot(
    machine: Machine<'_>,
    kernel: &Kernel,
    root: &Archive,
    on_frame: &mut impl FnMut(Frame) -> Result<()>,
) -> Result<End> {
    let start = Instant::now();
    let temp = tempfile::tempdir().context("make a directory for the guest")?;
    let initrd = temp.path().join("initrd");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&initrd)?);
    root.write(&mut file)
        .and_then(|()| file.flush())
        .context("write the initramfs")?;
    let socket = temp.path().join("port");
    let listener = UnixListener::bind(&socket).context("listen for the guest")?;
    let console = temp.path().join("console");
    let mut guest = Guest(command(machine, kernel, &initrd, &socket, &console).spawn()?);

    let frames = receive(listener);
    let last_lines = || last_lines(&std::fs::read(&console).unwrap_or_default());
    let broken = |reason: &str| Ok(End::Broken(format!("{reason}\n{}", last_lines())));
    let mut ready = false;
    loop {
        let left = machine.limit.saturating_sub(start.elapsed());
        match frames.recv_timeout(left.min(Duration::from_millis(200))) {
            Ok(Ok(Frame::Exit(status))) if machine.disk.is_some() => {
                let left = machine.limit.saturating_sub(start.elapsed());
                return Ok(if guest.turns_off(left)? {
                    End::Exit(status)
                } else {
                    End::TimeUp(last_lines())
                });
            }
            Ok(Ok(Frame::Exit(status))) => return Ok(End::Exit(status)),
            Ok(Ok(Frame::Failed(reason))) => return broken(&reason),
            Ok(Ok(Frame::Ready)) => {
                ready = true;
                // QEMU has read it; so it stays behind in no case, also when we are killed.
                std::fs::remove_file(&initrd).context("remove the initramfs")?;
            }
            Ok(Ok(frame)) => on_frame(frame)?,
            Ok(Err(error)) => return broken(&error.to_string()),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                return Ok(End::TimeUp(last_lines()));
            }
            // QEMU may have ended before it opened its side of the socket.
            Err(RecvTimeoutError::Timeout) if guest.0.try_wait()?.is_none() => {}
            Err(_) => {
                let status = guest.0.wait()?;
                if !ready && status.signal().is_some() {
                    return Ok(End::NeverReady(status));
                }
                return broken(&format!(
                    "the guest stopped without an exit status (QEMU: {status})"
                ));
            }
        }
    }
}

/// A running QEMU, which ends with its owner.
struct Guest(Child);

impl Guest {
    /// Waits until the system on the disk has ended in good order. Answers whether it did.
    fn turns_off(&mut self, limit: Duration) -> Result<bool> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if self.0.try_wait()?.is_some() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(false)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(
    machine: Machine<'_>,
    kernel: &Kernel,
    initrd: &Path,
    socket: &Path,
    console: &Path,
) -> Command {
    let (accel, cpu) = match machine.accel {
        Accel::Kvm => ("kvm", "host"),
        // With a thread for each processor, QEMU 10.0 may go on with a translation of code that
        // another processor has just changed: where programs are swapped under traffic on a busy
        // host, kernels died in breakpoints (`Oops: int3 … bpf_dispatcher_xdp_func`) that were no
        // longer there. One thread changes processors between translations only.
        Accel::Tcg => ("tcg,thread=single", "max"),
    };
    // setpriv becomes QEMU: when this program is killed, the kernel ends the guest.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none", "-accel", accel, "-cpu", cpu])
        .args(["-smp", &machine.cpus.to_string()])
        .args(["-m", &machine.memory.to_string()])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initrd)
        .args([
            "-append",
            // A busy host delays the timer that an old kernel tries out, and it panics.
            "console=ttyS0 loglevel=5 panic=-1 oops=panic mitigations=off no_timer_check",
        ])
        .args([
            "-chardev",
            &format!("file,id=console,path={}", console.display()),
        ])
        .args(["-serial", "chardev:console"])
        .args([
            "-chardev",
            &format!("socket,id=port,path={}", socket.display()),
        ])
        .args(["-device", "virtio-serial-pci"])
        .args([
            "-device",
            &format!("virtserialport,chardev=port,name={PORT}"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if let Some(disk) = machine.disk {
        // What a guest wrote is here when QEMU has ended; it need not be on this machine's disk.
        let drive = format!(
            "if=none,id=disk,format=raw,cache=unsafe,file={}",
            disk.display()
        );
        command
            .args(["-drive", &drive])
            .args(["-device", "virtio-blk-pci,drive=disk"]);
    }
    command
}

/// Reads frames in the background until the guest's last word or the end of QEMU.
fn receive(listener: UnixListener) -> Receiver<std::io::Result<Frame>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let Ok((stream, _)) = listener.accept() else {
            return;
        };
        let mut stream = BufReader::new(stream);
        while let Some(frame) = Frame::read(&mut stream).transpose() {
            let last = frame.is_err();
            if sender.send(frame).is_err() || last {
                return;
            }
        }
    });
    receiver
}

/// The end of the console's text, without terminal codes and carriage returns.
fn last_lines(console: &[u8]) -> String {
    let text = String::from_utf8_lossy(console);
    let lines: Vec<_> = text
        .lines()
        .map(|line| line.trim_end().trim_start_matches("\u{1b}c"))
        // Addresses that only lay on the stack ("?") would push the reason out of sight.
        .filter(|line| !line.is_empty() && !line.contains("]  ? "))
        .collect();
    // A crash tells its reason first and then much about the processor.
    let crash = lines.iter().position(|line| {
        let signs = ["Kernel panic", "BUG:", "Oops:", "general protection"];
        signs.iter().any(|sign| line.contains(sign))
    });
    let from = crash.unwrap_or_else(|| lines.len().saturating_sub(CONSOLE_LINES));
    let lines = &lines[from..lines.len().min(from + 2 * CONSOLE_LINES)];
    let mut shown = String::from("the last lines of its console:");
    for line in lines {
        shown.push_str("\n  ");
        shown.push_str(line);
    }
    shown
}

/// Whether guests live under KVM here. Asked once: the answer stays in the cache.
///
/// `/dev/kvm` proves nothing: on a machine that is itself a guest it may exist while its guests
/// die. So a guest is booted with `probe`, twice.
pub(crate) fn accel(probe: impl Fn(Accel) -> Result<bool>) -> Result<Accel> {
    match std::env::var("BPFMAN_ACCEL").as_deref() {
        Ok("kvm") => return Ok(Accel::Kvm),
        Ok("tcg") => return Ok(Accel::Tcg),
        _ => {}
    }
    if std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_err()
    {
        return Ok(Accel::Tcg);
    }
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let what = "see whether guests live under KVM here";
    let probe = |folder: &Path| {
        let works = (0..2).all(|_| probe(Accel::Kvm).unwrap_or(false));
        let (answer, how) = if works {
            ("kvm", "by the processor")
        } else {
            ("tcg", "emulated, because a guest did not live under KVM")
        };
        eprintln!("── guests run {how}; the cache remembers it");
        let memo = folder.join("accel");
        std::fs::write(&memo, format!("{release}\t{answer}\n"))
            .with_context(|| format!("write {}", memo.display()))?;
        Ok(memo)
    };
    cache::get("accel", what, |memo| remembered(memo, &release), probe)
}

/// The answer of an earlier run under this very kernel.
fn remembered(memo: &Path, release: &str) -> Result<Accel> {
    let known = std::fs::read_to_string(memo)?;
    let (on, answer) = known.trim().split_once('\t').context("it has no answer")?;
    ensure!(
        on == release,
        "it was asked on kernel {on}, this is {release}"
    );
    match answer {
        "kvm" => Ok(Accel::Kvm),
        "tcg" => Ok(Accel::Tcg),
        other => bail!("{other} is no answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_of_this_kernel_and_an_answer() {
        let folder = tempfile::tempdir().unwrap();
        let memo = folder.path().join("accel");
        assert!(remembered(&memo, "6.1").is_err());
        for (text, known) in [
            ("6.1\tkvm\n", Some(Accel::Kvm)),
            ("6.1\ttcg\n", Some(Accel::Tcg)),
            ("5.10\tkvm\n", None),
            ("6.1\tmaybe\n", None),
            ("kvm", None),
            ("", None),
        ] {
            std::fs::write(&memo, text).unwrap();
            assert_eq!(remembered(&memo, "6.1").ok(), known, "{text:?}");
        }
    }

    #[test]
    fn the_last_lines_are_clean() {
        let console: Vec<_> = (0..40)
            .map(|line| format!("\u{1b}cline {line}\r\n\r\n"))
            .collect();
        let shown = last_lines(console.concat().as_bytes());
        assert!(shown.ends_with("\n  line 39"), "{shown}");
        assert!(
            shown.contains("\n  line 10\n") && !shown.contains("line 9\n"),
            "{shown}"
        );
    }
    #[test]
    fn a_crash_is_shown_from_its_reason_on() {
        let after: Vec<_> = (0..50).map(|line| format!("trace {line}\n")).collect();
        let console = format!("boot\nKernel panic - not syncing\n{}", after.concat());
        let shown = last_lines(console.as_bytes());
        assert!(shown.contains("Kernel panic"), "{shown}");
        assert!(!shown.contains("boot"), "{shown}");
    }
}
