//! In what a loaded program differs from its manifest.

use std::{collections::BTreeMap, fmt::Display};

use model::{Attach, NetAttach, Record, Source, hex_globals};

use super::{Difference, Wish};
use crate::identity::{is_reserved, labels};

/// So many digits tell objects apart for people.
const DIGEST_SHOWN: usize = 12;

/// What a load in place of the loaded program would change, its maps aside.
pub(super) fn differences(wish: &Wish, record: &Record) -> Vec<Difference> {
    let desired = &wish.desired;
    let mut all = Vec::new();
    let same_object = wish
        .digest
        .as_deref()
        .is_some_and(|digest| digest == record.digest);
    match &wish.digest {
        Some(digest) if !same_object => {
            let short = |digest: &str| digest.chars().take(DIGEST_SHOWN).collect::<String>();
            all.extend(difference("bytecode", short(&record.digest), short(digest)));
        }
        // The same object by another name is the same object.
        None if !same_source(&desired.source, &record.source) => {
            all.extend(difference("bytecode", &record.source, &desired.source));
        }
        _ => {}
    }
    if let Some(function) = &desired.function {
        all.extend(difference("bpffunctionname", &record.name, function));
    }
    let globals = hex_globals(&desired.globals);
    all.extend(maps_differ("globaldata", &record.globals, &globals));
    attachments(&record.attach, &desired.attach, &mut all);
    all
}

/// What differs in what is only written down about the program.
pub(super) fn notes(wish: &Wish, record: &Record) -> Vec<Difference> {
    let desired = &wish.desired;
    let wanted = desired.metadata();
    let mut all = Vec::new();
    all.extend(maps_differ(
        "labels",
        &labels(&record.metadata),
        &desired.labels,
    ));
    let reserved = |metadata: &BTreeMap<String, String>| {
        let own = metadata.iter().filter(|(key, _)| is_reserved(key));
        own.map(|(key, value)| (key.clone(), value.clone()))
            .collect::<BTreeMap<_, _>>()
    };
    all.extend(maps_differ(
        "manifest",
        &reserved(&record.metadata),
        &reserved(&wanted),
    ));
    if record.source != desired.source {
        all.extend(difference(
            "source",
            source(&record.source),
            source(&desired.source),
        ));
    }
    all
}

fn source(source: &Source) -> String {
    match source {
        Source::File { .. } => source.to_string(),
        Source::Image { url, pull_policy } => format!("{url} ({pull_policy})"),
    }
}

/// The same file or image. When a registry is asked for it is another matter.
pub(super) fn same_source(one: &Source, other: &Source) -> bool {
    match (one, other) {
        (Source::File { path: one }, Source::File { path: other }) => one == other,
        (Source::Image { url: one, .. }, Source::Image { url: other, .. }) => one == other,
        _ => false,
    }
}

fn difference(field: &str, from: impl Display, to: impl Display) -> Option<Difference> {
    let (from, to) = (from.to_string(), to.to_string());
    (from != to).then(|| Difference {
        field: field.to_owned(),
        from,
        to,
    })
}

/// One difference for each key.
fn maps_differ(
    field: &str,
    from: &BTreeMap<String, String>,
    to: &BTreeMap<String, String>,
) -> Vec<Difference> {
    let mut keys: Vec<_> = from.keys().chain(to.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let value = |map: &BTreeMap<String, String>, key| map.get(key).map_or("none", |v| v).to_owned();
    keys.into_iter()
        .filter(|key| from.get(*key) != to.get(*key))
        .filter_map(|key| difference(&format!("{field}.{key}"), value(from, key), value(to, key)))
        .collect()
}

fn attachments(from: &Attach, to: &Attach, all: &mut Vec<Difference>) {
    let before = all.len();
    if let (Some(from), Some(to)) = (from.net(), to.net()) {
        net(from, to, all);
    }
    let words = |attach: &Attach| {
        let set = attach.proceed_on();
        let words = set.map(|set| set.actions(attach.kind()).collect::<Vec<_>>().join(","));
        words.unwrap_or_default()
    };
    all.extend(difference("proceedon", words(from), words(to)));
    let side = |attach: &Attach| {
        attach
            .direction()
            .map(|d| d.to_string())
            .unwrap_or_default()
    };
    all.extend(difference("direction", side(from), side(to)));
    if all.len() == before && from != to {
        all.extend(difference("attach", place(from), place(to)));
    }
}

fn net(from: &NetAttach, to: &NetAttach, all: &mut Vec<Difference>) {
    let netns = |net: &NetAttach| {
        let path = net.netns.as_ref();
        path.map_or("none".to_owned(), |path| path.display().to_string())
    };
    all.extend(difference("interface", &from.iface, &to.iface));
    all.extend(difference("netns", netns(from), netns(to)));
    all.extend(difference("priority", from.priority, to.priority));
}

/// Words for what has no interface.
fn place(attach: &Attach) -> String {
    match attach {
        Attach::Tracepoint { tracepoint } => tracepoint.to_string(),
        Attach::Kprobe {
            fn_name,
            offset,
            retprobe,
        } => format!("{fn_name}+{offset}{}", at_return(*retprobe)),
        Attach::Uprobe {
            target,
            fn_name,
            offset,
            retprobe,
            pid,
            container_pid,
        } => {
            let function = fn_name.as_deref().unwrap_or_default();
            let number = |name, pid: &Option<u32>| {
                pid.map(|pid| format!(" {name} {pid}")).unwrap_or_default()
            };
            format!(
                "{target}:{function}+{offset}{}{}{}",
                at_return(*retprobe),
                number("pid", pid),
                number("containerpid", container_pid)
            )
        }
        Attach::Fentry { fn_name } | Attach::Fexit { fn_name } => fn_name.clone(),
        Attach::Xdp { .. } | Attach::Tc { .. } | Attach::Tcx { .. } => String::new(),
    }
}

const fn at_return(retprobe: bool) -> &'static str {
    if retprobe { " at return" } else { "" }
}
