//! One chosen program of an object into the kernel, by libbpf.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::Once,
};

use libbpf_rs::{
    MapCore, ObjectBuilder, OpenMapMut, OpenObject, OpenProgramMut, PrintLevel, ProgramAttachType,
    ProgramType, set_print,
};
use model::ProgramId;

use crate::{
    Error, Result, info, release,
    sys::{bpf, libbpf},
};

/// Name under which libbpf opens every object: the first part of the kernel's names of its
/// `.data`, `.bss` and `.rodata` maps.
const OBJECT: &str = "bpfman";

/// As what a program is loaded, whatever its section says.
#[derive(Clone, Copy, Debug)]
pub enum Role<'a> {
    /// XDP, to be attached itself.
    Xdp,
    /// Traffic control, to be attached itself.
    Tc,
    /// A trace event.
    Tracepoint,
    /// kprobe, kretprobe, uprobe, uretprobe.
    Probe,
    /// fentry on a kernel function. Kernel ≥ 5.5 with BTF.
    Fentry(&'a str),
    /// fexit on a kernel function. Kernel ≥ 5.5 with BTF.
    Fexit(&'a str),
    /// In the place of a function of another program. Kernel ≥ 5.6, the object needs BTF.
    Extension {
        /// The loaded program.
        target: BorrowedFd<'a>,
        /// The function of it.
        function: &'a str,
    },
}

/// Bytes to put into a data section before the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Section such as `.rodata`.
    pub section: String,
    /// Where in it.
    pub offset: usize,
    /// In memory order.
    pub bytes: Vec<u8>,
}

/// What to load.
#[derive(Debug)]
pub struct Spec<'a> {
    /// The object file.
    pub object: &'a [u8],
    /// Function symbol.
    pub program: &'a str,
    /// As what.
    pub role: Role<'a>,
    /// Global variables.
    pub values: &'a [Value],
    /// Names of the maps and data sections that the program refers to; no other is made.
    pub maps: &'a BTreeSet<String>,
    /// Programs that a program array of it holds from the start: loaded along, as what their
    /// sections say.
    pub tail_calls: &'a [String],
    /// Maps of somebody else to use in the place of those of the same name.
    pub shared: &'a BTreeMap<String, OwnedFd>,
}

/// A map that a loaded program uses.
#[derive(Debug)]
pub struct LoadedMap {
    /// Name in the object; a section name such as `.bss` for global variables.
    pub name: String,
    /// Keeps it open.
    pub fd: OwnedFd,
    /// It belongs to somebody else.
    pub shared: bool,
}

/// Whether the map of this name holds constants, which belong to one program alone.
pub fn is_constant(map: &str) -> bool {
    map.starts_with(".rodata") || map == ".kconfig"
}

/// A program in the kernel; gone again when it is dropped without a pin or an attachment.
#[derive(Debug)]
pub struct Loaded {
    /// The kernel's id.
    pub id: ProgramId,
    /// Keeps it loaded.
    pub fd: OwnedFd,
    /// The maps that it uses.
    pub maps: Vec<LoadedMap>,
    /// It was loaded with `BPF_F_XDP_HAS_FRAGS`, or its section asks for that.
    pub frags: bool,
}

/// Loads one program and the maps it refers to. Nothing is pinned, whatever the object says.
pub fn load(spec: &Spec<'_>) -> Result<Loaded> {
    uninterrupted(|| load_once(spec))
}

/// How often a load is begun that signals interrupt.
const TRIES: usize = 5;

/// libbpf repeats the load of a program that a signal interrupted, and none of its other steps.
pub(crate) fn uninterrupted<T>(mut load: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tries = 1;
    loop {
        match load() {
            Err(error) if error.errno() == Some(libc::EINTR) && tries < TRIES => tries += 1,
            result => return result,
        }
    }
}

