//! Finding the hook that runs a program, wherever its interface is now.
//!
//! An interface that moves to another network namespace takes XDP programs and TCX links along,
//! and may get another index there. Filters go: the kernel takes the qdiscs of what moves apart.

use std::{ffi::OsStr, fs, os::fd::AsFd, path::PathBuf};

use model::{Direction, NetAttach, ProgramId};

use super::{Access, Hook, Side, chain_root, dispatcher_of, holds, link_pin};
use crate::{Error, NetNs, PinTree, Result, netlink, netns, sys::bpf, tcx::attach_type};

impl Hook {
    /// The hook that runs one of these programs, by itself or in a chain, in any network namespace
    /// that can be seen from here.
    pub fn search(
        pins: &PinTree,
        side: Side,
        programs: &[ProgramId],
        access: Access,
    ) -> Result<Option<Self>> {
        let wanted = with_dispatchers(pins, side, programs)?;
        for (ns, netns) in NetNs::visible() {
            let found = ns.run(|| {
                netns::interfaces().into_iter().find(|iface| {
                    netns::index(iface).is_ok_and(|ifindex| runs(side, ifindex, &wanted))
                })
            });
            // One that cannot be entered holds nothing that we could change.
            let Ok(Some(iface)) = found else { continue };
            let net = NetAttach {
                iface,
                netns,
                priority: 0,
            };
            let place = ns.interface(&net.iface, String::new)?;
            let mut hook = Self::new(pins, ns, place, &net, side, access)?;
            hook.link_pin = pinned_link(pins, place.ifindex, &wanted)?.unwrap_or(hook.link_pin);
            return Ok(Some(hook));
        }
        Ok(None)
    }

    /// Names the pins of the chain after the place where its interface is now.
    pub fn settle(&mut self) -> Result<()> {
        let rename = |from: PathBuf, to: PathBuf| {
            if from == to || !from.exists() {
                return Ok(());
            }
            fs::rename(&from, &to).map_err(Error::path("rename", from))
        };
        let link_pin = link_pin(&self.pins, self.place, self.side);
        rename(
            std::mem::replace(&mut self.link_pin, link_pin.clone()),
            link_pin,
        )?;
        match self.live()?.dispatcher() {
            Some(id) => rename(self.pinned_folder(id), self.folder(id)),
            None => Ok(()),
        }
    }

    /// The folder with the pins of a dispatcher, also where it has the name of the interface's
    /// former index: no two dispatchers have one id.
    pub(super) fn pinned_folder(&self, dispatcher: ProgramId) -> PathBuf {
        let folder = self.folder(dispatcher);
        if self.side != Side::Xdp || folder.exists() {
            return folder;
        }
        let mut folders = fs::read_dir(&self.root).into_iter().flatten().flatten();
        folders
            .find(|entry| dispatcher_of(&entry.file_name()) == Some(dispatcher))
            .map_or(folder, |entry| entry.path())
    }
}

/// These programs, and the dispatchers that have one of them as a member.
fn with_dispatchers(pins: &PinTree, side: Side, programs: &[ProgramId]) -> Result<Vec<ProgramId>> {
    let mut wanted = programs.to_vec();
    let folders = fs::read_dir(chain_root(pins, side)).into_iter().flatten();
    for entry in folders.flatten() {
        let Some(dispatcher) = dispatcher_of(&entry.file_name()) else {
            continue;
        };
        for program in programs {
            if holds(&entry.path(), *program)? {
                wanted.push(dispatcher);
            }
        }
    }
    Ok(wanted)
}

/// Whether an interface of the calling thread's namespace runs one of the programs.
fn runs(side: Side, ifindex: u32, wanted: &[ProgramId]) -> bool {
    let is_wanted = |id: u32| wanted.contains(&ProgramId(id));
    match side {
        Side::Xdp => {
            matches!(netlink::xdp(ifindex), Ok(Some(attached)) if is_wanted(attached.program))
        }
        Side::Tc(direction) => {
            tcx(ifindex, direction).any(is_wanted)
                || netlink::filters(ifindex, direction)
                    .is_ok_and(|filters| filters.iter().any(|filter| is_wanted(filter.program)))
        }
    }
}

fn tcx(ifindex: u32, direction: Direction) -> impl Iterator<Item = u32> {
    let attached = bpf::tcx_query(ifindex, attach_type(direction)).unwrap_or_default();
    attached.1.into_iter().map(|entry| entry.program)
}

/// The pin of the TCX link that holds one of the programs on an interface.
fn pinned_link(pins: &PinTree, ifindex: u32, wanted: &[ProgramId]) -> Result<Option<PathBuf>> {
    let pins = fs::read_dir(pins.tc()).into_iter().flatten().flatten();
    for pin in pins.filter(|pin| is_link(&pin.file_name())) {
        let Some(link) = PinTree::open(&pin.path())? else {
            continue;
        };
        let info = bpf::link_info(link.as_fd()).map_err(Error::query("ask about a TCX link"))?;
        if bpf::tcx_ifindex(&info) == ifindex && wanted.contains(&ProgramId(info.prog_id)) {
            return Ok(Some(pin.path()));
        }
    }
    Ok(None)
}

fn is_link(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"hook-")
}
