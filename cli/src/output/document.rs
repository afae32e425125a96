//! Results for programs. docs/json.md describes these fields; they are a promise, so they are
//! written out here and do not follow the types of the libraries.

use std::{collections::BTreeMap, path::Path};

use model::{Attach, BpfmanState, Holder, KernelState, NetAttach, ProgramView, Source, Summary};
use serde::Serialize;

use super::{table::tag, time};

/// One program in full.
#[derive(Serialize)]
pub(super) struct Program<'a> {
    bpfman: Option<Bpfman<'a>>,
    kernel: Kernel<'a>,
}

/// One program of a list.
#[derive(Serialize)]
pub(super) struct Listed<'a> {
    id: u32,
    name: &'a str,
    r#type: String,
    loaded_at: Option<String>,
    managed: bool,
    metadata: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Bpfman<'a> {
    name: &'a str,
    source: Origin<'a>,
    globals: &'a BTreeMap<String, String>,
    metadata: &'a BTreeMap<String, String>,
    map_pin_path: String,
    map_owner_id: Option<u32>,
    map_used_by: Vec<u32>,
    attach: Attached<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Origin<'a> {
    File {
        path: String,
    },
    Image {
        url: String,
        pull_policy: &'static str,
        from: Option<&'static str>,
        digest: Option<String>,
        runtime: Option<Runtime<'a>>,
    },
}

/// A container runtime that has an image.
#[derive(Serialize)]
pub(super) struct Runtime<'a> {
    name: &'static str,
    at: String,
    user: Option<&'a str>,
    namespace: Option<&'a str>,
}

impl<'a> From<&'a Holder> for Runtime<'a> {
    fn from(holder: &'a Holder) -> Self {
        Self {
            name: holder.runtime.name(),
            at: text(&holder.at),
            user: holder.user.as_deref(),
            namespace: holder.namespace.as_deref(),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Attached<'a> {
    Xdp {
        iface: &'a str,
        netns: Option<String>,
        priority: u32,
        position: Option<usize>,
        proceed_on: Vec<&'static str>,
    },
    Tc {
        iface: &'a str,
        netns: Option<String>,
        direction: &'static str,
        priority: u32,
        position: Option<usize>,
        proceed_on: Vec<&'static str>,
    },
    Tcx {
        iface: &'a str,
        netns: Option<String>,
        direction: &'static str,
        priority: u32,
        position: Option<usize>,
    },
    Tracepoint {
        tracepoint: String,
    },
    Kprobe {
        function: &'a str,
        offset: u64,
        retprobe: bool,
    },
    Uprobe {
        target: &'a str,
        function: Option<&'a str>,
        offset: u64,
        retprobe: bool,
        pid: Option<u32>,
        container_pid: Option<u32>,
    },
    Fentry {
        function: &'a str,
    },
    Fexit {
        function: &'a str,
    },
}

#[derive(Serialize)]
struct Kernel<'a> {
    id: u32,
    name: &'a str,
    r#type: String,
    loaded_at: Option<String>,
    tag: String,
    gpl_compatible: bool,
    map_ids: Vec<u32>,
    btf_id: u32,
    size_translated_bytes: u32,
    jited: bool,
    size_jited_bytes: u32,
    allocated_memory_bytes: u32,
    verified_instruction_count: u32,
}

impl<'a> From<&'a ProgramView> for Program<'a> {
    fn from(view: &'a ProgramView) -> Self {
        Self {
            bpfman: view.bpfman.as_ref().map(bpfman),
            kernel: kernel(&view.kernel),
        }
    }
}

impl<'a> From<&'a Summary> for Listed<'a> {
    fn from(program: &'a Summary) -> Self {
        Self {
            id: program.id.0,
            name: &program.name,
            r#type: program.kind.to_string(),
            loaded_at: time::universal(program.loaded_at),
            managed: program.managed,
            metadata: &program.metadata,
        }
    }
}

fn bpfman(state: &BpfmanState) -> Bpfman<'_> {
    let provenance = state.provenance.as_ref();
    Bpfman {
        name: &state.name,
        source: match &state.source {
            Source::File { path } => Origin::File { path: text(path) },
            Source::Image { url, pull_policy } => Origin::Image {
                url: url.to_string(),
                pull_policy: pull_policy.name(),
                from: provenance.map(|found| found.from.name()),
                digest: provenance.map(|found| found.digest.to_string()),
                runtime: provenance.and_then(|found| found.holder.as_ref().map(Runtime::from)),
            },
        },
        globals: &state.globals,
        metadata: &state.metadata,
        map_pin_path: text(&state.map_pin_path),
        map_owner_id: state.map_owner_id.map(|id| id.0),
        map_used_by: state.map_used_by.iter().map(|id| id.0).collect(),
        attach: attached(&state.attach, state.position),
    }
}

fn attached(attach: &Attach, position: Option<usize>) -> Attached<'_> {
    let kind = attach.kind();
    let netns = |net: &NetAttach| net.netns.as_deref().map(text);
    match attach {
        Attach::Xdp { net, proceed_on } => Attached::Xdp {
            iface: &net.iface,
            netns: netns(net),
            priority: net.priority,
            position,
            proceed_on: proceed_on.actions(kind).collect(),
        },
        Attach::Tc {
            net,
            direction,
            proceed_on,
        } => Attached::Tc {
            iface: &net.iface,
            netns: netns(net),
            direction: direction.name(),
            priority: net.priority,
            position,
            proceed_on: proceed_on.actions(kind).collect(),
        },
        Attach::Tcx { net, direction } => Attached::Tcx {
            iface: &net.iface,
            netns: netns(net),
            direction: direction.name(),
            priority: net.priority,
            position,
        },
        Attach::Tracepoint { tracepoint } => Attached::Tracepoint {
            tracepoint: tracepoint.to_string(),
        },
        Attach::Kprobe {
            fn_name,
            offset,
            retprobe,
        } => Attached::Kprobe {
            function: fn_name,
            offset: *offset,
            retprobe: *retprobe,
        },
        Attach::Uprobe {
            target,
            fn_name,
            offset,
            retprobe,
            pid,
            container_pid,
        } => Attached::Uprobe {
            target,
            function: fn_name.as_deref(),
            offset: *offset,
            retprobe: *retprobe,
            pid: *pid,
            container_pid: *container_pid,
        },
        Attach::Fentry { fn_name } => Attached::Fentry { function: fn_name },
        Attach::Fexit { fn_name } => Attached::Fexit { function: fn_name },
    }
}

fn kernel(state: &KernelState) -> Kernel<'_> {
    Kernel {
        id: state.id.0,
        name: &state.name,
        r#type: state.kind.to_string(),
        loaded_at: time::universal(state.loaded_at),
        tag: tag(state.tag),
        gpl_compatible: state.gpl_compatible,
        map_ids: state.map_ids.iter().map(|id| id.0).collect(),
        btf_id: state.btf_id,
        size_translated_bytes: state.bytes_xlated,
        jited: state.jited,
        size_jited_bytes: state.bytes_jited,
        allocated_memory_bytes: state.bytes_memlock,
        verified_instruction_count: state.verified_insns,
    }
}

/// A path as text; what is not UTF-8 in it is replaced.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
