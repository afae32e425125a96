//! Labels of bytecode images: what is in the object, without opening it.

use std::collections::{BTreeMap, HashMap};

use model::{Kind, Section};
use serde::Deserialize;

use super::ImageError;
use crate::{Error, Inventory, Object, build};

/// Programs and their types, as JSON.
pub const PROGRAMS: &str = "io.ebpf.programs";
/// Maps and their types, as JSON.
pub const MAPS: &str = "io.ebpf.maps";
/// Function of the one program; older images.
const FUNCTION: &str = "io.ebpf.bpf_function_name";
/// Name of the one program; older images.
const NAME: &str = "io.ebpf.program_name";
/// Type of the one program; older images.
const TYPE: &str = "io.ebpf.program_type";
/// The object's file in the layer; older images.
const FILE: &str = "io.ebpf.filename";

/// What the labels of an image say. All of it is a claim until [`Labels::check`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Functions and their types.
    pub programs: BTreeMap<String, String>,
    /// Maps and their types.
    pub maps: BTreeMap<String, String>,
    /// The object's file in the layer.
    pub file: Option<String>,
}

/// The part of an image's configuration that is read here. What else it holds is of no use for
/// bytecode, and often missing.
#[derive(Deserialize)]
pub(crate) struct ImageConfig {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    config: Option<RunConfig>,
    #[serde(default)]
    rootfs: Option<RootFs>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

#[derive(Deserialize)]
struct RunConfig {
    #[serde(default, rename = "Labels")]
    labels: Option<HashMap<String, String>>,
}

impl ImageConfig {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        serde_json::from_slice(bytes).map_err(|source| ImageError::Document {
            what: "configuration",
            source,
        })
    }

    /// Digests of the layers as they are unpacked.
    pub(crate) fn layers(&self) -> &[String] {
        self.rootfs.as_ref().map_or(&[], |rootfs| &rootfs.diff_ids)
    }

    /// The labels as they are.
    pub(crate) fn raw_labels(&self) -> Option<&HashMap<String, String>> {
        self.config.as_ref()?.labels.as_ref()
    }

    pub(crate) fn labels(&self) -> Result<Labels, ImageError> {
        self.raw_labels()
            .map_or_else(|| Ok(Labels::default()), Labels::read)
    }
}

/// Whether labels say of an image that it holds bytecode.
pub(crate) fn are_of_bytecode(labels: &HashMap<String, String>) -> bool {
    [PROGRAMS, MAPS, FUNCTION, NAME, TYPE, FILE]
        .iter()
        .any(|label| labels.contains_key(*label))
}

impl Labels {
    pub(crate) fn read(labels: &HashMap<String, String>) -> Result<Self, ImageError> {
        let table = |label: &'static str| {
            let Some(text) = labels.get(label).filter(|text| !text.is_empty()) else {
                return Ok(BTreeMap::new());
            };
            serde_json::from_str(text).map_err(|source| ImageError::Label { label, source })
        };
        let mut programs: BTreeMap<String, String> = table(PROGRAMS)?;
        if !labels.contains_key(PROGRAMS)
            && let Some(kind) = labels.get(TYPE)
            && let Some(function) = labels.get(FUNCTION).or_else(|| labels.get(NAME))
        {
            programs.insert(function.clone(), kind.clone());
        }
        Ok(Self {
            programs,
            maps: table(MAPS)?,
            file: labels.get(FILE).filter(|name| !name.is_empty()).cloned(),
        })
    }

    /// Where labels say nothing: what they would say of these bytes.
    pub(crate) fn inferred(bytes: &[u8]) -> Result<Self, Error> {
        let labels = build::Labels::of(&Inventory::read(bytes)?);
        let programs = labels.programs.into_iter();
        Ok(Self {
            programs: programs
                .map(|(name, kind)| (name, kind.to_owned()))
                .collect(),
            maps: labels.maps,
            file: None,
        })
    }

    /// Compares the programs with those of the object.
    pub(crate) fn check(&self, object: &Object) -> Result<(), ImageError> {
        for (function, label) in &self.programs {
            let program = object
                .programs()
                .iter()
                .find(|program| program.name() == function)
                .ok_or_else(|| ImageError::LabelProgram {
                    program: function.clone(),
                    has: object
                        .programs()
                        .iter()
                        .map(|program| program.name().to_owned())
                        .collect(),
                })?;
            // A section or a label that means nothing to us contradicts nothing.
            let declared = Section::find(program.section()).map(|section| section.kind);
            if let (Some(declared), Some(claimed)) = (declared, kind(label))
                && !claimed.takes(declared)
            {
                return Err(ImageError::LabelType {
                    program: function.clone(),
                    label: label.clone(),
                    section: program.section().to_owned(),
                    kind: declared,
                });
            }
        }
        Ok(())
    }

    /// The program that the labels declare for a kind, where they declare one.
    pub fn only(&self, wanted: Kind) -> Option<&str> {
        let mut fitting = self
            .programs
            .iter()
            .filter(|(_, label)| kind(label).is_some_and(|kind| wanted.takes(kind)));
        match (fitting.next(), fitting.next()) {
            (Some((function, _)), None) => Some(function),
            _ => None,
        }
    }
}

