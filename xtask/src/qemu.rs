//! Boots a guest and carries what it says to the caller.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cache;
use crate::cpio::Archive;
use crate::kernels::Kernel;
use crate::patience::Patience;
use crate::screen;
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
    /// From the start of QEMU to the command's end, without the time in which this machine let the
    /// guest wait for a processor.
    pub(crate) limit: Duration,
    /// From one sign of life to the next, likewise.
    pub(crate) silence: Duration,
    /// A disk with a system that is started; without one everything is in memory.
    pub(crate) disk: Option<&'a Path>,
}

/// How a guest came to its end.
#[derive(Debug)]
pub(crate) enum End {
    /// The command ended with this status.
    Exit(u8),
    /// The time was up; with the reason and the last lines of the console.
    TimeUp(String),
    /// It gave no sign of life any more; likewise.
    Hung(String),
    /// QEMU was killed by a signal before the guest was ready; with the signal and its own words.
    NeverReady(String),
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
            End::NeverReady(reason) if machine.accel == Accel::Tcg => {
                screen::say(&format!(
                    "QEMU itself died before the guest was ready ({reason}): once more"
                ));
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
    let temp = tempfile::tempdir().context("make a directory for the guest")?;
    let initrd = initrd(root).context("write the initramfs")?;
    let socket = temp.path().join("port");
    let listener = UnixListener::bind(&socket).context("listen for the guest")?;
    let path = temp.path().join("console");
    let console = File::create_new(&path).and_then(|_| File::open(&path))?;
    let errors = tempfile::tempfile()?;
    let qemu = command(machine, kernel, initrd, &socket, &path)
        .stderr(errors.try_clone()?)
        .spawn()
        .context("start QEMU")?;
    let mut guest = Guest::new(qemu);

    let (frames, port) = receive(listener, temp.path().to_owned());
    let last_lines = || last_lines(&all_of(&console));
    let broken = |reason: &str| Ok(End::Broken(format!("{reason}\n{}", last_lines())));
    let mut ready = false;
    loop {
        let frame = frames.recv_timeout(GLANCE);
        guest.look(ready.then(|| port.get()).flatten(), frame.is_ok());
        match frame {
            Ok(Ok(Frame::Exit(status))) if machine.disk.is_some() => {
                return Ok(if guest.turns_off(machine.limit)? {
                    End::Exit(status)
                } else {
                    End::TimeUp(guest.late("did not turn itself off", &last_lines()))
                });
            }
            Ok(Ok(Frame::Exit(status))) => return Ok(End::Exit(status)),
            Ok(Ok(Frame::Failed(reason))) => return broken(&reason),
            Ok(Ok(Frame::Ready)) => ready = true,
            Ok(Ok(frame)) => on_frame(frame)?,
            Ok(Err(error)) => return broken(&error.to_string()),
            // QEMU may have ended before it opened its side of the socket.
            Err(RecvTimeoutError::Timeout) if guest.qemu.try_wait()?.is_none() => {}
            Err(_) => {
                let status = guest.qemu.wait()?;
                let said = all_of(&errors);
                let said = String::from_utf8_lossy(&said);
                let qemu = format!("QEMU: {status}; {}", said.trim());
                if !ready && status.signal().is_some() {
                    return Ok(End::NeverReady(qemu));
                }
                return broken(&format!(
                    "the guest stopped without an exit status ({qemu})"
                ));
            }
        }
        if guest.clock.own() > machine.limit {
            return Ok(End::TimeUp(guest.late("was not done", &last_lines())));
        }
        if guest.silence() > machine.silence {
            let silence = guest.silence().as_secs();
            let what = format!("gave no sign of life for {silence} s, and was not done");
            return Ok(End::Hung(guest.late(&what, &last_lines())));
        }
    }
}

/// The file tree in a file without a name: it stays behind in no case, also when we are killed.
fn initrd(root: &Archive) -> std::io::Result<File> {
    let mut file = BufWriter::new(tempfile::tempfile()?);
    root.write(&mut file)?;
    Ok(file.into_inner()?)
}

/// What was written to a file until now. That it cannot be read is no reason to hide why it was
/// asked for.
fn all_of(mut file: &File) -> Vec<u8> {
    let mut content = Vec::new();
    let _ = file.rewind().and_then(|()| file.read_to_end(&mut content));
    content
}

/// How long a look at a guest may be away from the next one.
const GLANCE: Duration = Duration::from_millis(200);

/// A running QEMU, which ends with its owner.
struct Guest {
    qemu: Child,
    clock: Patience,
    /// What its clock showed at the last sign of life.
    heard: Duration,
    /// What it knows of the time in which it had to wait.
    told: Duration,
}

impl Guest {
    fn new(qemu: Child) -> Self {
        Self {
            clock: Patience::with(qemu.id()),
            qemu,
            heard: Duration::ZERO,
            told: Duration::ZERO,
        }
    }

