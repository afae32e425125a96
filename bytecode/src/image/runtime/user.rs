//! Whose runtimes count: those of the one who asks, and under sudo those of the calling user.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::super::credentials::behind_sudo;

/// A user who may have images of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    /// None for the one who asks.
    pub(super) name: Option<String>,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: Option<PathBuf>,
}

/// A variable of the environment that says something.
pub(super) fn var(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

impl User {
    /// All of them, in the order in which they are asked.
    pub(super) fn all() -> Vec<Self> {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let mut users = vec![Self {
            name: None,
            uid: uid.as_raw(),
            gid: gid.as_raw(),
            home: var("HOME"),
        }];
        if uid.is_root()
            && let Some(behind) = behind_sudo(&var)
            && let Some((uid, gid)) = behind.behind
        {
            users.push(Self {
                name: Some(name_of(uid)),
                uid,
                gid,
                home: Some(behind.home),
            });
        }
        users
    }

    /// Opens a file that this user may have written. Another user's must be theirs, so that nobody
    /// makes root read what they may not read themselves.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        let mut flags = OFlags::NONBLOCK;
        if self.name.is_some() {
            flags |= OFlags::NOFOLLOW;
        }
        let flags = flags.bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_file() && (self.name.is_none() || metadata.uid() == self.uid) {
            return Ok(file);
        }
        Err(io::Error::other("it is not the user's own file"))
    }

    /// A variable that speaks of this user's files.
    pub(super) fn var(&self, name: &str) -> Option<PathBuf> {
        self.name.is_none().then(|| var(name)).flatten()
    }

    /// Where the sockets of their own services are; None for root, whose are elsewhere.
    pub(super) fn runtime_dir(&self) -> Option<PathBuf> {
        if self.uid == 0 {
            return None;
        }
        let usual = || PathBuf::from(format!("/run/user/{}", self.uid));
        Some(self.var("XDG_RUNTIME_DIR").unwrap_or_else(usual))
    }
}

fn name_of(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = passwd.lines().find_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let found = rest.split(':').nth(1)?.parse() == Ok(uid);
        found.then(|| name.to_owned())
    });
    found.unwrap_or_else(|| uid.to_string())
}
