//! The state document: what the programs in the kernel mean. Written whole, read without a lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use kernel::fault;
use model::{Place, ProgramId, Record};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, pending::Pending};

/// Version of the document that this program writes and reads.
pub(crate) const VERSION: u32 = 1;

/// What the programs in the kernel mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    version: u32,
    /// The boot whose kernel objects it describes.
    boot_id: String,
    /// Grows with each load.
    pub(crate) seq: u64,
    /// Interfaces on which we made the clsact qdisc.
    #[serde(default)]
    pub(crate) clsact: BTreeSet<Place>,
    /// By id.
    pub(crate) programs: BTreeMap<ProgramId, Record>,
}

/// Only the version, of a document of any version.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl State {
    pub(crate) fn empty(boot_id: String) -> Self {
        let (clsact, programs) = (BTreeSet::new(), BTreeMap::new());
        Self {
            version: VERSION,
            boot_id,
            seq: 0,
            clsact,
            programs,
        }
    }

    /// The records that still speak of this boot.
    pub(crate) fn is_of(&self, boot_id: &str) -> bool {
        self.boot_id == boot_id
    }

    /// The boot whose kernel objects it describes.
    pub(crate) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// All programs that use the maps which `owner` made.
    pub(crate) fn users_of(&self, owner: ProgramId) -> impl Iterator<Item = ProgramId> {
        self.programs
            .values()
            .filter(move |record| record.maps == owner)
            .map(|record| record.id)
    }
}

/// The kernel's name for this boot.
pub(crate) fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    Ok(text.trim().to_owned())
}

/// The runtime root: state, lock and bpffs.
#[derive(Clone, Debug)]
pub(crate) struct Root(PathBuf);

/// What a reader finds.
pub(crate) enum Found {
    State(State),
    Nothing,
    /// Neither the document nor the one before it can be read.
    Damaged(Error),
}

impl Root {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn bpffs(&self) -> PathBuf {
        self.0.join("fs")
    }

    fn document(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// The document before the last change, for the case that the last one is damaged.
    fn previous(&self) -> PathBuf {
        self.0.join("state.previous.json")
    }

    fn pending(&self) -> PathBuf {
        self.0.join("pending.json")
    }

    /// Makes the root, for the owner only.
    pub(crate) fn create(&self) -> Result<()> {
        if self.0.is_dir() {
            return Ok(());
        }
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0);
        made.map_err(Error::file("create", &self.0))
    }

