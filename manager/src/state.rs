//! The state document: what the programs in the kernel mean. Written whole, read without a lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::{Path, PathBuf},
};

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

    /// A program whose record speaks of another one: somebody edited the document.
    fn misfiled(&self) -> Option<ProgramId> {
        let mut programs = self.programs.iter();
        let (id, _) = programs.find(|(id, record)| **id != record.id)?;
        Some(*id)
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

    fn document_draft(&self) -> PathBuf {
        self.0.join("state.json.new")
    }

    fn pending_draft(&self) -> PathBuf {
        self.0.join("pending.json.new")
    }

    /// Makes the root, for the owner only.
    pub(crate) fn create(&self) -> Result<()> {
        if let Some(mode) = self.mode()? {
            // Six bits for the group and the others.
            if mode.trailing_zeros() >= 6 {
                return Ok(());
            }
            let closed = fs::set_permissions(&self.0, Permissions::from_mode(0o700));
            return closed.map_err(Error::file("close to others", &self.0));
        }
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0);
        made.map_err(Error::file("create", &self.0))?;
        fault::point("state.root-made").map_err(Error::file("create", &self.0))?;
        self.mode().map(drop)
    }

    /// Who may do what in the root; None where there is none. What others may write to says
    /// nothing that we believe.
    fn mode(&self) -> Result<Option<u32>> {
        let mode = kernel::safe::folder(&self.0)?.map(|metadata| metadata.mode());
        if mode.is_some_and(|mode| mode & 0o022 != 0) {
            return Err(Error::Kernel(kernel::Error::Unsafe {
                path: self.0.clone(),
                why: "may be written to by others",
            }));
        }
        Ok(mode)
    }

    /// Waits until no other command writes, and keeps the others waiting until it is dropped.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.0.join("lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = kernel::safe::open(&path, "open", &mut options)?;
        let lock = file.try_lock();
        match lock {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                log::info!("waiting for another bpfman command that changes programs");
            }
            Err(fs::TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(fs::TryLockError::Error(source)) => return Err(Error::file("lock", &path)(source)),
        }
        wait(&file).map_err(Error::file("lock", &path))?;
        Ok(file)
    }

    /// Waits until nobody else applies manifests. Held for longer than [`lock`](Self::lock), and
    /// taken before it: single loads go on in between.
    pub(crate) fn turn(&self) -> Result<File> {
        let folder = File::open(&self.0).map_err(Error::file("open", &self.0))?;
        wait(&folder).map_err(Error::file("lock", &self.0))?;
        Ok(folder)
    }

    /// The document, or the one before it where that is damaged or was removed.
    pub(crate) fn read(&self) -> Result<Found> {
        if self.mode()?.is_none() {
            return Ok(Found::Nothing);
        }
        match read(&self.document()) {
            Ok(Some(state)) => Ok(Found::State(state)),
            // We never leave the one before alone.
            Ok(None) => Ok(read(&self.previous())?.map_or(Found::Nothing, |state| {
                log::warn!(
                    "{} was removed: using the document before it",
                    self.document().display()
                );
                Found::State(state)
            })),
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
        let temporary = self.document_draft();
        self.replace(&temporary, &bytes).inspect_err(|_| {
            // The next one overwrites it anyway.
            let _ = fs::remove_file(&temporary);
        })
    }

    fn replace(&self, temporary: &Path, bytes: &[u8]) -> Result<()> {
        let (document, previous) = (self.document(), self.previous());
        let file = write(temporary, bytes)?;
        file.sync_all().map_err(Error::file("write", temporary))?;
        let point = |name| fault::point(name).map_err(Error::file("replace", &document));
        point("state.written")?;
        // The old document keeps its name until the very last step.
        remove(&previous)?;
        point("state.previous-removed")?;
        match fs::hard_link(&document, &previous) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("link", &previous)(error));
            }
            _ => {}
        }
        point("state.previous-linked")?;
        fs::rename(temporary, &document).map_err(Error::file("replace", &document))
    }

    /// Puts a document that cannot be read aside.
    pub(crate) fn set_aside(&self) -> Result<PathBuf> {
        let aside = self.0.join("state.damaged.json");
        fs::rename(self.document(), &aside).map_err(Error::file("move aside", &aside))?;
        Ok(aside)
    }

    /// The change that a killed command left half-done. A note that cannot be read is thrown away:
    /// what it spoke of is found without it, but for an empty clsact qdisc.
    pub(crate) fn read_pending(&self) -> Result<Option<Pending>> {
        let path = self.pending();
        let Some(bytes) = bytes_of(&path)? else {
            return Ok(None);
        };
        match serde_json::from_slice(&bytes) {
            Ok(pending) => Ok(Some(pending)),
            Err(error) => {
                log::warn!("{} is damaged: {error}: removed", path.display());
                self.clear_pending()?;
                Ok(None)
            }
        }
    }

    /// Notes what is about to change. It need not outlive the kernel, so it is not synced.
    pub(crate) fn write_pending(&self, pending: &Pending) -> Result<()> {
        let bytes = serde_json::to_vec(pending).map_err(|source| Error::Encode { source })?;
        self.replace_pending(&bytes)
    }

    fn replace_pending(&self, bytes: &[u8]) -> Result<()> {
        let (path, temporary) = (self.pending(), self.pending_draft());
        let point = || fault::point("chain.note-written").map_err(Error::file("write", &temporary));
        write(&temporary, bytes)
            .and_then(|_| point())
            .and_then(|()| fs::rename(&temporary, &path).map_err(Error::file("replace", &path)))
            // The next one overwrites it anyway.
            .inspect_err(|_| _ = fs::remove_file(&temporary))
    }

    /// The note as it is, to be put back.
    pub(crate) fn keep_pending(&self) -> Result<Option<Vec<u8>>> {
        bytes_of(&self.pending())
    }

    /// Puts the note back that was there before.
    pub(crate) fn restore_pending(&self, note: Option<&[u8]>) -> Result<()> {
        match note {
            Some(bytes) => self.replace_pending(bytes),
            None => self.clear_pending(),
        }
    }

    /// Takes away what a killed command had begun to write.
    pub(crate) fn clear_drafts(&self) -> Result<()> {
        remove(&self.document_draft())?;
        remove(&self.pending_draft())
    }

    /// Nothing is half-done any more.
    pub(crate) fn clear_pending(&self) -> Result<()> {
        remove(&self.pending())
    }
}

