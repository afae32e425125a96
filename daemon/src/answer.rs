//! From what the manager answers to messages.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::SystemTime,
};

use chrono::{DateTime, Local};
use model::{
    Attach, BpfmanState, KernelState, Kind, ProceedOn, ProgramView, PullPolicy, Source,
    global_bytes,
};

use crate::proto::{
    self, AttachInfo, KernelProgramInfo, ProgramInfo, attach_info::Info,
    bytecode_location::Location, list_response::ListResult,
};

/// One program, with what bpfman knows of it where it is ours.
pub(crate) fn program(view: ProgramView) -> (Option<ProgramInfo>, Option<KernelProgramInfo>) {
    (view.bpfman.map(info), Some(kernel(view.kernel)))
}

/// Many programs.
pub(crate) fn list(views: Vec<ProgramView>) -> proto::ListResponse {
    let results = views.into_iter().map(|view| {
        let (info, kernel_info) = program(view);
        ListResult { info, kernel_info }
    });
    proto::ListResponse {
        results: results.collect(),
    }
}

fn info(state: BpfmanState) -> ProgramInfo {
    ProgramInfo {
        name: state.name,
        bytecode: Some(proto::BytecodeLocation {
            location: Some(location(state.source)),
        }),
        attach: Some(AttachInfo {
            info: Some(attach(state.attach, state.position)),
        }),
        global_data: globals(&state.globals),
        map_owner_id: state.map_owner_id.map(|id| id.0),
        map_pin_path: text(&state.map_pin_path),
        map_used_by: state.map_used_by.iter().map(ToString::to_string).collect(),
        metadata: state.metadata,
    }
}

fn location(source: Source) -> Location {
    match source {
        Source::File { path } => Location::File(text(&path)),
        Source::Image { url, pull_policy } => Location::Image(proto::BytecodeImage {
            url: url.to_string(),
            image_pull_policy: match pull_policy {
                PullPolicy::Always => 0,
                PullPolicy::IfNotPresent => 1,
                PullPolicy::Never => 2,
            },
            // Never stored.
            username: None,
            password: None,
        }),
    }
}

/// From the hex digits that the state keeps.
fn globals(globals: &BTreeMap<String, String>) -> BTreeMap<String, Vec<u8>> {
    let pairs = globals.iter();
    pairs
        .map(|(name, hex)| (name.clone(), global_bytes(hex)))
        .collect()
}

pub(crate) fn attach(attach: Attach, position: Option<usize>) -> Info {
    // The field cannot say that there is none.
    let position = position.and_then(|at| i32::try_from(at).ok()).unwrap_or(-1);
    let values = |kind: Kind, set: ProceedOn| set.values(kind).collect();
    let netns = |netns: Option<PathBuf>| netns.as_deref().map(text);
    match attach {
        Attach::Xdp { net, proceed_on } => Info::XdpAttachInfo(proto::XdpAttachInfo {
            priority: signed(net.priority),
            iface: net.iface,
            position,
            proceed_on: values(Kind::Xdp, proceed_on),
            netns: netns(net.netns),
        }),
        Attach::Tc {
            net,
            direction,
            proceed_on,
        } => Info::TcAttachInfo(proto::TcAttachInfo {
            priority: signed(net.priority),
            iface: net.iface,
            position,
            direction: direction.to_string(),
            proceed_on: values(Kind::Tc, proceed_on),
            netns: netns(net.netns),
        }),
        Attach::Tcx { net, direction } => Info::TcxAttachInfo(proto::TcxAttachInfo {
            priority: signed(net.priority),
            iface: net.iface,
            position,
            direction: direction.to_string(),
            netns: netns(net.netns),
        }),
        Attach::Tracepoint { tracepoint } => {
            Info::TracepointAttachInfo(proto::TracepointAttachInfo {
                tracepoint: tracepoint.to_string(),
            })
        }
        Attach::Kprobe {
            fn_name,
            offset,
            retprobe,
        } => Info::KprobeAttachInfo(proto::KprobeAttachInfo {
            fn_name,
            offset,
            retprobe,
            container_pid: None,
        }),
        Attach::Uprobe {
            target,
            fn_name,
            offset,
            retprobe,
            pid,
            container_pid,
        } => Info::UprobeAttachInfo(proto::UprobeAttachInfo {
            fn_name,
            offset,
            target,
            retprobe,
            pid: pid.map(signed),
            container_pid: container_pid.map(signed),
        }),
        Attach::Fentry { fn_name } => Info::FentryAttachInfo(proto::FentryAttachInfo { fn_name }),
        Attach::Fexit { fn_name } => Info::FexitAttachInfo(proto::FexitAttachInfo { fn_name }),
    }
}

fn kernel(state: KernelState) -> KernelProgramInfo {
    KernelProgramInfo {
        id: state.id.0,
        name: state.name,
        program_type: state.kind.number(),
        loaded_at: local(state.loaded_at),
        tag: format!("{:016x}", u64::from_be_bytes(state.tag)),
        gpl_compatible: state.gpl_compatible,
        map_ids: state.map_ids.iter().map(|id| id.0).collect(),
        btf_id: state.btf_id,
        bytes_xlated: state.bytes_xlated,
        jited: state.jited,
        bytes_jited: state.bytes_jited,
        bytes_memlock: state.bytes_memlock,
        verified_insns: state.verified_insns,
    }
}

/// As the tables of the command line show it.
fn local(time: SystemTime) -> String {
    let time = DateTime::<Local>::from(time);
    time.format("%Y-%m-%dT%H:%M:%S%z").to_string()
}

fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A path as text; what is not UTF-8 in it is replaced.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
