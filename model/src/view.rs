//! What the verbs answer. Front ends turn it into tables, JSON or messages.

use std::{collections::BTreeMap, path::PathBuf, time::SystemTime};

use crate::{Attach, KernelType, MapId, ProgramId, Provenance, Source};

/// What we know of a program of ours beyond what the kernel knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpfmanState {
    /// Function symbol in the object.
    pub name: String,
    /// Where the bytecode came from.
    pub source: Source,
    /// Where the image was found, where the source is one.
    pub provenance: Option<Provenance>,
    /// Global variables that were set, name to upper-case hex.
    pub globals: BTreeMap<String, String>,
    /// The user's own key and value pairs.
    pub metadata: BTreeMap<String, String>,
    /// Folder with the pins of its maps.
    pub map_pin_path: PathBuf,
    /// The program whose maps it shares.
    pub map_owner_id: Option<ProgramId>,
    /// All programs that use the folder, its own id included.
    pub map_used_by: Vec<ProgramId>,
    /// Where and how it is attached.
    pub attach: Attach,
    /// Place in the whole order of its hook, 0 first, programs of others counted; None where the
    /// hook has no order or the program is no longer on it.
    pub position: Option<usize>,
}

/// What the kernel says of a program (`struct bpf_prog_info`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelState {
    /// The kernel's id.
    pub id: ProgramId,
    /// The kernel's name for it, at most 15 bytes, may be empty.
    pub name: String,
    /// The type it was attached as, for programs of ours; the kernel's own otherwise.
    pub kind: KernelType,
    /// When it was loaded.
    pub loaded_at: SystemTime,
    /// Hash over its instructions.
    pub tag: [u8; 8],
    /// It may call helpers that are for GPL programs only.
    pub gpl_compatible: bool,
    /// Maps that it uses.
    pub map_ids: Vec<MapId>,
    /// Its BTF object, 0 without.
    pub btf_id: u32,
    /// Size after the verifier's rewriting, in bytes.
    pub bytes_xlated: u32,
    /// It was compiled to machine code.
    pub jited: bool,
    /// Size of the machine code, in bytes.
    pub bytes_jited: u32,
    /// Memory that the kernel accounts to it, in bytes.
    pub bytes_memlock: u32,
    /// Instructions that the verifier walked through; 0 before kernel 5.16.
    pub verified_insns: u32,
}

/// One program in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramView {
    /// None for a program of somebody else.
    pub bpfman: Option<BpfmanState>,
    /// What the kernel says.
    pub kernel: KernelState,
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The kernel's id.
    pub id: ProgramId,
    /// Function symbol in full for programs of ours, the kernel's name otherwise.
    pub name: String,
    /// The type it was attached as, for programs of ours; the kernel's own otherwise.
    pub kind: KernelType,
    /// When it was loaded.
    pub loaded_at: SystemTime,
    /// It was loaded by us.
    pub managed: bool,
    /// The user's own key and value pairs.
    pub metadata: BTreeMap<String, String>,
}