    /// Waits until no other command writes, and keeps the others waiting until it is dropped.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.0.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(Error::file("open", &path))?;
        let lock = file.try_lock();
        match lock {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::Error(source)) => return Err(Error::file("lock", &path)(source)),
            Err(fs::TryLockError::WouldBlock) => {}
        }
        log::info!("waiting for another bpfman command that changes programs");
        file.lock().map_err(Error::file("lock", &path))?;
        Ok(file)
    }

    /// Waits until nobody else applies manifests. Held for longer than [`lock`](Self::lock), and
    /// taken before it: single loads go on in between.
    pub(crate) fn turn(&self) -> Result<File> {
        let folder = File::open(&self.0).map_err(Error::file("open", &self.0))?;
        folder.lock().map_err(Error::file("lock", &self.0))?;
        Ok(folder)
    }

    /// The document, or the one before it where that is damaged.
    pub(crate) fn read(&self) -> Result<Found> {
        match read(&self.document()) {
            Ok(Some(state)) => Ok(Found::State(state)),
            Ok(None) => Ok(Found::Nothing),
            Err(damage @ Error::DamagedState { .. }) => match read(&self.previous()) {
                Ok(Some(state)) => {
                    log::warn!("{damage}: using the document before it");
                    Ok(Found::State(state))
                }
                _ => Ok(Found::Damaged(damage)),
            },
            Err(error) => Err(error),
        }
    }

    /// Puts a new document in the place of the old one: this is what commits a change.
    pub(crate) fn write(&self, state: &State) -> Result<()> {
        let bytes = serde_json::to_vec(state).map_err(|source| Error::Encode { source })?;
        let temporary = self.0.join("state.json.new");
        self.replace(&temporary, &bytes).inspect_err(|_| {
            // The next one overwrites it anyway.
            let _ = fs::remove_file(&temporary);
        })
    }

    fn replace(&self, temporary: &Path, bytes: &[u8]) -> Result<()> {
        let (document, previous) = (self.document(), self.previous());
        write_synced(temporary, bytes).map_err(Error::file("write", temporary))?;
        fault::point("state.written").map_err(|error| Error::from(kernel::Error::Fault(error)))?;
        // The old document keeps its name until the very last step.
        remove(&previous)?;
        match fs::hard_link(&document, &previous) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("link", &previous)(error));
            }
            _ => {}
        }
        fs::rename(temporary, &document).map_err(Error::file("replace", &document))
    }

    /// Puts a document that cannot be read aside.
    pub(crate) fn set_aside(&self) -> Result<PathBuf> {
        let aside = self.0.join("state.damaged.json");
        fs::rename(self.document(), &aside).map_err(Error::file("move aside", &aside))?;
        Ok(aside)
    }

    /// The change that a killed command left half-done.
    pub(crate) fn read_pending(&self) -> Result<Option<Pending>> {
        let path = self.pending();
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)
                .inspect_err(|error| log::warn!("{} is damaged: {error}", path.display()))
                .ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("read", &path)(error)),
        }
    }

    /// Notes what is about to change. It need not outlive the kernel, so it is not synced.
    pub(crate) fn write_pending(&self, pending: &Pending) -> Result<()> {
        let (path, temporary) = (self.pending(), self.0.join("pending.json.new"));
        let bytes = serde_json::to_vec(pending).map_err(|source| Error::Encode { source })?;
        fs::write(&temporary, bytes).map_err(Error::file("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(Error::file("replace", &path))
    }

    /// Nothing is half-done any more.
    pub(crate) fn clear_pending(&self) -> Result<()> {
        remove(&self.pending())
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn read(path: &Path) -> Result<Option<State>> {
    match fs::read(path) {
        Ok(bytes) => parse(&bytes, path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

/// Reads the bytes of a document.
pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<State> {
    let damaged = |source| Error::DamagedState {
        path: path.to_owned(),
        source,
    };
    match serde_json::from_slice::<State>(bytes) {
        Ok(state) if state.version == VERSION => Ok(state),
        result => {
            let Versioned { version } = serde_json::from_slice(bytes).map_err(damaged)?;
            if version != VERSION {
                return Err(Error::StateVersion {
                    path: path.to_owned(),
                    version,
                });
            }
            result.map_err(damaged)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path().join("run"));
        root.create().unwrap();
        (folder, root)
    }

    #[test]
    fn written_is_read() {
        let (_folder, root) = root();
        assert!(matches!(root.read(), Ok(Found::Nothing)));
        let mut state = State::empty("boot".into());
        state.seq = 7;
        root.write(&state).unwrap();
        assert!(matches!(root.read(), Ok(Found::State(found)) if found == state));
    }

    #[test]
    fn a_damaged_document_falls_back_to_the_one_before() {
        let (_folder, root) = root();
        for seq in 1..=2 {
            let mut state = State::empty("boot".into());
            state.seq = seq;
            root.write(&state).unwrap();
        }
        fs::write(root.document(), b"{\"version\":1,\"boot").unwrap();
        assert!(matches!(root.read(), Ok(Found::State(state)) if state.seq == 1));
        fs::write(root.previous(), b"").unwrap();
        assert!(matches!(root.read(), Ok(Found::Damaged(_))));
    }

    #[test]
    fn another_version_is_refused() {
        let (_folder, root) = root();
        fs::write(root.document(), b"{\"version\":2,\"what\":[]}").unwrap();
        assert!(matches!(
            root.read(),
            Err(Error::StateVersion { version: 2, .. })
        ));
    }

    /// A document that the first release wrote.
    #[test]
    fn version_1_stays_readable() {
        let (_folder, root) = root();
        let text = r#"{"version":1,"boot_id":"b","seq":3,"clsact":[{"ns_dev":4,"ns_ino":5,"ifindex":6}],
            "programs":{"17":{"id":17,"name":"pass","source":{"from":"file","path":"/x.o"},
            "digest":"00","attach":{"type":"xdp","net":{"iface":"eth1","priority":50},
            "proceed_on":2147483652},"place":{"ns_dev":4,"ns_ino":5,"ifindex":6},
            "globals":{"g":"0A"},"metadata":{"owner":"acme"},"maps":17,"seq":3}}}"#;
        fs::write(root.document(), text).unwrap();
        let Ok(Found::State(state)) = root.read() else {
            panic!()
        };
        assert_eq!(state.programs[&ProgramId(17)].name, "pass");
        assert_eq!(
            state.users_of(ProgramId(17)).collect::<Vec<_>>(),
            [ProgramId(17)]
        );
    }
}