/// Waits for a lock. The standard library repeats many calls that a signal interrupts, but not
/// this one.
fn wait(file: &File) -> io::Result<()> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
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

fn write(path: &Path, bytes: &[u8]) -> Result<File> {
    // One that a killed command left may be anything by now.
    remove(path)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = kernel::safe::open(path, "write", &mut options)?;
    file.write_all(bytes).map_err(Error::file("write", path))?;
    Ok(file)
}

/// The bytes of a file of ours; None where there is none.
fn bytes_of(path: &Path) -> Result<Option<Vec<u8>>> {
    let mut file = match kernel::safe::open(path, "read", OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(Error::file("read", path))?;
    Ok(Some(bytes))
}

fn read(path: &Path) -> Result<Option<State>> {
    match bytes_of(path)? {
        Some(bytes) => parse(&bytes, path).map(Some),
        None => Ok(None),
    }
}

/// Reads the bytes of a document.
pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<State> {
    let damaged = |source| Error::DamagedState {
        path: path.to_owned(),
        source,
    };
    match serde_json::from_slice::<State>(bytes) {
        Ok(state) if state.version == VERSION => match state.misfiled() {
            Some(id) => Err(damaged(serde::de::Error::custom(format!(
                "the record of program {id} is another's"
            )))),
            None => Ok(state),
        },
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
