//! Dispatcher programs: loading one, attaching its members, taking it apart.

use std::{
    ffi::OsStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use model::{ProgramId, SLOTS};
use rustix::thread::{MembarrierCommand, membarrier};

use super::config::{Config, Format, HAS_FRAGS};
use crate::{
    Error, KernelProgram, PinTree, Result, info,
    load::{self, Log},
    sys::{
        bpf::{self, Target},
        libbpf,
    },
};

/// A committed object, see `cargo xtask bpf`.
macro_rules! object {
    ($name:literal) => {
        include_bytes!(concat!("../../../bpf/dispatcher/", $name, ".bpf.o"))
    };
}

impl Format {
    fn object(self) -> (&'static [u8], &'static str) {
        match self {
            Self::Xdp { version: 2 } => (object!("xdp_dispatcher"), "xdp_dispatcher"),
            Self::Xdp { .. } => (object!("xdp_dispatcher_v3"), "xdp_dispatcher"),
            Self::Tc { .. } => (object!("tc_dispatcher"), "tc_dispatcher"),
        }
    }
}

/// A loaded dispatcher that runs nowhere yet.
#[derive(Debug)]
pub struct Dispatcher {
    /// The kernel's id.
    pub id: ProgramId,
    /// Keeps it loaded.
    pub fd: OwnedFd,
    /// BTF id of the function that each member replaces.
    slots: Vec<u32>,
}

/// Name of the function that a member is loaded for.
pub fn slot(position: usize) -> String {
    format!("prog{position}")
}

impl Dispatcher {
    /// Loads a dispatcher whose configuration enables as many slots as it has members: the
    /// verifier removes the others, and with them the functions that a program could replace.
    pub fn load(config: &Config) -> Result<Self> {
        load::uninterrupted(|| Self::load_once(config))
    }

    fn load_once(config: &Config) -> Result<Self> {
        let (bytes, name) = config.format.object();
        let log = Log::start();
        let mut object = load::open(bytes, &log)?;
        for mut program in object.progs_mut() {
            let chosen = program.name() == OsStr::new(name);
            program.set_autoload(chosen);
            if chosen && config.frags() {
                program.set_flags(HAS_FRAGS);
            }
        }
        for mut map in object.maps_mut() {
            let set = map.set_initial_value(&config.bytes());
            set.map_err(|error| Error::query("configure a dispatcher")(load::os_error(&error)))?;
        }
        // A packet takes no way through the dispatcher that changes nothing.
        let slots = if config.is_its_member() {
            vec![name.to_owned()]
        } else {
            (0..config.members.len().min(SLOTS)).map(slot).collect()
        };
        let slots = slots
            .iter()
            .filter_map(|function| libbpf::function_btf_id(&object, function))
            .collect();
        let object = object
            .load()
            .map_err(|error| log.explain(name, None, &error))?;
        let program = object
            .progs()
            .find(|program| program.name() == OsStr::new(name));
        let fd = program
            .ok_or_else(no_such_slot)?
            .as_fd()
            .try_clone_to_owned();
        let fd = fd.map_err(Error::query("duplicate a descriptor"))?;
        fault::point("chain.dispatcher-loaded").map_err(Error::Fault)?;
        let (id, loaded_as) = info::id_and_name(&fd)?;
        // By its name everybody knows a dispatcher. libbpf leaves it out where its trial of names
        // failed, for whatever reason.
        if loaded_as != name {
            let nameless = "libbpf found that this kernel takes no names of programs";
            let nameless = std::io::Error::other(nameless);
            return Err(Error::query(format!("load {name} under its name"))(
                nameless,
            ));
        }
        Ok(Self { id, fd, slots })
    }

    /// Attaches the programs to the slots in their order and names all below `folder`: links and
    /// programs, as libxdp does. Nothing runs through the dispatcher yet.
    pub fn assemble(&self, folder: &Path, programs: &[BorrowedFd<'_>]) -> Result<()> {
        PinTree::make_folder(folder)?;
        for (position, program) in programs.iter().enumerate() {
            let btf_id = *self.slots.get(position).ok_or_else(no_such_slot)?;
            let target = Target::Function {
                dispatcher: self.fd.as_fd(),
                btf_id,
            };
            let link = bpf::link_create(*program, &target).map_err(|source| Error::Attach {
                program: info::state(program)
                    .map(|state| state.name)
                    .unwrap_or_default(),
                to: format!("slot {position} of a dispatcher"),
                source,
            })?;
            fault::point("chain.member-linked").map_err(Error::Fault)?;
            PinTree::pin(&link, &folder.join(format!("prog{position}-link")))?;
            fault::point("chain.member-link-pinned").map_err(Error::Fault)?;
            PinTree::pin(program, &folder.join(format!("prog{position}-prog")))?;
            fault::point("chain.member-attached").map_err(Error::Fault)?;
        }
        Ok(())
    }
}

/// Returns when no packet is under way any more in a dispatcher that runs nowhere since before the
/// call. In one that is taken apart under a packet, the slots that it has still to come to are empty:
/// it would pass by their programs. Takes an RCU grace period, 10 to 50 ms.
pub(super) fn drain() -> Result<()> {
    let wait = || {
        load::know_memlock_limit();
        let inner = libbpf::array(None)?;
        let outer = libbpf::array(Some(inner.as_fd()))?;
        bpf::array_of_maps_update(outer.as_fd(), inner.as_fd())
    };
    // Up to 5.10 there may be no locked memory left for the two maps. membarrier waits for the same
    // grace period, but not where processors run without ticks (EINVAL, nohz_full).
    wait()
        .or_else(|error| membarrier(MembarrierCommand::Global).map_err(|_| error))
        .map_err(Error::query("wait for packets in the old dispatcher"))
}

fn no_such_slot() -> Error {
    Error::query("find a slot of the dispatcher")(std::io::ErrorKind::NotFound.into())
}

/// What a running dispatcher was configured with; None when the program is no dispatcher.
pub(super) fn read_config(program: &KernelProgram, name: &str) -> Result<Option<Config>> {
    let state = &program.state;
    let [map] = state.map_ids[..] else {
        return Ok(None);
    };
    if state.name != name {
        return Ok(None);
    }
    let query = || Error::query("read the configuration of a dispatcher");
    let fd = bpf::open_id(bpf::Ids::Maps, map.0).map_err(query())?;
    let shape = bpf::map_info(fd.as_fd()).map_err(query())?;
    let array = libbpf_sys::BPF_MAP_TYPE_ARRAY;
    if shape.type_ != array || shape.max_entries != 1 || shape.key_size != 4 {
        return Ok(None);
    }
    let mut value = vec![0; shape.value_size as usize];
    bpf::map_lookup(fd.as_fd(), 0, &mut value).map_err(query())?;
    Ok(Config::parse(&value))
}

/// The member pinned for a slot; None when somebody removed it.
pub(super) fn member(folder: &Path, position: usize) -> Result<Option<ProgramId>> {
    match PinTree::open(&folder.join(format!("prog{position}-prog")))? {
        Some(fd) => info::id(&fd).map(Some),
        None => Ok(None),
    }
}
