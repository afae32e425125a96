//! Keeping what is loaded the same as a folder of manifests.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use kernel::LinkEvents;
use manifest::{Action, Desired, Identity};
use model::ProgramId;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify,
};

use crate::{Error, Manager, Outcome, Result, Target, report::in_one_line};

/// What is watched, and how often when nothing says that something changed.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Folder of the manifests, or one file.
    pub folder: PathBuf,
    /// The slow look at everything: programs that somebody detaches make no noise.
    pub interval: Duration,
}

/// What the last look found, so that nothing is said twice.
#[derive(Default)]
struct Memory {
    /// The programs as they were wished for, to see when the manifests change.
    wished: Vec<Desired>,
    /// The programs that ran.
    loaded: BTreeMap<Identity, ProgramId>,
    /// Complaints, each once as long as it holds.
    said: BTreeSet<String>,
    /// Programs whose interface is not there.
    waiting: BTreeSet<Identity>,
}

impl Manager {
    /// Applies the manifests of a folder, and again whenever they, the interfaces or the programs
    /// change, until `stop` becomes readable. What it does goes to the log.
    pub fn watch(&self, watch: &Watch, stop: impl AsFd) -> Result<()> {
        let wait = |what| move |source: io::Error| Error::Wait { what, source };
        let links = LinkEvents::listen().map_err(wait("interfaces"))?;
        let mut memory = Memory::default();
        log::info!(
            "watching {} and the interfaces of this host",
            watch.folder.display()
        );
        loop {
            // First the notices go, then it looks: what comes while it looks makes it look again.
            let files = notices(&watch.folder);
            links.clear().map_err(wait("interfaces"))?;
            if let Err(error) = self.look(watch, &mut memory) {
                memory.complain(&format!(
                    "cannot look at the programs: {}",
                    in_one_line(&error)
                ));
            }
            let others = [Some(links.as_fd()), files.as_ref().map(AsFd::as_fd)];
            let others = others.into_iter().flatten();
            if wait_for(stop.as_fd(), others, watch.interval).map_err(wait("changes"))? {
                log::info!("ending; the programs stay");
                return Ok(());
            }
        }
    }

    /// One look, and what follows from it.
    fn look(&self, watch: &Watch, memory: &mut Memory) -> Result<()> {
        let set = manifest::read(&watch.folder);
        let (desired, wrong) = manifest::expand(&set.documents, &self.host()?);
        let complaints: Vec<String> = set
            .errors
            .iter()
            .chain(&wrong)
            .map(|error| in_one_line(error))
            .collect();
        let changed = memory.wished != desired;
        memory.wished.clone_from(&desired);
        let mut target = Target {
            desired,
            images_rest: !changed,
            ..Target::default()
        };
        let absent = self.leave_absent(&mut target);
        let lost = memory.waits_for(absent, &target.desired);
        // Where something could not be read it is not known what is no longer wished for.
        if complaints.is_empty() {
            target.prune.insert(set.name);
        }
        let mut now = memory.hear(complaints);
        let quiet = |_: bytecode::image::Event| ();
        let preview = self.preview(&target, &quiet)?;
        let at_rest = |outcome: &Outcome| {
            matches!(outcome.step.action, Action::Keep { .. }) && outcome.result.is_ok()
        };
        // What is left of programs whose interface went goes as well.
        if !lost && preview.iter().all(at_rest) {
            for outcome in preview {
                memory.note(outcome, changed, &mut now);
            }
        } else {
            // What was asked of registries for the preview need not be asked again, unless an
            // image is to be replaced.
            self.apply(&target, &quiet, &mut |outcome| {
                memory.note(outcome, changed, &mut now);
            })?;
        }
        memory.said = now;
        Ok(())
    }
}

impl Memory {
    /// Says complaints that were not said the last time. Answers all of them.
    fn hear(&self, complaints: Vec<String>) -> BTreeSet<String> {
        for complaint in &complaints {
            if !self.said.contains(complaint) {
                log::error!("{complaint}");
            }
        }
        complaints.into_iter().collect()
    }

    fn complain(&mut self, complaint: &str) {
        if self.said.insert(complaint.to_owned()) {
            log::error!("{complaint}");
        }
    }

    /// Says which programs wait for their interface, and whose interface has come. Answers whether
    /// one of them ran.
    fn waits_for(&mut self, absent: Vec<Identity>, here: &[Desired]) -> bool {
        let mut lost = false;
        let before = std::mem::take(&mut self.waiting);
        let come = |identity: &&Identity| here.iter().any(|one| one.identity == **identity);
        for identity in before.iter().filter(come) {
            log::info!("{identity}: the interface has come");
        }
        for identity in absent {
            if !before.contains(&identity) {
                log::info!("{identity} waits for the interface");
            }
            lost |= self.loaded.remove(&identity).is_some();
            self.waiting.insert(identity);
        }
        lost
    }

    /// Says what became of a step.
    fn note(&mut self, outcome: Outcome, changed: bool, now: &mut BTreeSet<String>) {
        let Outcome { step, result } = outcome;
        let identity = step.identity;
        let id = match result {
            Ok(Some(id)) => id,
            Ok(None) => return,
            Err(error) => {
                let complaint = format!("{identity}: {}", in_one_line(&error));
                now.extend(self.hear(vec![complaint]));
                return;
            }
        };
        let differences = step.action.differences().iter();
        let why: Vec<String> = differences.map(ToString::to_string).collect();
        let why = why.join(", ");
        match step.action {
            Action::Create => match self.loaded.get(&identity) {
                Some(old) if !changed => log::warn!(
                    "{identity}: somebody removed program {old}: put back as program {id}"
                ),
                _ => log::info!("{identity}: loaded as program {id}"),
            },
            Action::Replace { id: old, .. } => {
                log::info!("{identity}: program {id} in the place of {old} ({why})");
            }
            Action::Update { .. } => log::info!("{identity}: program {id} taken over ({why})"),
            Action::Remove { .. } => {
                log::info!("{identity}: program {id} unloaded, no manifest speaks of it");
                // Another one of the same name may have stayed.
                if self.loaded.get(&identity) == Some(&id) {
                    self.loaded.remove(&identity);
                }
                return;
            }
            Action::Keep { .. } | Action::Refuse { .. } => {}
        }
        self.loaded.insert(identity, id);
    }
}

/// Waits until something happens or the time is over. Answers whether it is time to stop.
fn wait_for<'a>(
    stop: BorrowedFd<'a>,
    others: impl Iterator<Item = BorrowedFd<'a>>,
    interval: Duration,
) -> io::Result<bool> {
    let mut fds: Vec<PollFd<'_>> = std::iter::once(stop)
        .chain(others)
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    let interval = Timespec::try_from(interval).map_err(io::Error::other)?;
    match poll(&mut fds, Some(&interval)) {
        // A signal: whoever handles it makes `stop` readable.
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fds.first().is_some_and(|stop| !stop.revents().is_empty()))
}

/// Notices of files that are written, moved or removed; None where the folder cannot be watched, and
/// then the slow look has to do.
fn notices(folder: &std::path::Path) -> Option<OwnedFd> {
    use inotify::{CreateFlags, WatchFlags};
    let flags = WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF;
    let files = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    inotify::add_watch(&files, folder, flags).ok()?;
    Some(files)
}
