//! Bringing kernel and state together, whatever happened to either.
//!
//! The kernel decides what exists: a record without its program is dropped. State decides what it
//! means: a program of ours without a record was left by a command that was killed, and goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use kernel::{Access, Hook, Live, PinTree, Side, dismantle};
use model::{Direction, Place, ProgramId, Record};

use crate::{
    Result, chain,
    error::describe,
    moved::{self, Point, Whereabouts},
    pending::{self, Pending},
    report::in_one_line,
    session::Session,
    undo::Undo,
};

/// Everything, in the order in which one step relies on the other.
pub(crate) fn run(session: &mut Session) -> Result<()> {
    kernel::finish_removing(&session.pins)?;
    finish_pending(session)?;
    let mut pinned = Pinned::find(&session.pins)?;
    let Findings { gone, moved } = compare(session, &pinned)?;
    if !moved.is_empty() {
        follow(session, &moved)?;
    }
    if !gone.is_empty() {
        drop_records(session, &gone)?;
        pinned = Pinned::find(&session.pins)?;
    }
    name_again(session, &pinned)?;
    remove_idle_clsact(session)?;
    remove_orphans(session, &pinned)
}

/// What our tree has pins of.
struct Pinned {
    programs: BTreeSet<ProgramId>,
    links: BTreeSet<ProgramId>,
}

impl Pinned {
    fn find(pins: &PinTree) -> Result<Self> {
        Ok(Self {
            programs: pins.programs()?.into_iter().collect(),
            links: pins.links()?.into_iter().collect(),
        })
    }
}

/// Takes back, or finishes, the change of a hook that a killed command began.
fn finish_pending(session: &mut Session) -> Result<()> {
    let Some(pending) = session.root.read_pending()? else {
        return Ok(());
    };
    let (Some(side), Some(net)) = (pending::side(&pending.attach), pending.attach.net()) else {
        return session.root.clear_pending();
    };
    if !session.state.is_of(&pending.boot_id) {
        return session.root.clear_pending();
    }
    let apart = |dispatcher| dismantle(&session.pins, side, pending.place, dispatcher);
    if session.state.programs.contains_key(&pending.program) && pending.coming {
        // Committed; at most the old dispatcher is left. The note stays, see Retire.
        return Ok(pending.old.map_or(Ok(()), apart)?);
    }
    let hook = Hook::find(&session.pins, net, pending.place, side, Access::Write)?.map(Rc::new);
    let committed = session.state.programs.contains_key(&pending.program);
    let mut live = hook.as_ref().map(|hook| hook.live()).transpose()?;
    if let (Some(hook), Some(now), false) = (&hook, &live, committed) {
        if now.dispatcher() != pending.old {
            // The next note will not know it any more.
            pending.old.map_or(Ok(()), apart)?;
        }
        take_back(session, hook, &pending)?;
        live = Some(hook.live()?);
    }
    let running = live.as_ref().and_then(Live::dispatcher);
    for dispatcher in pending.old.into_iter().chain(pending.new) {
        if Some(dispatcher) != running {
            apart(dispatcher)?;
        }
    }
    if !committed {
        kernel::sweep(&session.pins, side, pending.program, running)?;
        // A link that was taken off the hook may still have its pin.
        if matches!(live, None | Some(Live::Empty)) {
            kernel::forget_link(&session.pins, side, pending.place)?;
        }
    }
    session.root.clear_pending()
}

/// The program was never committed, or is committed to be gone.
fn take_back(session: &Session, hook: &Rc<Hook>, pending: &Pending) -> Result<()> {
    let mut undo = Undo::default();
    let old = pending.leaving.as_ref();
    // Without it, the exchange was committed, and the document that said so was lost.
    let old = old.filter(|old| kernel::program_alive(old.program));
    let taken = if let Some(old) = old {
        chain::put_back(session, hook, pending, old, &mut undo)?
    } else {
        let made_clsact = pending.made_clsact;
        let (attach, program) = (&pending.attach, pending.program);
        chain::take_out(session, hook, attach, program, made_clsact, &mut undo)?
    };
    undo.defuse();
    // The command may have made the qdisc, and not have lived to say so. One that somebody else
    // made and left empty cannot be told from it.
    if pending.made_clsact && matches!(hook.live()?, Live::Empty) {
        hook.remove_clsact()?;
    }
    // Only now, because it clears the note.
    if let Some(retire) = taken {
        let (id, hook) = (pending.program, hook.describe());
        match old {
            Some(old) => log::warn!(
                "program {id} was put in the place of {} on {hook} by a command that was killed: \
                 taken back",
                old.program
            ),
            None => {
                log::warn!("program {id} was left on {hook} by a command that was killed: removed");
            }
        }
        retire.run(session);
    }
    Ok(())
}