fn load_once(spec: &Spec<'_>) -> Result<Loaded> {
    let log = Log::start();
    let mut object = open(spec.object, &log)?;
    choose(&mut object, spec)?;
    for map in object.maps_mut() {
        prepare(map, spec)?;
    }
    let traced = match spec.role {
        Role::Fentry(function) | Role::Fexit(function) => Some(function),
        _ => None,
    };
    let object = object
        .load()
        .map_err(|error| log.explain(spec.program, traced, &error))?;
    let program = object
        .progs()
        .find(|program| program.name() == OsStr::new(spec.program))
        .ok_or_else(|| Error::query("find the loaded program")(io::ErrorKind::NotFound.into()))?;
    let fd = clone(program.as_fd())?;
    let mut maps = Vec::new();
    for map in object.maps().filter(|map| map.as_fd().as_raw_fd() >= 0) {
        let name = map_name(map.name());
        if spec.maps.contains(&name) {
            let shared = spec.shared.contains_key(&name);
            maps.push(LoadedMap {
                name,
                fd: clone(map.as_fd())?,
                shared,
            });
        }
    }
    let frags = program.section().to_string_lossy().starts_with("xdp.frags");
    Ok(Loaded {
        id: info::id(&fd)?,
        fd,
        maps,
        frags,
    })
}

fn clone(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fd.try_clone_to_owned()
        .map_err(Error::query("duplicate a descriptor"))
}

/// Comes before what may have libbpf ask for the limit: from 5.11 on there is nothing to ask.
pub(crate) fn know_memlock_limit() {
    static LIMIT: Once = Once::new();
    LIMIT.call_once(|| {
        if release::is_since(release::NO_MEMLOCK_LIMIT) {
            libbpf::leave_memlock_limit();
        }
    });
}

/// Opens an object for this crate's own programs, too.
pub(crate) fn open(bytes: &[u8], log: &Log) -> Result<OpenObject> {
    know_memlock_limit();
    let mut builder = ObjectBuilder::default();
    let opened = builder
        .name(OBJECT)
        .and_then(|builder| builder.open_memory(bytes));
    opened.map_err(|error| Error::Object {
        reason: log.last_line(),
        source: os_error(&error),
    })
}

/// Switches off every program but the chosen one and those it needs, and makes it what is asked
/// for.
fn choose(object: &mut OpenObject, spec: &Spec<'_>) -> Result<()> {
    for mut program in object.progs_mut() {
        let chosen = program.name() == OsStr::new(spec.program);
        let called = spec
            .tail_calls
            .iter()
            .any(|name| program.name() == OsStr::new(name));
        program.set_autoload(chosen || called);
        if chosen {
            assume(&mut program, spec)?;
        } else if called && !matches!(spec.role, Role::Xdp) {
            // Since 6.18, and in stable kernels before it, all users of a program array must have
            // the same attach type.
            program.set_attach_type(NO_ATTACH_TYPE);
        }
    }
    Ok(())
}

/// Attach type 0 where the kernel takes the type from the attachment, or from nowhere.
const NO_ATTACH_TYPE: ProgramAttachType = ProgramAttachType::CgroupInetIngress;

fn assume(program: &mut OpenProgramMut<'_>, spec: &Spec<'_>) -> Result<()> {
    let (kind, attach) = match spec.role {
        Role::Xdp => (ProgramType::Xdp, ProgramAttachType::Xdp),
        Role::Tc => (ProgramType::SchedCls, NO_ATTACH_TYPE),
        Role::Tracepoint => (ProgramType::Tracepoint, NO_ATTACH_TYPE),
        Role::Probe => (ProgramType::Kprobe, NO_ATTACH_TYPE),
        Role::Fentry(_) => (ProgramType::Tracing, ProgramAttachType::TraceFentry),
        Role::Fexit(_) => (ProgramType::Tracing, ProgramAttachType::TraceFexit),
        Role::Extension { .. } => (ProgramType::Ext, NO_ATTACH_TYPE),
    };
    program.set_prog_type(kind);
    program.set_attach_type(attach);
    match spec.role {
        Role::Fentry(function) | Role::Fexit(function) => program
            .set_attach_target(0, Some(function.to_owned()))
            .map_err(|source| Error::NoFunction {
                function: function.to_owned(),
                source: os_error(&source),
            }),
        Role::Extension { target, function } => program
            .set_attach_target(target.as_raw_fd(), Some(function.to_owned()))
            .map_err(|source| Error::Refused {
                program: spec.program.to_owned(),
                reason: Some(format!("the dispatcher has no function {function}")),
                source: os_error(&source),
            }),
        _ => Ok(()),
    }
}

