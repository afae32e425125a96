//! The unix socket: handed over by systemd, or made here.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::{
        fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, chown},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use listenfd::ListenFd;
use rustix::{
    fs::{FlockOperation, Mode, flock},
    process::umask,
};

use crate::Error;

/// Who may connect beside root.
const GROUP: &str = "bpfman";

/// What the daemon listens on. A socket that was made here goes with it.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) listeners: Vec<UnixListener>,
    pub(crate) handed_over: bool,
    made: Option<Made>,
}

#[derive(Debug)]
struct Made {
    path: PathBuf,
    inode: u64,
    /// Held as long as the daemon runs: of two that start at once, one is first.
    _lock: File,
}

impl Drop for Made {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|it| it.ino() == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

impl Sockets {
    /// Those of systemd, or one at the path.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let handed_over = handed_over().map_err(|source| Error::HandedOver { source })?;
        if !handed_over.is_empty() {
            return Ok(Self {
                listeners: handed_over,
                handed_over: true,
                made: None,
            });
        }
        let (listener, made) = make(path)?;
        Ok(Self {
            listeners: vec![listener],
            handed_over: false,
            made: Some(made),
        })
    }

    /// Where it was made; None where systemd did that.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.made.as_ref().map(|made| made.path.as_path())
    }
}

fn handed_over() -> io::Result<Vec<UnixListener>> {
    let mut all = ListenFd::from_env();
    let listeners = (0..all.len()).map(|index| all.take_unix_listener(index));
    listeners.filter_map(Result::transpose).collect()
}

fn socket<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + use<'a> {
    move |source| Error::Socket {
        doing,
        path: path.to_owned(),
        source,
    }
}

fn make(path: &Path) -> Result<(UnixListener, Made), Error> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut builder = DirBuilder::new();
    let created = builder.recursive(true).mode(0o755).create(folder);
    created.map_err(socket("create the folder", folder))?;
    let lock = lock(path)?;
    refuse_live(path)?;
    let (listener, inode) = bind(path)?;
    Ok((
        listener,
        Made {
            path: path.to_owned(),
            inode,
            _lock: lock,
        },
    ))
}

/// The path with something after it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn lock(path: &Path) -> Result<File, Error> {
    let at = beside(path, ".lock");
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).open(&at);
    let file = file.map_err(socket("open the lock", &at))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Live {
            path: path.to_owned(),
        }),
        Err(error) => Err(socket("lock", &at)(error.into())),
    }
}

/// Only a socket that nobody answers on may be replaced.
fn refuse_live(path: &Path) -> Result<(), Error> {
    let path_buf = || path.to_owned();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(socket("look at", path)(error)),
        Ok(it) if !it.file_type().is_socket() => {
            return Err(Error::NotASocket { path: path_buf() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(socket("try", path)(error)),
        Ok(_) => Err(Error::Live { path: path_buf() }),
    }
}

/// Listens at another name first: nobody finds the socket before it has its owner and mode, and
/// the old one is replaced in one step.
fn bind(path: &Path) -> Result<(UnixListener, u64), Error> {
    let new = beside(path, ".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(socket("remove", &new)(error));
        }
        _ => {}
    }
    // There is no other thread yet that this could surprise.
    let before = umask(Mode::from_raw_mode(0o117));
    let bound = UnixListener::bind(&new);
    umask(before);
    let listener = bound.map_err(socket("listen on", path))?;
    if let Some(gid) = group() {
        chown(&new, None, Some(gid)).map_err(socket("give its group to", path))?;
    }
    let inode = fs::symlink_metadata(&new).map_err(socket("look at", &new))?;
    fs::rename(&new, path).map_err(socket("replace", path))?;
    Ok((listener, inode.ino()))
}

/// The number of the group, where this machine has it.
fn group() -> Option<u32> {
    group_in(&fs::read_to_string("/etc/group").ok()?)
}

/// `NAME:PASSWORD:GID:MEMBERS`, group(5).
pub(crate) fn group_in(text: &str) -> Option<u32> {
    let mut lines = text.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next()?;
        (name == GROUP).then(|| fields.nth(1)?.parse().ok())?
    })
}