    /// Counts the time, and lets the guest know how much of it was not its own.
    fn look(&mut self, port: Option<&UnixStream>, is_alive: bool) {
        self.clock.look();
        if is_alive {
            self.heard = self.clock.own();
        }
        let waited = self.clock.waited();
        if let Some(mut port) = port
            && waited > self.told + Duration::from_secs(1)
        {
            self.told = waited;
            // A guest that reads nothing is about to end, one way or another.
            let _ = port.write_all(format!("{}\n", waited.as_millis()).as_bytes());
        }
    }

    fn silence(&self) -> Duration {
        self.clock.own().saturating_sub(self.heard)
    }

    /// Why the guest is given up, with the time that this machine took from it.
    fn late(&self, what: &str, console: &str) -> String {
        let (own, waited) = (self.clock.own().as_secs(), self.clock.waited().as_secs());
        format!(
            "it {what} after {own} s of its own; in {waited} s beside them it waited for a \
             processor of this machine; {console}"
        )
    }

    /// Waits until the system on the disk has ended in good order. Answers whether it did.
    fn turns_off(&mut self, limit: Duration) -> Result<bool> {
        while self.clock.own() < limit {
            if self.qemu.try_wait()?.is_some() {
                return Ok(true);
            }
            std::thread::sleep(GLANCE);
            self.clock.look();
        }
        Ok(false)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

fn command(
    machine: Machine<'_>,
    kernel: &Kernel,
    initrd: File,
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
        .args(["-initrd", "/proc/self/fd/0"])
        .stdin(initrd)
        .args([
            "-append",
            // A busy host delays the timer that an old kernel tries out, and it panics.
            "console=ttyS0 loglevel=5 panic=-1 oops=panic mitigations=off no_timer_check",
        ])
        .args([
            "-chardev",
            &format!("file,id=console,path={}", option(console)),
        ])
        .args(["-serial", "chardev:console"])
        .args([
            "-chardev",
            &format!("socket,id=port,path={}", option(socket)),
        ])
        .args(["-device", "virtio-serial-pci"])
        .args([
            "-device",
            &format!("virtserialport,chardev=port,name={PORT}"),
        ])
        .stdout(Stdio::null());
    if let Some(disk) = machine.disk {
        // What a guest wrote is here when QEMU has ended; it need not be on this machine's disk.
        let drive = format!(
            "if=none,id=disk,format=raw,cache=unsafe,file={}",
            option(disk)
        );
        command
            .args(["-drive", &drive])
            .args(["-device", "virtio-blk-pci,drive=disk"]);
    }
    command
}

/// A path inside of an option, where a comma ends a value.
fn option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// Where frames arrive, and the port that they come through once the guest is there.
type Frames = (Receiver<std::io::Result<Frame>>, Arc<OnceLock<UnixStream>>);

/// Reads frames in the background until the guest's last word or the end of QEMU.
///
/// QEMU opens its files in the order of its arguments, the socket last; then nobody needs their
/// names in `folder` any more.
fn receive(listener: UnixListener, folder: PathBuf) -> Frames {
    let (sender, receiver) = channel();
    let port = Arc::new(OnceLock::new());
    let shared = Arc::clone(&port);
    std::thread::spawn(move || {
        let Ok((stream, _)) = listener.accept() else {
            return;
        };
        // Its owner removes what this leaves.
        let _ = std::fs::remove_dir_all(folder);
        if let Ok(stream) = stream.try_clone()
            && stream.set_write_timeout(Some(GLANCE)).is_ok()
        {
            let _ = shared.set(stream);
        }
        let mut stream = BufReader::new(stream);
        while let Some(frame) = Frame::read(&mut stream).transpose() {
            let last = frame.is_err();
            if sender.send(frame).is_err() || last {
                return;
            }
        }
    });
    (receiver, port)
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
        screen::say(&format!("── guests run {how}; the cache remembers it"));
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