/// What the kernel says against the records.
#[derive(Default)]
struct Findings {
    /// Speak of something that is no longer there.
    gone: BTreeSet<ProgramId>,
    /// Run on, where the record does not say.
    moved: BTreeMap<ProgramId, Whereabouts>,
}

fn compare(session: &Session, pinned: &Pinned) -> Result<Findings> {
    let mut findings = Findings::default();
    let mut points: BTreeMap<(Point, Place), Vec<&Record>> = BTreeMap::new();
    for record in session.state.programs.values() {
        let point = Point::of(record);
        let chained = point.is_some_and(|(point, _)| !point.tcx);
        let alive = pinned.programs.contains(&record.id) || kernel::program_alive(record.id);
        if !alive || !chained && !pinned.links.contains(&record.id) {
            findings.gone.insert(record.id);
        } else if let Some(point) = point {
            points.entry(point).or_default().push(record);
        }
    }
    for ((point, place), records) in points {
        look(session, point, place, &records, &mut findings)?;
    }
    Ok(findings)
}

/// Compares the records of one hook with what it runs.
fn look(
    session: &Session,
    point: Point,
    place: Place,
    records: &[&Record],
    findings: &mut Findings,
) -> Result<()> {
    let Some(net) = records.first().and_then(|record| record.attach.net()) else {
        return Ok(());
    };
    let mut absent: Vec<ProgramId> = records.iter().map(|record| record.id).collect();
    // libxdp may be in the middle of a change: what looks absent is looked at again under its
    // lock.
    for access in [Access::Read, Access::Write] {
        let Some(hook) = Hook::find(&session.pins, net, place, point.side, access)? else {
            break;
        };
        match point.programs(&hook) {
            Ok(running) => absent.retain(|id| !running.contains(id)),
            Err(error) if access == Access::Write => {
                if is_shell_of(&hook, &error, records)? {
                    findings.gone.extend(absent);
                } else {
                    let why = in_one_line(&error);
                    log::warn!("cannot tell what {} runs: {why}", hook.describe());
                }
                return Ok(());
            }
            Err(_) => {}
        }
        if absent.is_empty() {
            let now = Whereabouts::of(&hook);
            let renamed = records.iter().filter(|record| now.is_news(record));
            findings
                .moved
                .extend(renamed.map(|record| (record.id, now.clone())));
            return Ok(());
        }
    }
    if let Some((now, running)) = moved::find(&session.pins, point, &absent)? {
        absent.retain(|id| !running.contains(id));
        let ids = running.into_iter();
        findings.moved.extend(ids.map(|id| (id, now.clone())));
    }
    findings.gone.extend(absent);
    Ok(())
}

/// Whether the chain of the hook had the programs of these records as its members and nothing else,
/// and lost them with their pins: an empty chain, which goes.
fn is_shell_of(hook: &Hook, error: &kernel::Error, records: &[&Record]) -> Result<bool> {
    if !matches!(error, kernel::Error::LostPins { .. }) {
        return Ok(false);
    }
    let nets = records.iter().filter_map(|record| record.attach.net());
    let mut priorities: Vec<u32> = nets.map(|net| net.priority).collect();
    priorities.sort_unstable();
    Ok(hook.remove_shell(&priorities)?)
}

/// The records say where the programs are now.
fn follow(session: &mut Session, moved: &BTreeMap<ProgramId, Whereabouts>) -> Result<()> {
    for (id, now) in moved {
        log::info!("program {id} went with its interface: {now}");
    }
    session.commit(|state| {
        for (id, now) in moved {
            if let Some(record) = state.programs.get_mut(id) {
                now.note(record);
            }
        }
    })
}

