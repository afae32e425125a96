//! Tables for people, laid out as the guide shows them.
//!
//! The guide's layout (a leading blank, a dashed line as wide as the labels, values that go on in
//! the next line below each other) is none that a table library has; this is all there is to it.

use std::{fmt::Display, iter};

use chrono::TimeZone;
use model::{
    Attach, BpfmanState, ImageOrigin, KernelState, ProgramView, Provenance, Source, Summary,
};

use super::{lines, time};

/// A label and its value, which goes on in further lines below itself.
pub(super) type Row = (&'static str, Vec<String>);

pub(super) fn row(label: &'static str, value: &impl ToString) -> Row {
    (label, vec![value.to_string()])
}

/// The value, or `None`.
pub(super) fn optional(label: &'static str, value: Option<impl ToString>) -> Row {
    row(
        label,
        &value.map_or_else(|| "None".into(), |value| value.to_string()),
    )
}

/// One line for each value, or `None`.
pub(super) fn each(label: &'static str, values: impl IntoIterator<Item = String>) -> Row {
    let values: Vec<String> = values.into_iter().collect();
    if values.is_empty() {
        row(label, &"None")
    } else {
        (label, values)
    }
}

/// One program in full.
pub(super) fn program(view: &ProgramView, zone: &impl TimeZone<Offset: Display>) -> String {
    let bpfman = match &view.bpfman {
        Some(state) => section("Bpfman State", &bpfman_rows(state)),
        None => format!("{}NONE\n", section("Bpfman State", &[])),
    };
    let kernel = section("Kernel State", &kernel_rows(&view.kernel, zone));
    format!("{bpfman}\n{kernel}")
}

/// A title, a dashed line and rows with their values below each other.
pub(super) fn section(title: &str, rows: &[Row]) -> String {
    const NARROWEST: usize = "Map Pin Path:  ".len();
    let widest = rows
        .iter()
        .map(|(label, _)| label.len() + ":  ".len())
        .max();
    let width = widest.unwrap_or_default().max(NARROWEST);
    let mut text = format!(" {title}\n{}\n", "-".repeat(width));
    for (label, values) in rows {
        let labels = iter::once(format!("{label}:")).chain(iter::repeat(String::new()));
        for (label, value) in labels.zip(values) {
            text += format!(" {label:width$}{}", printable(value)).trim_end();
            text.push('\n');
        }
    }
    text
}

fn bpfman_rows(state: &BpfmanState) -> Vec<Row> {
    let pairs = |pairs: &std::collections::BTreeMap<String, String>| {
        pairs
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
    };
    let mut rows = vec![row("Name", &state.name)];
    match &state.source {
        Source::File { path } => rows.push(row("Path", &path.display())),
        Source::Image { url, pull_policy } => {
            rows.extend([row("Image URL", url), row("Pull Policy", pull_policy)]);
            if let Some(found) = &state.provenance {
                rows.extend([
                    row("Image From", &from(found)),
                    row("Image Digest", &found.digest),
                ]);
            }
        }
    }
    rows.extend([
        each("Global", pairs(&state.globals)),
        each("Metadata", pairs(&state.metadata)),
        row("Map Pin Path", &state.map_pin_path.display()),
        optional("Map Owner ID", state.map_owner_id),
        each(
            "Map Used By",
            state.map_used_by.iter().map(ToString::to_string),
        ),
    ]);
    rows.extend(attach_rows(&state.attach, state.position));
    rows
}

/// Where an image was found, in words.
pub(super) fn from(found: &Provenance) -> String {
    match (&found.holder, found.from) {
        (Some(holder), ImageOrigin::Store) => format!("store, the same as in {holder}"),
        (Some(holder), _) => holder.to_string(),
        (None, from) => from.name().to_owned(),
    }
}

/// Where a program is attached. The type is a row where several share one type of the kernel.
fn attach_rows(attach: &Attach, position: Option<usize>) -> Vec<Row> {
    let kind = attach.kind();
    let attach_type = row("Attach Type", &kind);
    match attach {
        Attach::Xdp { net, .. } | Attach::Tc { net, .. } | Attach::Tcx { net, .. } => {
            let mut rows = vec![
                row("Priority", &net.priority),
                row("Iface", &net.iface),
                optional("Position", position),
            ];
            rows.extend(
                attach
                    .direction()
                    .map(|direction| row("Direction", &direction)),
            );
            rows.extend(
                attach
                    .proceed_on()
                    .map(|set| row("Proceed On", &set.display(kind))),
            );
            rows.extend(
                net.netns
                    .as_ref()
                    .map(|netns| row("Netns", &netns.display())),
            );
            if matches!(attach, Attach::Tcx { .. }) {
                rows.push(attach_type);
            }
            rows
        }
        Attach::Tracepoint { tracepoint } => vec![row("Tracepoint", tracepoint)],
        Attach::Kprobe {
            fn_name,
            offset,
            retprobe,
        } => vec![
            attach_type,
            row("Function", fn_name),
            row("Offset", offset),
            row("Retprobe", retprobe),
        ],
        Attach::Uprobe {
            target,
            fn_name,
            offset,
            retprobe,
            pid,
            container_pid,
        } => vec![
            attach_type,
            row("Target", target),
            optional("Function", fn_name.as_ref()),
            row("Offset", offset),
            row("Retprobe", retprobe),
            optional("Pid", *pid),
            optional("Container Pid", *container_pid),
        ],
        Attach::Fentry { fn_name } | Attach::Fexit { fn_name } => {
            vec![attach_type, row("Function", fn_name)]
        }
    }
}

fn kernel_rows(state: &KernelState, zone: &impl TimeZone<Offset: Display>) -> Vec<Row> {
    let maps: Vec<String> = state.map_ids.iter().map(ToString::to_string).collect();
    vec![
        row("Program ID", &state.id),
        optional("Name", Some(&state.name).filter(|name| !name.is_empty())),
        row("Type", &state.kind),
        row("Loaded At", &time::local(state.loaded_at, zone)),
        row("Tag", &tag(state.tag)),
        row("GPL Compatible", &state.gpl_compatible),
        row("Map IDs", &format!("[{}]", maps.join(", "))),
        row("BTF ID", &state.btf_id),
        row("Size Translated (bytes)", &state.bytes_xlated),
        row("JITed", &state.jited),
        row("Size JITed (bytes)", &state.bytes_jited),
        row("Kernel Allocated Memory (bytes)", &state.bytes_memlock),
        row("Verified Instruction Count", &state.verified_insns),
    ]
}

/// The 16 hex digits of a program's tag.
pub(super) fn tag(tag: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(tag))
}

/// Many programs, one a line.
pub(super) fn list(programs: &[Summary], zone: &impl TimeZone<Offset: Display>) -> String {
    let header = ["Program ID", "Name", "Type", "Load Time"].map(str::to_owned);
    let rows: Vec<[String; 4]> = iter::once(header)
        .chain(programs.iter().map(|program| {
            [
                program.id.to_string(),
                printable(&program.name),
                program.kind.to_string(),
                time::local(program.loaded_at, zone),
            ]
        }))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let [id, name, kind] = [0, 1, 2].map(|column| width(column).unwrap_or_default());
    lines(
        rows.iter()
            .map(|[a, b, c, d]| format!(" {a:id$}  {b:name$}  {c:kind$}  {d}")),
    )
}

/// Text of others with its control characters written out, so that none reaches the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = (!c.is_control()).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}