/// The kind that a label means; the field writes some of them in other words as well.
fn kind(label: &str) -> Option<Kind> {
    match label {
        "kretprobe" => Some(Kind::Kprobe),
        "uretprobe" => Some(Kind::Uprobe),
        "classifier" | "sched_cls" => Some(Kind::Tc),
        word => word.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Result<Labels, ImageError> {
        let config = serde_json::json!({
            "architecture": "amd64",
            "config": {"Labels": pairs.iter().copied().collect::<BTreeMap<_, _>>()},
        });
        ImageConfig::parse(config.to_string().as_bytes())?.labels()
    }

    #[test]
    fn current_and_older_labels_are_read() {
        let current = labels(&[
            (PROGRAMS, r#"{"pass":"xdp","stats":"tc"}"#),
            (MAPS, r#"{"counts":"per_cpu_array"}"#),
            (FUNCTION, "ignored"),
            (TYPE, "xdp"),
        ])
        .unwrap();
        assert_eq!(current.programs["pass"], "xdp");
        assert_eq!(current.programs.len(), 2);
        assert_eq!(current.maps["counts"], "per_cpu_array");
        assert_eq!(current.only(Kind::Xdp), Some("pass"));
        assert_eq!(current.only(Kind::Tcx), Some("stats"));
        assert_eq!(current.only(Kind::Kprobe), None);
        let older = labels(&[
            (NAME, "n"),
            (FUNCTION, "f"),
            (TYPE, "kretprobe"),
            (FILE, "a.o"),
        ]);
        let older = older.unwrap();
        assert_eq!(older.programs["f"], "kretprobe");
        assert_eq!(older.only(Kind::Kprobe), Some("f"));
        assert_eq!(older.file.as_deref(), Some("a.o"));
    }

    #[test]
    fn images_without_labels_are_fine() {
        for config in ["{}", r#"{"config":null}"#, r#"{"config":{"Labels":null}}"#] {
            let config = ImageConfig::parse(config.as_bytes()).unwrap();
            assert_eq!(config.labels().unwrap(), Labels::default());
        }
    }

    #[test]
    fn malformed_labels_are_refused() {
        for text in ["xdp", "[]", r#"{"a":1}"#, r#"{"a":"xdp""#] {
            assert!(
                matches!(
                    labels(&[(PROGRAMS, text)]),
                    Err(ImageError::Label {
                        label: PROGRAMS,
                        ..
                    })
                ),
                "{text}"
            );
        }
        assert!(matches!(
            labels(&[(MAPS, "1")]),
            Err(ImageError::Label { label: MAPS, .. })
        ));
    }
}
