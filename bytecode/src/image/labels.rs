//! Labels of bytecode images: what is in the object, without opening it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
};

use model::{Kind, Section};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::{
    ImageError,
    manifest::{self, Layers},
};
use crate::{
    Error, Inventory, Object, build,
    map_type::{map_type_name, map_type_number},
};

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
/// All of them.
const LABELS: [&str; 6] = [PROGRAMS, MAPS, FUNCTION, NAME, TYPE, FILE];

/// The longest table in a label, in bytes: thousands of programs.
const LONGEST: usize = 256 << 10;

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
    diff_ids: Layers<String>,
}

#[derive(Deserialize)]
struct RunConfig {
    #[serde(default, rename = "Labels")]
    labels: Option<Known>,
}

/// The labels that mean something here. Others are not kept: there may be half a million.
pub(crate) struct Known(HashMap<&'static str, String>);

impl Known {
    /// Whether none of them is there: such an image holds something else.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Known;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut labels: A) -> Result<Known, A::Error> {
                let mut known = HashMap::new();
                while let Some(name) = labels.next_key::<Cow<'de, str>>()? {
                    match LABELS.iter().find(|label| **label == name) {
                        Some(label) => {
                            known.insert(*label, labels.next_value()?);
                        }
                        None => drop(labels.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Known(known))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

impl ImageConfig {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        manifest::read(bytes, "configuration")
    }

    /// Digests of the layers as they are unpacked.
    pub(crate) fn layers(&self) -> Option<&Layers<String>> {
        Some(&self.rootfs.as_ref()?.diff_ids)
    }

    /// The labels, not taken apart yet.
    pub(crate) fn known(&self) -> Option<&Known> {
        self.config.as_ref()?.labels.as_ref()
    }

    pub(crate) fn labels(&self) -> Result<Labels, ImageError> {
        let labels = self.known();
        labels.map_or_else(|| Ok(Labels::default()), Labels::read)
    }
}

impl Labels {
    pub(crate) fn read(Known(labels): &Known) -> Result<Self, ImageError> {
        let table = |label: &'static str| {
            let Some(text) = labels.get(label).filter(|text| !text.is_empty()) else {
                return Ok(BTreeMap::new());
            };
            let limit = LONGEST;
            if text.len() > limit {
                return Err(ImageError::LabelTooLarge { label, limit });
            }
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

    /// Compares programs and maps with those of the object.
    pub(crate) fn check(&self, object: &Object) -> Result<(), ImageError> {
        self.check_programs(object)?;
        if self.maps.is_empty() {
            return Ok(());
        }
        // libbpf will say what is wrong with maps that cannot be read.
        Inventory::read(object.bytes()).map_or(Ok(()), |inventory| self.check_maps(&inventory.maps))
    }

    fn check_programs(&self, object: &Object) -> Result<(), ImageError> {
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

    fn check_maps(&self, maps: &BTreeMap<String, u32>) -> Result<(), ImageError> {
        // No map of an object has a dot in its name: such are made by libbpf, for variables, and
        // some tools list them.
        for (map, label) in self.maps.iter().filter(|(map, _)| !map.contains('.')) {
            let declared = *maps.get(map).ok_or_else(|| ImageError::LabelMap {
                map: map.clone(),
                has: maps.keys().cloned().collect(),
            })?;
            // A word that means nothing to us contradicts nothing.
            if map_type_number(label).is_some_and(|claimed| claimed != declared) {
                return Err(ImageError::LabelMapType {
                    map: map.clone(),
                    label: label.clone(),
                    kind: map_type_name(declared).into_owned(),
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

    fn with_maps(maps: &str) -> Labels {
        labels(&[(MAPS, maps)]).unwrap()
    }

    #[test]
    fn maps_must_be_as_the_labels_say() {
        let has = BTreeMap::from([("counts".to_owned(), 6), ("events".to_owned(), 27)]);
        let check = |maps: &str| with_maps(maps).check_maps(&has);
        for fine in [
            "{}",
            r#"{"counts":"per_cpu_array"}"#,
            r#"{"counts":"per_cpu_array","events":"ring_buf"}"#,
            // The words of the kernel, of bpftool and of cilium/ebpf.
            r#"{"counts":"BPF_MAP_TYPE_PERCPU_ARRAY","events":"BPF_MAP_TYPE_RINGBUF"}"#,
            r#"{"counts":"percpu_array","events":"ringbuf"}"#,
            r#"{"counts":"PerCPUArray","events":"RingBuf"}"#,
            r#"{"counts":"a word of tomorrow"}"#,
            r#"{".rodata":"array","prog.bss":"array",".data.cold":"array"}"#,
        ] {
            check(fine).unwrap_or_else(|error| panic!("{fine}: {error}"));
        }
        let error = check(r#"{"counts":"array"}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "its labels say that map 'counts' is of type 'array', and the object says \
             'per_cpu_array'"
        );
        let error = check(r#"{"count":"per_cpu_array"}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "its labels name a map 'count', which the object does not have"
        );
        assert_eq!(
            error.hint().as_deref(),
            Some("the object has: counts, events")
        );
    }

    #[test]
    fn maps_of_all_ways_to_declare_them_are_found() {
        for (file, map, kind) in [
            ("examples/xdp_counter", "xdp_stats_map", "per_cpu_array"),
            ("test/old_maps", "lengths", "hash"),
            ("test/old_maps_nobtf", "counter", "array"),
        ] {
            let path = format!("{}/../bpf/{file}.bpf.o", env!("CARGO_MANIFEST_DIR"));
            let object = Object::parse(std::fs::read(&path).unwrap()).unwrap();
            let own = with_maps(&format!(r#"{{"{map}":"{kind}"}}"#));
            own.check(&object).unwrap();
            let other = with_maps(&format!(r#"{{"{map}":"queue"}}"#));
            let error = other.check(&object).unwrap_err();
            assert!(matches!(error, ImageError::LabelMapType { .. }), "{error}");
        }
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