fn prepare(mut map: OpenMapMut<'_>, spec: &Spec<'_>) -> Result<()> {
    let name = map_name(map.name());
    libbpf::clear_pin_path(&mut map);
    let query = |doing: &str| {
        let doing = format!("{doing} map '{name}'");
        move |error: libbpf_rs::Error| Error::query(doing)(os_error(&error))
    };
    if !spec.maps.contains(&name) {
        return map.set_autocreate(false).map_err(query("leave out"));
    }
    if let Some(owner) = spec.shared.get(&name) {
        same_shape(&name, &map, owner.as_fd())?;
        return map.reuse_fd(owner.as_fd()).map_err(query("share"));
    }
    for value in spec.values.iter().filter(|value| value.section == name) {
        let end = value.offset + value.bytes.len();
        let place = map
            .initial_value_mut()
            .and_then(|data| data.get_mut(value.offset..end));
        place
            .ok_or_else(|| {
                Error::query(format!("set a global variable in {name}"))(
                    io::ErrorKind::InvalidInput.into(),
                )
            })?
            .copy_from_slice(&value.bytes);
    }
    Ok(())
}

/// Section name of a data map, plain name of any other.
fn map_name(name: &OsStr) -> String {
    let name = name.to_string_lossy();
    name.strip_prefix(OBJECT)
        .filter(|rest| rest.starts_with('.'))
        .unwrap_or(&name)
        .to_owned()
}

/// Flags that the kernel or libbpf adds by itself; they say nothing about the shape.
const IMPLIED_FLAGS: u32 = libbpf_sys::BPF_F_MMAPABLE;

fn same_shape(name: &str, wanted: &OpenMapMut<'_>, owner: BorrowedFd<'_>) -> Result<()> {
    let found = bpf::map_info(owner).map_err(Error::query(format!("ask about map '{name}'")))?;
    // The kernel and libbpf count entries of these by themselves when the object says 0.
    let entries = if wanted.max_entries() == 0 {
        found.max_entries
    } else {
        wanted.max_entries()
    };
    for (property, found, wanted) in [
        ("type", found.type_, wanted.map_type() as u32),
        ("key size", found.key_size, wanted.key_size()),
        ("value size", found.value_size, wanted.value_size()),
        ("max entries", found.max_entries, entries),
        (
            "flags",
            found.map_flags & !IMPLIED_FLAGS,
            wanted.map_flags() & !IMPLIED_FLAGS,
        ),
    ] {
        if found != wanted {
            let shown = |value: u32| match property {
                "type" => map_type_name(value),
                "flags" => format!("{value:#x}"),
                _ => value.to_string(),
            };
            return Err(Error::MapMismatch {
                map: name.to_owned(),
                property,
                found: shown(found),
                wanted: shown(wanted),
            });
        }
    }
    Ok(())
}

fn map_type_name(number: u32) -> String {
    format!("{:?}", libbpf_rs::MapType::from(number))
}

/// libbpf-rs gives the number of an error in words only, behind its own.
pub(crate) fn os_error(error: &libbpf_rs::Error) -> io::Error {
    let text = format!("{error:#}");
    let number = text
        .rsplit_once("(os error ")
        .and_then(|(_, rest)| rest.strip_suffix(')')?.parse().ok());
    number.map_or_else(|| io::Error::other(text), io::Error::from_raw_os_error)
}

