//! The first process of a test guest: this program under another name.
//!
//! It mounts what a running system has, loads the modules, runs one command with pipes as its
//! standard streams, and sends everything to the host (see [`crate::wire`]). What it prints itself
//! goes to the kernel's console, which the host shows when something goes wrong.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount, mount_move};
use rustix::process::{Pid, WaitOptions, chroot, wait};
use rustix::system::{RebootCommand, init_module, reboot};

use crate::wire::{Frame, JOB, Job, PORT};

const MOUNTS: &[(&str, &str)] = &[
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("tmpfs", "/dev/shm"),
    ("tmpfs", "/run"),
    ("tracefs", "/sys/kernel/tracing"),
    ("bpf", "/sys/fs/bpf"),
    ("cgroup2", "/sys/fs/cgroup"),
];
/// Links that programs expect in `/dev`, which devtmpfs leaves to user space.
const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];
/// Where a guest notes how long the host let it wait.
const WAITED: &str = "/tmp/xtask-waited";
/// How long output may still come after the command itself has ended; only processes that it left
/// in the background can keep the pipes open longer.
const DRAIN: Duration = Duration::from_secs(1);
/// The host ends QEMU when it has the exit status; this is how long the guest waits for that.
const GOODBYE: Duration = Duration::from_secs(30);

type Port = Arc<Mutex<File>>;

/// Whether this machine was booted by `xtask vm`.
pub(crate) fn is_guest() -> bool {
    Path::new(JOB).exists()
}

/// Runs the job and turns the machine off.
pub(crate) fn init() -> ExitCode {
    if let Err(error) = work() {
        eprintln!("xtask init: {error:#}");
    }
    let _ = reboot(RebootCommand::PowerOff);
    ExitCode::FAILURE
}

fn work() -> Result<()> {
    for (kind, target) in MOUNTS {
        std::fs::create_dir_all(target).with_context(|| format!("make {target}"))?;
        mount(*kind, *target, *kind, MountFlags::empty(), None)
            .with_context(|| format!("mount {kind} on {target}"))?;
    }
    for (to, path) in LINKS {
        std::os::unix::fs::symlink(to, path).with_context(|| format!("link {path}"))?;
    }
    let job = read_job()?;
    let modules = load_modules(&job.modules);
    if job.from_disk {
        modules?;
        return start_disk();
    }
    let port = Arc::new(Mutex::new(open_port()?));
    let status = modules.and_then(|()| {
        prepare()?;
        send(&port, &Frame::Ready)?;
        run(&job, &port)
    });
    match status {
        Ok(status) => {
            send_files(&job.fetch, &port)?;
            send(&port, &Frame::Exit(status))?;
        }
        Err(error) => send(&port, &Frame::Failed(format!("{error:#}")))?,
    }
    std::thread::sleep(GOODBYE);
    Ok(())
}

fn read_job() -> Result<Job> {
    let job = std::fs::read(JOB).context("read the job")?;
    serde_json::from_slice(&job).context("read the job")
}

/// Leaves this file system for the one on the disk, and becomes its `/sbin/init`.
fn start_disk() -> Result<()> {
    let disk = Path::new("/dev/vda");
    wait_for(|| disk.exists().then_some(())).context("no disk appeared")?;
    let root = "/disk";
    std::fs::create_dir_all(root)?;
    mount(disk, root, "ext4", MountFlags::empty(), None).context("mount the disk")?;
    std::fs::copy(JOB, format!("{root}{JOB}")).context("hand over the job")?;
    std::env::set_current_dir(root)?;
    mount_move(".", "/").context("move the disk to the root")?;
    chroot(".").context("enter the disk")?;
    let error = Command::new("/sbin/init").env_clear().exec();
    Err(error).context("start the init of the disk")
}

/// Runs the job in a system that was started from a disk, and turns it off in good order.
pub(crate) fn agent() -> Result<()> {
    let job = read_job()?;
    let port = Arc::new(Mutex::new(open_port()?));
    send(&port, &Frame::Ready)?;
    let status = run(&job, &port);
    // The next start must not find it.
    std::fs::remove_file(JOB)?;
    match status {
        Ok(status) => {
            send_files(&job.fetch, &port)?;
            send(&port, &Frame::Exit(status))?;
        }
        Err(error) => send(&port, &Frame::Failed(format!("{error:#}")))?,
    }
    crate::sh::run(Command::new("systemctl").arg("poweroff"))
}

/// Waits for a device that the kernel is still looking for.
fn wait_for<T>(find: impl Fn() -> Option<T>) -> Option<T> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match find() {
            None if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            found => return found,
        }
    }
}

