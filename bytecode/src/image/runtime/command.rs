//! Podman's command, for images that only Podman itself can read.

use std::{
    io::{self, Read, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use model::Digest;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    super::{ImageError, store::Temp},
    EXPORT, Export, MAX_ANSWER, RuntimeError, engine,
    names::Names,
    user::User,
};

/// How long the command may take to say what an image is. It starts processes of its own.
const INSPECT: Duration = Duration::from_secs(10);

/// The command, as a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Podman {
    user: User,
}

impl Podman {
    pub(super) const fn of(user: User) -> Self {
        Self { user }
    }

    /// What an image is called by, and how well it fits; None where Podman does not have it.
    pub(super) fn inspect(&self, names: &Names) -> Result<Option<(usize, Digest)>, RuntimeError> {
        for (rank, name) in names.full.iter().chain(&names.id).enumerate() {
            let args = ["image", "inspect", "--format", "{{.Id}}", name];
            let mut text = Vec::new();
            let status = match self.run(&args, INSPECT, |bytes| {
                text.extend_from_slice(bytes);
                (text.len() as u64) < MAX_ANSWER
            }) {
                Ok(status) => status,
                Err(error) => return Err(RuntimeError::of_io(error, "inspect", INSPECT)),
            };
            match status {
                Ended::Well => {
                    let id = String::from_utf8_lossy(&text);
                    let id = engine::id(id.trim());
                    return id
                        .map(|id| Some((rank, id)))
                        .ok_or_else(|| RuntimeError::protocol("an image without an id"));
                }
                Ended::Badly { said } if is_absence(&said) => {}
                Ended::Badly { said } => return Err(RuntimeError::Command { why: said }),
                Ended::Stopped => return Err(RuntimeError::protocol("too long an answer")),
            }
        }
        Ok(None)
    }

    /// Copies an image's archive to a file.
    pub(super) fn export(&self, id: Digest, limit: u64, mut file: Temp) -> Result<Temp, Export> {
        let hex = id.hex();
        let args = [
            "image",
            "save",
            "--quiet",
            "--format",
            "docker-archive",
            &hex,
        ];
        let mut done = 0;
        let mut written = Ok(());
        let ended = self.run(&args, EXPORT, |bytes| {
            done += bytes.len() as u64;
            written = file.file().write_all(bytes);
            written.is_ok() && done <= limit
        });
        let what = "archive";
        written.map_err(|source| ImageError::Write { what, source })?;
        match ended.map_err(|error| RuntimeError::of_io(error, "export", EXPORT))? {
            Ended::Well => Ok(file),
            Ended::Badly { said } => Err(RuntimeError::Command { why: said }.into()),
            Ended::Stopped => Err(ImageError::ExportTooLarge { limit }.into()),
        }
    }

    /// Runs it to its end, or until `take` wants no more of what it writes.
    fn run(
        &self,
        args: &[&str],
        limit: Duration,
        take: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<Ended> {
        let mut command = Command::new("podman");
        command
            .args(args)
            .env_remove("CONTAINER_HOST")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let (Some(name), Some(home)) = (&self.user.name, &self.user.home) {
            let uid = self.user.uid;
            command
                .uid(uid)
                .gid(self.user.gid)
                .env("HOME", home)
                .env("USER", name)
                .env("LOGNAME", name)
                .env("XDG_RUNTIME_DIR", format!("/run/user/{uid}"))
                .env_remove("CONTAINERS_STORAGE_CONF")
                .env_remove("XDG_CONFIG_HOME")
                .env_remove("XDG_DATA_HOME");
        }
        log::debug!("{command:?}");
        let mut child = command.spawn()?;
        let ended = follow(&mut child, Instant::now() + limit, take);
        if !matches!(ended, Ok(Ended::Well | Ended::Badly { .. })) {
            // It may have ended at this very moment.
            let _ = child.kill();
            let _ = child.wait();
        }
        ended
    }
}

/// How a command ended.
enum Ended {
    Well,
    Badly {
        said: String,
    },
    /// It was not listened to any longer.
    Stopped,
}

/// Podman's words for an image that it does not have.
fn is_absence(said: &str) -> bool {
    said.contains("image not known") || said.contains("no such image")
}

/// Reads both streams of a command until it ends.
fn follow(
    child: &mut Child,
    end: Instant,
    mut take: impl FnMut(&[u8]) -> bool,
) -> io::Result<Ended> {
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("it has no output"));
    };
    let mut said = Vec::new();
    let mut open = (true, true);
    let mut buffer = vec![0; 64 << 10];
    while open.0 || open.1 {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds = Vec::new();
        if open.0 {
            fds.push(PollFd::new(&stdout, PollFlags::IN));
        }
        if open.1 {
            fds.push(PollFd::new(&stderr, PollFlags::IN));
        }
        if poll(&mut fds, Some(&left))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let first = open.0 && ready.next() == Some(true);
        let second = open.1 && ready.next() == Some(true);
        drop(fds);
        if first {
            let read = stdout.read(&mut buffer)?;
            open.0 = read > 0;
            if read > 0 && !take(&buffer[..read]) {
                return Ok(Ended::Stopped);
            }
        }
        if second {
            let read = stderr.read(&mut buffer)?;
            open.1 = read > 0;
            let room = usize::try_from(MAX_ANSWER).unwrap_or(usize::MAX);
            said.extend_from_slice(&buffer[..read.min(room.saturating_sub(said.len()))]);
        }
    }
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= end {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(2));
    };
    if status.success() {
        return Ok(Ended::Well);
    }
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    let said = last.unwrap_or("it said nothing").chars();
    Ok(Ended::Badly {
        said: said.filter(|c| !c.is_control()).take(300).collect(),
    })
}