thread_local! {
    /// What libbpf has said on this thread since the last [`Log::start`].
    static WORDS: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What libbpf and the verifier say during one load.
pub(crate) struct Log;

impl Log {
    /// Forgets earlier words and listens.
    pub(crate) fn start() -> Self {
        set_print(Some((PrintLevel::Info, |_, line| {
            WORDS.with_borrow_mut(|words| words.push_str(&line));
        })));
        WORDS.with_borrow_mut(String::clear);
        Self
    }

    fn last_line(&self) -> Option<String> {
        let _ = self;
        WORDS.with_borrow(|words| words.lines().last().map(|line| plain(line).to_owned()))
    }

    /// Tells a rejection of the verifier from a refusal of the kernel, and both from a function
    /// that is not there to be traced.
    pub(crate) fn explain(
        &self,
        program: &str,
        traced: Option<&str>,
        error: &libbpf_rs::Error,
    ) -> Error {
        let (program, source) = (program.to_owned(), os_error(error));
        let words = WORDS.with_borrow(Clone::clone);
        if let Some(function) = traced
            && words.contains("failed to find kernel BTF type ID")
        {
            return Error::NoFunction {
                function: function.to_owned(),
                source,
            };
        }
        match verifier_log(&words) {
            Some(log) => Error::Rejected {
                program,
                log,
                source,
            },
            None => Error::Refused {
                program,
                reason: self.cause(&words),
                source,
            },
        }
    }

    /// The first thing that libbpf complained about; the later lines follow from it.
    fn cause(&self, words: &str) -> Option<String> {
        let _ = self;
        let noise = [
            "BPF program load failed",
            "failed to load object",
            "-- BEGIN",
            "-- END",
        ];
        let mut lines = words.lines().map(plain);
        lines
            .find(|line| !line.is_empty() && !noise.iter().any(|n| line.contains(n)))
            .map(str::to_owned)
    }
}

fn plain(line: &str) -> &str {
    line.trim().trim_start_matches("libbpf: ")
}

/// The verifier's own words, where libbpf printed some.
fn verifier_log(words: &str) -> Option<String> {
    let (_, rest) = words.split_once("-- BEGIN PROG LOAD LOG --\n")?;
    let (log, _) = rest
        .split_once("-- END PROG LOAD LOG --")
        .unwrap_or((rest, ""));
    // A kernel that refuses the whole type leaves nothing, or a line of statistics.
    let said = log
        .lines()
        .any(|line| !line.trim().is_empty() && !line.starts_with("processed "));
    said.then(|| log.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_words_are_found() {
        let words = "libbpf: prog 'x': BPF program load failed: -EACCES\n\
            libbpf: prog 'x': -- BEGIN PROG LOAD LOG --\n0: (b7) r0 = 0\nR0 !read_ok\n\
            -- END PROG LOAD LOG --\nlibbpf: failed to load object\n";
        assert_eq!(verifier_log(words).unwrap(), "0: (b7) r0 = 0\nR0 !read_ok");
        assert_eq!(
            verifier_log("x\n-- BEGIN PROG LOAD LOG --\n-- END PROG LOAD LOG --\n"),
            None
        );
    }

    #[test]
    fn numbers_of_errors_are_kept() {
        let error = libbpf_rs::Error::from(io::Error::from_raw_os_error(libc::EINTR));
        assert_eq!(os_error(&error).raw_os_error(), Some(libc::EINTR));
    }

    #[test]
    fn data_maps_are_named_by_section() {
        assert_eq!(map_name(OsStr::new("bpfman.rodata")), ".rodata");
        assert_eq!(map_name(OsStr::new(".data.own")), ".data.own");
        assert_eq!(map_name(OsStr::new("bpfman_map")), "bpfman_map");
    }
}
