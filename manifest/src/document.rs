//! A manifest as it is written. Every value knows its line and column.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use crate::selector::LabelSelector;

/// One document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file that it is in.
    pub(crate) file: String,
    /// The set of files that was read with it.
    pub(crate) set: String,
    /// Folder from which relative paths start.
    pub(crate) folder: std::path::PathBuf,
    pub(crate) written: Written,
}

impl Document {
    /// Its kind and name.
    pub fn name(&self) -> Option<(model::Kind, String)> {
        let kind = crate::expand::kind_of(self)?;
        Some((kind, self.written.metadata.name.value.clone()))
    }

    /// Where it names itself.
    pub(crate) fn location(&self) -> Location {
        self.written.metadata.name.referenced
    }
}

/// The document itself. Which fields of `spec` a kind takes is checked later, so that the message
/// can say so.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Written {
    pub(crate) api_version: Spanned<String>,
    pub(crate) kind: Spanned<String>,
    pub(crate) metadata: Metadata,
    pub(crate) spec: Spanned<Spec>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metadata {
    pub(crate) name: Spanned<String>,
    pub(crate) labels: Option<Spanned<BTreeMap<String, String>>>,
    /// Notes of other tools, which are theirs.
    #[serde(default, rename = "annotations")]
    pub(crate) _annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spec {
    pub(crate) bpffunctionname: Option<Spanned<String>>,
    #[serde(rename = "bpfProgram")]
    pub(crate) bpf_program: Option<Spanned<BpfProgram>>,
    pub(crate) bytecode: Option<Spanned<Bytecode>>,
    pub(crate) globaldata: Option<Spanned<BTreeMap<String, Spanned<String>>>>,
    pub(crate) mapownerselector: Option<Spanned<LabelSelector>>,
    pub(crate) nodeselector: Option<Spanned<LabelSelector>>,
    pub(crate) interfaceselector: Option<Spanned<InterfaceSelector>>,
    pub(crate) netns: Option<Spanned<String>>,
    pub(crate) priority: Option<Spanned<u32>>,
    pub(crate) proceedon: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) direction: Option<Spanned<String>>,
    pub(crate) names: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) func_name: Option<Spanned<String>>,
    pub(crate) offset: Option<Spanned<u64>>,
    pub(crate) retprobe: Option<Spanned<bool>>,
    pub(crate) target: Option<Spanned<String>>,
    pub(crate) pid: Option<Spanned<u32>>,
    pub(crate) containerpid: Option<Spanned<u32>>,
    pub(crate) containers: Option<Spanned<Containers>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BpfProgram {
    pub(crate) image: Spanned<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bytecode {
    pub(crate) image: Option<Spanned<Image>>,
    pub(crate) path: Option<Spanned<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Image {
    pub(crate) url: Spanned<String>,
    pub(crate) imagepullpolicy: Option<Spanned<String>>,
    pub(crate) imagepullsecret: Option<Spanned<PullSecret>>,
}

/// A Secret of a cluster. Read to be refused with a reason.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PullSecret {
    #[serde(rename = "name")]
    _name: String,
    #[serde(default, rename = "namespace")]
    _namespace: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InterfaceSelector {
    #[serde(default)]
    pub(crate) interfaces: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) primarynodeinterface: bool,
}

/// Pods of a cluster. Read to be refused with a reason.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Containers {
    #[serde(default, rename = "namespace")]
    _namespace: Option<String>,
    #[serde(default, rename = "pods")]
    _pods: Option<LabelSelector>,
    #[serde(default, rename = "containernames")]
    _containernames: Vec<String>,
}

impl Spec {
    /// The fields that are there, with their places.
    pub(crate) fn present(&self) -> Vec<(&'static str, Location)> {
        fn place<T>(value: Option<&Spanned<T>>) -> Option<Location> {
            value.map(|value| value.referenced)
        }
        [
            ("bpffunctionname", place(self.bpffunctionname.as_ref())),
            ("bpfProgram", place(self.bpf_program.as_ref())),
            ("bytecode", place(self.bytecode.as_ref())),
            ("globaldata", place(self.globaldata.as_ref())),
            ("mapownerselector", place(self.mapownerselector.as_ref())),
            ("nodeselector", place(self.nodeselector.as_ref())),
            ("interfaceselector", place(self.interfaceselector.as_ref())),
            ("netns", place(self.netns.as_ref())),
            ("priority", place(self.priority.as_ref())),
            ("proceedon", place(self.proceedon.as_ref())),
            ("direction", place(self.direction.as_ref())),
            ("names", place(self.names.as_ref())),
            ("func_name", place(self.func_name.as_ref())),
            ("offset", place(self.offset.as_ref())),
            ("retprobe", place(self.retprobe.as_ref())),
            ("target", place(self.target.as_ref())),
            ("pid", place(self.pid.as_ref())),
            ("containerpid", place(self.containerpid.as_ref())),
            ("containers", place(self.containers.as_ref())),
        ]
        .into_iter()
        .filter_map(|(name, location)| Some((name, location?)))
        .collect()
    }
}
