//! One program in the place of another.

use bytecode::image::Progress;
use kernel::{Access, Hook, Side};
use model::{Attach, ProgramId, ProgramView, Record};

use crate::{
    LoadRequest, Manager, Result, config::Config, load, plan::Plan, session::Session, unload,
};

/// Loads a program and lets it take the place of another one of ours: on the same hook in one swap
/// and one commit, elsewhere before the old one goes. One that has gone by itself in the meantime
/// leaves its place empty.
pub(crate) fn replace(
    manager: &Manager,
    old: ProgramId,
    request: &LoadRequest,
    progress: &Progress<'_>,
) -> Result<ProgramView> {
    let config = Config::read(&manager.config)?;
    let plan = Plan::make(&manager.images(&config), request, progress)?;
    let mut session = Session::begin(manager)?;
    if session.dropped.contains_key(&old) {
        return load::put(&config, &mut session, &plan, None);
    }
    let leaving = session.record(old)?.clone();
    if takes_its_place(&session, &request.attach, &leaving)? {
        return load::put(&config, &mut session, &plan, Some(&leaving));
    }
    let view = load::put(&config, &mut session, &plan, None)?;
    unload::one(&mut session, old)?;
    Ok(view)
}

/// Whether both are on the same hook, or on none that has an order.
fn takes_its_place(session: &Session, attach: &Attach, leaving: &Record) -> Result<bool> {
    let alike =
        attach.kind() == leaving.attach.kind() && attach.direction() == leaving.attach.direction();
    match (attach.net(), leaving.place) {
        (None, None) => Ok(true),
        (Some(net), Some(place)) if alike => {
            let side = attach.direction().map_or(Side::Xdp, Side::Tc);
            let hook = Hook::open(&session.pins, net, side, Access::Read)?;
            Ok(hook.place == place)
        }
        _ => Ok(false),
    }
}
