//! What is loaded, as manifests.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use model::{Attach, NetAttach, ProgramId, Record, Source, global_bytes};
use serde::Serialize;

use crate::{
    Of, Selector,
    identity::{kind_name, labels},
    selector::LabelSelector,
};

/// The label by which an exported program finds the owner of its maps, where no manifest said how.
const MAPS: &str = "bpfman.io/maps";

#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Clone, PartialEq, Serialize)]
struct Metadata {
    name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

#[derive(Clone, Default, PartialEq, Serialize)]
struct Spec {
    bytecode: Bytecode,
    bpffunctionname: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    globaldata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mapownerselector: Option<LabelSelector>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interfaceselector: Option<Interfaces>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proceedon: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    func_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retprobe: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    containerpid: Option<u32>,
}

#[derive(Clone, Default, PartialEq, Serialize)]
struct Bytecode {
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Image>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

#[derive(Clone, PartialEq, Serialize)]
struct Image {
    url: String,
    imagepullpolicy: &'static str,
}

#[derive(Clone, Default, PartialEq, Serialize)]
struct Interfaces {
    interfaces: Vec<String>,
}

/// The documents of all programs, as YAML. Programs that one manifest stands for are one document
/// again.
pub fn export(records: &[Record]) -> Result<String, serde_saphyr::ser_error::Error> {
    let owners: BTreeMap<ProgramId, String> = shared(records);
    let mut documents: Vec<Document> = Vec::new();
    for record in records {
        let document = document(record, &owners);
        match documents.iter_mut().find(|other| joins(other, &document)) {
            Some(other) => join(other, document),
            None => documents.push(document),
        }
    }
    name_apart(&mut documents);
    let mut text = String::new();
    for (at, document) in documents.iter().enumerate() {
        if at > 0 {
            text.push_str("---\n");
        }
        text.push_str(&serde_saphyr::to_string(document)?);
    }
    Ok(text)
}

/// The owners of maps that others share without a selector, and the value of their label.
fn shared(records: &[Record]) -> BTreeMap<ProgramId, String> {
    let sharers = records.iter().filter(|record| record.map_owner.is_some());
    let bare = sharers.filter(|record| Of::record(record).is_none_or(|of| of.map_owner.is_none()));
    bare.map(|record| (record.maps, format!("of-{}", record.maps)))
        .collect()
}

fn document(record: &Record, owners: &BTreeMap<ProgramId, String>) -> Document {
    let of = Of::record(record);
    let mut labels = labels(&record.metadata);
    let selector = match (&of, record.map_owner) {
        (
            Some(Of {
                map_owner: Some(line),
                ..
            }),
            _,
        ) => Selector::from_line(line),
        (_, Some(_)) => owners
            .get(&record.maps)
            .map(|value| Selector::of(MAPS, value)),
        _ => None,
    };
    if record.map_owner.is_none()
        && let Some(value) = owners.get(&record.id)
    {
        labels.insert(MAPS.to_owned(), value.clone());
    }
    Document {
        api_version: "bpfman.io/v1alpha1",
        kind: kind_name(record.attach.kind()),
        metadata: Metadata {
            name: of.map_or_else(|| invented(record), |of| of.identity.name),
            labels,
        },
        spec: spec(record, selector),
    }
}

fn spec(record: &Record, selector: Option<Selector>) -> Spec {
    let mut spec = Spec {
        bytecode: match &record.source {
            Source::File { path } => Bytecode {
                image: None,
                path: Some(path.to_string_lossy().into_owned()),
            },
            Source::Image { url, pull_policy } => Bytecode {
                image: Some(Image {
                    url: url.to_string(),
                    imagepullpolicy: pull_policy.name(),
                }),
                path: None,
            },
        },
        bpffunctionname: record.name.clone(),
        globaldata: record
            .globals
            .iter()
            .map(|(name, hex)| (name.clone(), STANDARD.encode(global_bytes(hex))))
            .collect(),
        mapownerselector: selector.map(|selector| selector.0),
        ..Spec::default()
    };
    if let Some(net) = record.attach.net() {
        on_interface(&mut spec, net, &record.attach);
    }
    match &record.attach {
        Attach::Tracepoint { tracepoint } => spec.names = Some(vec![tracepoint.to_string()]),
        Attach::Kprobe {
            fn_name,
            offset,
            retprobe,
        } => {
            spec.func_name = Some(fn_name.clone());
            spec.offset = (*offset != 0).then_some(*offset);
            spec.retprobe = retprobe.then_some(true);
        }
        Attach::Uprobe {
            target,
            fn_name,
            offset,
            retprobe,
            pid,
            container_pid,
        } => {
            spec.target = Some(target.clone());
            spec.func_name.clone_from(fn_name);
            spec.offset = (*offset != 0).then_some(*offset);
            spec.retprobe = retprobe.then_some(true);
            spec.pid = *pid;
            spec.containerpid = *container_pid;
        }
        Attach::Fentry { fn_name } | Attach::Fexit { fn_name } => {
            spec.func_name = Some(fn_name.clone());
        }
        Attach::Xdp { .. } | Attach::Tc { .. } | Attach::Tcx { .. } => {}
    }
    spec
}

fn on_interface(spec: &mut Spec, net: &NetAttach, attach: &Attach) {
    spec.interfaceselector = Some(Interfaces {
        interfaces: vec![net.iface.clone()],
    });
    let netns = net.netns.as_ref();
    spec.netns = netns.map(|path| path.to_string_lossy().into_owned());
    spec.priority = Some(net.priority);
    spec.direction = attach.direction().map(model::Direction::name);
    let words = attach.proceed_on();
    spec.proceedon = words.map(|set| set.actions(attach.kind()).collect());
}

/// The same but for the interface or the event, from the same manifest.
fn joins(one: &Document, other: &Document) -> bool {
    let bare = |document: &Document| {
        let mut document = document.clone();
        document.spec.interfaceselector = None;
        document.spec.names = None;
        document
    };
    let several = one.spec.interfaceselector.is_some() || one.spec.names.is_some();
    several && bare(one) == bare(other)
}

fn join(one: &mut Document, other: Document) {
    if let (Some(one), Some(other)) = (
        &mut one.spec.interfaceselector,
        other.spec.interfaceselector,
    ) {
        one.interfaces.extend(other.interfaces);
    }
    if let (Some(one), Some(other)) = (&mut one.spec.names, other.spec.names) {
        one.extend(other);
    }
}

/// A name for a program that no manifest speaks of.
fn invented(record: &Record) -> String {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let lower = record.name.to_ascii_lowercase();
    let name: String = lower
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .collect();
    let name = name.trim_matches('-');
    let name = if name.is_empty() { "program" } else { name };
    format!("{name}-{}", record.id)
}

/// Programs of one manifest that differ in more than their interface need a name each.
fn name_apart(documents: &mut [Document]) {
    let mut seen = BTreeSet::new();
    for document in documents {
        let first = document.metadata.name.clone();
        for number in 2.. {
            let key = (document.kind, document.metadata.name.clone());
            if seen.insert(key) {
                break;
            }
            document.metadata.name = format!("{first}-{number}");
        }
    }
}
