//! Making what is loaded the same as what manifests say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
};

use bytecode::image::{Images, Progress};
use kernel::{NetNs, PinTree};
use manifest::{Action, Desired, Host, Identity, Owner, Step, Wish};
use model::{Kind, ProgramId, PullPolicy, Record, Source};

use crate::{
    Error, LoadRequest, Manager, Result, config::Config, load, plan, replace, session::Session,
    unload, view,
};

/// What should be loaded.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// The programs.
    pub desired: Vec<Desired>,
    /// Sets of files: their programs go where none of these is meant.
    pub prune: BTreeSet<String>,
    /// Programs that stay although none of these is meant: they cannot be loaded now, and may
    /// run all the same.
    pub spared: BTreeSet<Identity>,
    /// Do not ask registries whether images of the policy Always have changed.
    pub images_rest: bool,
}

/// What became of a step.
#[derive(Debug)]
pub struct Outcome {
    /// The step.
    pub step: Step,
    /// The program that is loaded now, or was until now; why not, where the step failed.
    pub result: Result<Option<ProgramId>>,
}

impl Outcome {
    /// The program that the step took away.
    fn departed(&self) -> Option<ProgramId> {
        match self.step.action {
            Action::Replace { id, .. } | Action::Remove { id } if self.result.is_ok() => Some(id),
            _ => None,
        }
    }
}

/// Steps, and those programs whose bytecode could not be looked at.
struct Plan {
    wishes: Vec<Wish>,
    steps: Vec<Step>,
    unread: BTreeMap<usize, Error>,
}

impl Manager {
    /// What manifests ask of this host.
    pub fn host(&self) -> Result<Host> {
        Ok(Host {
            labels: Config::read(&self.config)?.labels().clone(),
            primary: kernel::default_interface(),
        })
    }

    /// Leaves programs out of a target whose interface is not there: they are spared, in case it is
    /// only out of sight. Answers which.
    pub fn leave_absent(&self, target: &mut Target) -> Vec<Identity> {
        let present = |desired: &Desired| {
            desired.attach.net().is_none_or(|net| {
                NetNs::open(net.netns.as_deref())
                    .is_ok_and(|ns| ns.interface(&net.iface, String::new).is_ok())
            })
        };
        let all = std::mem::take(&mut target.desired);
        let (here, absent): (Vec<_>, Vec<_>) = all.into_iter().partition(present);
        target.desired = here;
        let absent: Vec<_> = absent.into_iter().map(|desired| desired.identity).collect();
        target.spared.extend(absent.iter().cloned());
        absent
    }

    /// What [`apply`](Self::apply) would do. Changes nothing and waits for nobody, but a registry
    /// may be asked.
    pub fn preview(&self, target: &Target, progress: &Progress<'_>) -> Result<Vec<Outcome>> {
        let preview = || {
            let mut plan = self.plan_from(target, &self.records()?, progress)?;
            let outcome = |step: Step| {
                let failed = step.wish.and_then(|wish| plan.unread.remove(&wish));
                let result = match (&step.action, failed) {
                    (_, Some(error)) => Err(error),
                    (Action::Refuse { why }, _) => Err(Error::Manifest(why.clone())),
                    (action, _) => Ok(action.id()),
                };
                Outcome { step, result }
            };
            Ok(std::mem::take(&mut plan.steps)
                .into_iter()
                .map(outcome)
                .collect())
        };
        preview().map_err(Error::or_privilege)
    }

    /// Brings what is loaded to the target, step by step, and reports each; one that fails keeps
    /// none of the others from being done.
    pub fn apply(
        &self,
        target: &Target,
        progress: &Progress<'_>,
        report: &mut dyn FnMut(Outcome),
    ) -> Result<()> {
        waiting(report, |report| {
            let _turn = self.take_turn()?;
            let plan = self.plan_from(target, &self.recovered()?, progress)?;
            Run {
                manager: self,
                progress,
                plan,
                ids: BTreeMap::new(),
            }
            .all(report);
            Ok(())
        })
    }

    /// Unloads all programs of some manifests, step by step.
    pub fn delete(&self, names: &[(Kind, String)], report: &mut dyn FnMut(Outcome)) -> Result<()> {
        waiting(report, |report| {
            let _turn = self.take_turn()?;
            for step in manifest::deletion(names, &self.recovered()?) {
                let result = self.remove(&step);
                report(Outcome { step, result });
            }
            Ok(())
        })
    }

    /// What [`delete`](Self::delete) would do. Changes nothing.
    pub fn preview_delete(&self, names: &[(Kind, String)]) -> Result<Vec<Step>> {
        let records = self.records().map_err(Error::or_privilege)?;
        Ok(manifest::deletion(names, &records))
    }

    /// What is loaded, as manifests in YAML. Changes nothing.
    pub fn export(&self) -> Result<String> {
        let records = self.records().map_err(Error::or_privilege)?;
        manifest::export(&records).map_err(|source| Error::Export {
            source: Box::new(source),
        })
    }

    /// One at a time: two that plan from the same state would both load what is missing.
    fn take_turn(&self) -> Result<File> {
        self.root.create()?;
        self.root.turn()
    }

    /// The records of programs that run, as far as can be told without changing anything.
    pub(crate) fn records(&self) -> Result<Vec<Record>> {
        let state = view::read(&self.root)?;
        let pins = PinTree::at(self.root.bpffs());
        let records = state.programs.into_values();
        Ok(records
            .filter_map(|record| view::running(&pins, record))
            .collect())
    }

    /// The records of programs that run, after state and kernel were brought together.
    fn recovered(&self) -> Result<Vec<Record>> {
        let session = Session::begin(self)?;
        Ok(session.state.programs.values().cloned().collect())
    }