fn load_modules(names: &[String]) -> Result<()> {
    for name in names {
        let path = format!("/lib/modules/{name}.ko");
        let content = std::fs::read(&path).with_context(|| format!("read {path}"))?;
        // By default this one module adds an interface to the guest.
        let parameters = if name == "dummy" {
            c"numdummies=0"
        } else {
            c""
        };
        init_module(&content, parameters).with_context(|| format!("load module {name}"))?;
    }
    Ok(())
}

fn open_port() -> Result<File> {
    let path = wait_for(find_port).with_context(|| format!("no virtio port {PORT} appeared"))?;
    let file = File::options().read(true).write(true).open(&path);
    file.with_context(|| format!("open {}", path.display()))
}

fn find_port() -> Option<PathBuf> {
    for entry in std::fs::read_dir("/sys/class/virtio-ports").ok()?.flatten() {
        let name = std::fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        let node = Path::new("/dev").join(entry.file_name());
        if name.trim() == PORT && node.exists() {
            return Some(node);
        }
    }
    None
}

fn prepare() -> Result<()> {
    for (program, arguments) in [
        ("/usr/sbin/ip", &["link", "set", "lo", "up"][..]),
        // Tests look libraries up by name, as the loader does.
        ("/usr/sbin/ldconfig", &[]),
    ] {
        let mut child = Command::new(program)
            .args(arguments)
            .spawn()
            .with_context(|| format!("start {program}"))?;
        child.wait()?;
    }
    Ok(())
}

/// Writes down how long the host let this guest wait for a processor, in milliseconds: it tells in
/// lines, and the last whole one counts.
fn note_waits(port: &Port) -> Result<()> {
    let locked = port.lock().unwrap_or_else(PoisonError::into_inner);
    let from = BufReader::new(locked.try_clone().context("read from the host")?);
    drop(locked);
    std::thread::spawn(move || {
        for line in from.lines().map_while(Result::ok) {
            // Who reads it goes without when it cannot be written.
            let _ = std::fs::write(WAITED, line);
        }
    });
    Ok(())
}

/// How long this guest has waited for a processor of the host, as far as it knows.
pub(crate) fn waited() -> Duration {
    let said = std::fs::read_to_string(WAITED).unwrap_or_default();
    Duration::from_millis(said.parse().unwrap_or_default())
}

fn run(job: &Job, port: &Port) -> Result<u8> {
    note_waits(port)?;
    let (program, arguments) = job.argv.split_first().context("an empty command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&job.env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {program} in the guest"))?;
    let open = Arc::new(AtomicUsize::new(2));
    if let Some(stdout) = child.stdout.take() {
        pump(stdout, Frame::Stdout, port, &open);
    }
    if let Some(stderr) = child.stderr.take() {
        pump(stderr, Frame::Stderr, port, &open);
    }
    let status = reap(Pid::from_child(&child))?;
    let end = Instant::now() + DRAIN;
    while open.load(Ordering::Acquire) > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(status)
}

fn pump(
    mut from: impl Read + Send + 'static,
    frame: fn(Vec<u8>) -> Frame,
    port: &Port,
    open: &Arc<AtomicUsize>,
) {
    let (port, open) = (Arc::clone(port), Arc::clone(open));
    std::thread::spawn(move || {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if send(&port, &frame(buffer[..length].to_vec())).is_err() {
                break;
            }
        }
        open.fetch_sub(1, Ordering::Release);
    });
}

/// Waits for the command; the first process also inherits, and has to bury, every orphan.
fn reap(command: Pid) -> Result<u8> {
    loop {
        let Some((pid, status)) = wait(WaitOptions::empty()).context("wait for the command")?
        else {
            continue;
        };
        if pid != command {
            continue;
        }
        let status = status
            .exit_status()
            .or_else(|| status.terminating_signal().map(|signal| 128 + signal));
        if let Some(status) = status {
            return Ok(u8::try_from(status).unwrap_or(u8::MAX));
        }
    }
}

fn send_files(paths: &[String], port: &Port) -> Result<()> {
    for path in paths {
        if let Ok(content) = std::fs::read(path) {
            let path = path.clone();
            send(port, &Frame::File { path, content })?;
        }
    }
    Ok(())
}

fn send(port: &Port, frame: &Frame) -> Result<()> {
    let mut port = port.lock().unwrap_or_else(PoisonError::into_inner);
    frame.write(&mut *port).context("write to the host")?;
    port.flush().context("write to the host")
}