fn drop_records(session: &mut Session, gone: &BTreeSet<ProgramId>) -> Result<()> {
    for id in gone {
        let Some(record) = session.state.programs.get(id).cloned() else {
            continue;
        };
        log::warn!(
            "program {id} ('{}') is no longer on {}: dropped",
            record.name,
            describe(&record.attach)
        );
        sweep(session, &record)?;
        session.unpin(&record)?;
        session.state.programs.remove(id);
        session.dropped.insert(*id, record);
        fault::point("recover.record-dropped").map_err(kernel::Error::Fault)?;
    }
    session.root.write(&session.state)?;
    // Both documents know, or both do not know, whatever the note speaks of.
    session.root.clear_pending()
}

/// Takes away what is left of the chain that a dropped program was in.
fn sweep(session: &Session, record: &Record) -> Result<()> {
    let (Some((Point { side, tcx: false }, place)), Some(net)) =
        (Point::of(record), record.attach.net())
    else {
        return Ok(());
    };
    let hook = Hook::find(&session.pins, net, place, side, Access::Write)?;
    let live = match &hook {
        Some(hook) => hook.live()?,
        None => Live::Empty,
    };
    if let (Some(hook), Live::Empty) = (&hook, &live) {
        hook.remove_stray(record.id)?;
    }
    kernel::sweep(&session.pins, side, record.id, live.dispatcher())?;
    if matches!(live, Live::Empty) {
        kernel::forget_link(&session.pins, side, place)?;
    }
    Ok(())
}

/// Programs that still run, but whose pin somebody removed.
fn name_again(session: &Session, pinned: &Pinned) -> Result<()> {
    let nameless = |id: &&ProgramId| !pinned.programs.contains(id);
    for id in session.state.programs.keys().filter(nameless) {
        if let Some(program) = kernel::program(*id)? {
            log::warn!("the pin of program {id} was removed: pinned again");
            PinTree::pin(&program.fd, &session.pins.program(*id))?;
        }
    }
    Ok(())
}

/// clsact qdiscs of ours that hold nothing of ours any more.
fn remove_idle_clsact(session: &mut Session) -> Result<()> {
    let mut idle = session.state.clsact.clone();
    idle.retain(|place| session.clsact_is_idle(*place));
    idle.into_iter()
        .try_for_each(|place| chain::remove_clsact(session, place))
}

/// Pins that no record names: what a killed command left.
fn remove_orphans(session: &Session, pinned: &Pinned) -> Result<()> {
    let programs = &session.state.programs;
    for id in &pinned.links {
        if !programs.contains_key(id) {
            PinTree::unpin(&session.pins.link(*id))?;
            fault::point("recover.link-removed").map_err(kernel::Error::Fault)?;
        }
    }
    for id in &pinned.programs {
        if !programs.contains_key(id) {
            log::info!("program {id} was left by a command that was killed: removed");
            take_out_of_chains(session, *id)?;
            PinTree::unpin(&session.pins.program(*id))?;
            fault::point("recover.program-removed").map_err(kernel::Error::Fault)?;
        }
    }
    let owners: BTreeSet<_> = programs.values().map(|record| record.maps).collect();
    for owner in session.pins.map_folders()? {
        if !owners.contains(&owner) {
            PinTree::unpin_folder(&session.pins.maps(owner))?;
        }
    }
    Ok(())
}

/// A chain keeps its members without our pins: where the record of one was lost, it is taken out.
fn take_out_of_chains(session: &Session, id: ProgramId) -> Result<()> {
    for side in [
        Side::Xdp,
        Side::Tc(Direction::Ingress),
        Side::Tc(Direction::Egress),
    ] {
        let Some(mut hook) = Hook::search(&session.pins, side, &[id], Access::Write)? else {
            continue;
        };
        hook.settle()?;
        let (hook, mut undo) = (Rc::new(hook), Undo::default());
        let taken = chain::take_out(
            session,
            &hook,
            &pending::attach(&hook),
            id,
            false,
            &mut undo,
        )?;
        undo.defuse();
        if let Some(retire) = taken {
            retire.run(session);
        }
        // Dispatchers that ran before, with the same members.
        let live = hook.live()?;
        for member in live.programs() {
            kernel::sweep(&session.pins, side, member, live.dispatcher())?;
        }
    }
    // Dispatchers that never ran. Both sides of TC have them in one folder, so none is taken before
    // the program is out of all.
    for side in [Side::Xdp, Side::Tc(Direction::Ingress)] {
        kernel::sweep(&session.pins, side, id, None)?;
    }
    Ok(())
}