    fn plan_from(
        &self,
        target: &Target,
        records: &[Record],
        progress: &Progress<'_>,
    ) -> Result<Plan> {
        let images = self.images(&Config::read(&self.config)?);
        let mut unread = BTreeMap::new();
        let mut wishes = Vec::new();
        for (at, desired) in target.desired.iter().enumerate() {
            let digest = match digest(&images, target, desired, records, progress) {
                Ok(digest) => digest,
                Err(error) => {
                    unread.insert(at, error);
                    None
                }
            };
            wishes.push(Wish {
                desired: desired.clone(),
                digest,
            });
        }
        let mut steps = manifest::plan(&wishes, records, &target.prune);
        steps.retain(|step| step.wish.is_some() || !target.spared.contains(&step.identity));
        Ok(Plan {
            wishes,
            steps,
            unread,
        })
    }

    fn remove(&self, step: &Step) -> Result<Option<ProgramId>> {
        let Some(id) = step.action.id() else {
            return Ok(None);
        };
        unload::one(&mut Session::begin(self)?, id)?;
        Ok(Some(id))
    }

    /// Writes down other words about a program that runs as it should.
    fn annotate(&self, id: ProgramId, desired: &Desired) -> Result<()> {
        let mut session = Session::begin(self)?;
        session.record(id)?;
        session.commit(|state| {
            if let Some(record) = state.programs.get_mut(&id) {
                record.metadata = desired.metadata();
                record.source = desired.source.clone();
            }
        })
    }
}

/// Takes steps, and waits at the end until the programs that they took away are gone.
fn waiting(
    report: &mut dyn FnMut(Outcome),
    steps: impl FnOnce(&mut dyn FnMut(Outcome)) -> Result<()>,
) -> Result<()> {
    let mut departed = Vec::new();
    let mut heard = |outcome: Outcome| {
        departed.extend(outcome.departed());
        report(outcome);
    };
    steps(&mut heard).map_err(Error::or_privilege)?;
    unload::wait_for(departed);
    Ok(())
}

/// What the bytecode of a wish is now; None where it does not matter.
fn digest(
    images: &Images,
    target: &Target,
    desired: &Desired,
    records: &[Record],
    progress: &Progress<'_>,
) -> Result<Option<String>> {
    let always = matches!(
        desired.source,
        Source::Image {
            pull_policy: PullPolicy::Always,
            ..
        }
    );
    if always && target.images_rest || !manifest::needs_digest(desired, records) {
        return Ok(None);
    }
    let request = request(desired, None);
    let resolved = plan::resolve(images, &request, progress);
    let resolved = resolved.map_err(|source| Error::Object {
        from: desired.source.to_string(),
        source,
    })?;
    Ok(Some(resolved.object.digest().to_owned()))
}

/// The load of a wish.
fn request(desired: &Desired, map_owner_id: Option<ProgramId>) -> LoadRequest {
    LoadRequest {
        source: desired.source.clone(),
        registry_auth: None,
        name: desired.function.clone(),
        globals: desired.globals.clone(),
        metadata: desired.metadata(),
        map_owner_id,
        attach: desired.attach.clone(),
    }
}

/// The steps of a plan, while they are done.
struct Run<'a> {
    manager: &'a Manager,
    progress: &'a Progress<'a>,
    plan: Plan,
    /// The programs that wishes became.
    ids: BTreeMap<usize, ProgramId>,
}

impl Run<'_> {
    fn all(mut self, report: &mut dyn FnMut(Outcome)) {
        let mut waiting = Vec::new();
        let mut room = false;
        for step in std::mem::take(&mut self.plan.steps) {
            let result = self.one(&step);
            match result {
                // What goes later may make room for it.
                Err(Error::ChainFull { .. } | Error::NoChain { .. }) if step.wish.is_some() => {
                    waiting.push((step, result));
                }
                result => {
                    room |= step.wish.is_none() && result.is_ok();
                    report(Outcome { step, result });
                }
            }
        }
        for (step, result) in waiting {
            let result = if room { self.one(&step) } else { result };
            report(Outcome { step, result });
        }
    }

    fn one(&mut self, step: &Step) -> Result<Option<ProgramId>> {
        let Some(at) = step.wish else {
            return self.manager.remove(step);
        };
        if let Some(error) = self.plan.unread.remove(&at) {
            return Err(error);
        }
        let id = self.wished(step, at)?;
        self.ids.insert(at, id);
        Ok(Some(id))
    }

    fn wished(&self, step: &Step, at: usize) -> Result<ProgramId> {
        let desired = &self.plan.wishes[at].desired;
        let load = || Ok::<_, Error>(request(desired, self.owner(step)?));
        match &step.action {
            Action::Create => {
                let view = load::load(self.manager, &load()?, self.progress)?;
                Ok(view.kernel.id)
            }
            Action::Replace { id, .. } => {
                let view = replace::replace(self.manager, *id, &load()?, self.progress)?;
                Ok(view.kernel.id)
            }
            Action::Update { id, .. } => {
                self.manager.annotate(*id, desired)?;
                Ok(*id)
            }
            Action::Keep { id } | Action::Remove { id } => Ok(*id),
            Action::Refuse { why } => Err(Error::Manifest(why.clone())),
        }
    }

    fn owner(&self, step: &Step) -> Result<Option<ProgramId>> {
        match step.owner {
            None => Ok(None),
            Some(Owner::Loaded(id)) => Ok(Some(id)),
            Some(Owner::Wish(at)) => match self.ids.get(&at) {
                Some(id) => Ok(Some(*id)),
                None => Err(Error::OwnerFailed(
                    self.plan.wishes[at].desired.identity.clone(),
                )),
            },
        }
    }
}
