//! Manifests and indexes of OCI and of Docker schema 2, and which manifest is for this host. Only what
//! is needed of them is kept: a document of 4 MiB can hold half a million of annotations, and
//! oci-spec's own types would take 60 MB for it.

use std::{fmt, marker::PhantomData};

use model::Digest;
use oci_spec::image::Arch;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, IgnoredAny, SeqAccess, Visitor},
};

use super::ImageError;
use crate::Endianness;

/// Media types that a registry may answer with, best first.
pub(crate) const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// How many variants a message names.
const MOST_NAMED: usize = 20;

/// A document that an image begins with.
pub(crate) enum Document {
    /// Manifests by platform.
    Index(Index),
    /// One image.
    Manifest(Box<Manifest>),
}

/// Manifests by platform.
#[derive(Deserialize)]
pub(crate) struct Index {
    manifests: Vec<Variant>,
}

impl Index {
    /// Whether it leads to this digest.
    pub(crate) fn names(&self, digest: Digest) -> bool {
        let digest = digest.to_string();
        self.manifests
            .iter()
            .any(|variant| variant.digest == digest)
    }
}

/// One of the manifests of an index.
#[derive(Deserialize)]
pub(crate) struct Variant {
    digest: String,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<Notes>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

/// What buildx adds about how an image was built is no image, and this says so.
#[derive(Default, Deserialize)]
struct Notes {
    #[serde(rename = "vnd.docker.reference.type")]
    reference_type: Option<IgnoredAny>,
}

/// One image.
#[derive(Deserialize)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Layers<Descriptor>,
}

/// Where content is.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    digest: String,
    pub(crate) size: u64,
}

/// The first layer, and how many there are.
pub(crate) struct Layers<T> {
    pub(crate) first: Option<T>,
    pub(crate) count: usize,
}

impl<T> Default for Layers<T> {
    fn default() -> Self {
        let (first, count) = (None, 0);
        Self { first, count }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Layers<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counter<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Counter<T> {
            type Value = Layers<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("layers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut layers: A) -> Result<Layers<T>, A::Error> {
                let first = layers.next_element()?;
                let mut count = usize::from(first.is_some());
                while layers.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Layers { first, count })
            }
        }
        deserializer.deserialize_seq(Counter(PhantomData))
    }
}

/// Reads a JSON object. Without the look at its beginning an array would do as well.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, ImageError> {
    let read = if bytes.trim_ascii_start().starts_with(b"{") {
        serde_json::from_slice(bytes)
    } else {
        Err(serde_json::Error::custom("it is no JSON object"))
    };
    read.map_err(|source| ImageError::Document { what, source })
}

/// What tells the kinds apart. A document that is both is refused: two readers could see two
/// images in it (CVE-2021-41190).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

impl Document {
    /// Reads a document; `content_type` is what the registry calls it, without parameters.
    pub(crate) fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ImageError> {
        let shape: Shape = read(bytes, "manifest")?;
        let named = shape.media_type.as_deref();
        let announced = content_type.filter(|word| ACCEPTED.contains(word));
        if let (Some(named), Some(announced)) = (named, announced)
            && named != announced
        {
            let what = "its type differs from the type that the registry announces";
            return Err(ImageError::Ambiguous { what });
        }
        let unsupported = |media_type: &str| ImageError::ManifestType {
            media_type: media_type.to_owned(),
        };
        if shape.fs_layers.is_some() {
            return Err(unsupported(
                "application/vnd.docker.distribution.manifest.v1+json",
            ));
        }
        let media_type = named.or(announced);
        if let Some(other) = media_type.filter(|word| !ACCEPTED.contains(word)) {
            return Err(unsupported(other));
        }
        if shape.schema_version != Some(2) {
            let what = "it does not have the schema version 2";
            return Err(ImageError::Ambiguous { what });
        }
        let is_image = shape.layers.is_some() || shape.config.is_some();
        let by_type = media_type.map(|word| word == ACCEPTED[0] || word == ACCEPTED[1]);
        match (shape.manifests.is_some(), is_image) {
            (true, false) if by_type != Some(false) => Ok(Self::Index(read(bytes, "manifest")?)),
            (false, true) if by_type != Some(true) => Ok(Self::Manifest(read(bytes, "manifest")?)),
            (true, true) => Err(ImageError::Ambiguous {
                what: "it is a manifest and an index at once",
            }),
            (false, false) => Err(ImageError::Ambiguous {
                what: "it is neither a manifest nor an index",
            }),
            _ => Err(ImageError::Ambiguous {
                what: "it is not of the type that it names",
            }),
        }
    }
}

impl Descriptor {
    /// The SHA-256 of what it describes.
    pub(crate) fn digest(&self, what: &'static str) -> Result<Digest, ImageError> {
        digest(&self.digest, what)
    }
}

impl Variant {
    /// The SHA-256 of the manifest.
    pub(crate) fn digest(&self) -> Result<Digest, ImageError> {
        digest(&self.digest, "manifest")
    }

    fn is_attestation(&self) -> bool {
        self.annotations
            .as_ref()
            .is_some_and(|notes| notes.reference_type.is_some())
    }
}

fn digest(text: &str, what: &'static str) -> Result<Digest, ImageError> {
    text.parse().map_err(|_| ImageError::DigestAlgorithm {
        what,
        digest: text.to_owned(),
    })
}

/// The architecture of this host, in Go's words.
pub(super) fn host_arch() -> Arch {
    // The rest has the same name in Go, or one that oci-spec knows.
    match std::env::consts::ARCH {
        "x86" => Arch::i386,
        "loongarch64" => Arch::LoongArch64,
        "mips64" if cfg!(target_endian = "little") => Arch::Mips64le,
        _ => Arch::default(),
    }
}

/// Byte order of the hosts of an architecture; None for one that we do not know.
fn endianness(arch: &str) -> Option<Endianness> {
    Some(match arch {
        "386" | "amd64" | "arm" | "arm64" | "loong64" | "mipsle" | "mips64le" | "ppc64le"
        | "riscv64" | "wasm" => Endianness::Little,
        "mips" | "mips64" | "ppc" | "ppc64" | "s390x" | "armbe" | "arm64be" | "sparc64" => {
            Endianness::Big
        }
        _ => return None,
    })
}

/// The manifest for this host: of its own architecture, else of any of its byte order, because
/// eBPF knows no more of a machine than that.
pub(crate) fn choose(index: &Index) -> Result<&Variant, ImageError> {
    let images = || {
        let variants = index.manifests.iter();
        variants
            .filter(|variant| !variant.is_attestation())
            .filter_map(|variant| Some((variant, variant.platform.as_ref()?)))
    };
    let linux = || images().filter(|(_, platform)| platform.os == "linux");
    let host = host_arch().to_string();
    let own = linux().find(|(_, platform)| platform.architecture == host);
    let akin = || linux().find(|(_, it)| endianness(&it.architecture) == Some(Endianness::HOST));
    if let Some((variant, _)) = own.or_else(akin) {
        return Ok(variant);
    }
    // Some tools write an index of one manifest and say nothing of its platform.
    match index.manifests.as_slice() {
        [only] if only.platform.is_none() => Ok(only),
        _ => Err(ImageError::NoPlatform {
            wanted: format!("linux/{host} or another {} machine", Endianness::HOST),
            has: images()
                .take(MOST_NAMED)
                .map(|(_, platform)| format!("{}/{}", platform.os, platform.architecture))
                .collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const HEX: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn parse(document: &Value, content_type: Option<&str>) -> Result<Document, ImageError> {
        Document::parse(document.to_string().as_bytes(), content_type)
    }

    fn manifest() -> Value {
        json!({
            "schemaVersion": 2,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": HEX, "size": 1},
            "layers": [],
        })
    }

    fn index(entries: &[(&str, &str)]) -> Index {
        let manifests: Vec<_> = entries
            .iter()
            .enumerate()
            .map(|(size, (arch, note))| {
                let (os, arch) = arch.split_once('/').unwrap_or(("linux", arch));
                let mut entry = json!({
                    "mediaType": ACCEPTED[2], "digest": size.to_string(), "size": 1,
                    "platform": {"os": os, "architecture": arch},
                });
                if !note.is_empty() {
                    entry["annotations"] = json!({"vnd.docker.reference.type": note});
                }
                entry
            })
            .collect();
        let document = json!({"schemaVersion": 2, "manifests": manifests});
        match parse(&document, Some(ACCEPTED[0])) {
            Ok(Document::Index(index)) => index,
            _ => panic!("{document} is no index"),
        }
    }

    #[test]
    fn documents_of_four_types_are_read() {
        for (number, media_type) in ACCEPTED.iter().enumerate() {
            let mut document = if number < 2 {
                json!({"schemaVersion": 2, "manifests": []})
            } else {
                manifest()
            };
            for content_type in [None, Some(*media_type), Some("text/plain")] {
                let read = parse(&document, content_type).unwrap();
                assert_eq!(
                    matches!(read, Document::Index(_)),
                    number < 2,
                    "{media_type}"
                );
            }
            document["mediaType"] = json!(media_type);
            assert!(parse(&document, None).is_ok());
            let other = ACCEPTED[(number + 1) % 4];
            assert!(matches!(
                parse(&document, Some(other)),
                Err(ImageError::Ambiguous { .. })
            ));
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let mut both = manifest();
        both["manifests"] = json!([]);
        assert!(matches!(
            parse(&both, None),
            Err(ImageError::Ambiguous { .. })
        ));
        let neither = json!({"schemaVersion": 2});
        assert!(matches!(
            parse(&neither, None),
            Err(ImageError::Ambiguous { .. })
        ));
        let lying = parse(&manifest(), Some(ACCEPTED[0]));
        assert!(matches!(lying, Err(ImageError::Ambiguous { .. })));
        let old = json!({"schemaVersion": 1, "fsLayers": []});
        assert!(matches!(
            parse(&old, None),
            Err(ImageError::ManifestType { .. })
        ));
        let mut artifact = manifest();
        artifact["mediaType"] = json!("application/vnd.cncf.helm");
        assert!(matches!(
            parse(&artifact, None),
            Err(ImageError::ManifestType { .. })
        ));
        for text in ["", "[]", "{", "null", "\"x\""] {
            let read = Document::parse(text.as_bytes(), None);
            assert!(matches!(read, Err(ImageError::Document { .. })), "{text}");
        }
    }

    #[test]
    fn the_hosts_own_architecture_is_best() {
        let host = host_arch().to_string();
        let chosen = |entries: &[(&str, &str)]| {
            choose(&index(entries)).map(|variant| variant.digest.parse::<usize>().unwrap())
        };
        assert_eq!(
            chosen(&[("riscv64", ""), ("s390x", ""), (&host, "")]).unwrap(),
            2
        );
        let (akin, strange) = match Endianness::HOST {
            Endianness::Little => ("riscv64", "s390x"),
            Endianness::Big => ("mips64", "riscv64"),
        };
        assert_eq!(chosen(&[(strange, ""), (akin, "")]).unwrap(), 1);
        assert_eq!(
            chosen(&[(&host, "attestation-manifest"), (akin, "")]).unwrap(),
            1
        );
        assert_eq!(
            chosen(&[(&format!("windows/{host}"), ""), (akin, "")]).unwrap(),
            1
        );
        let Err(ImageError::NoPlatform { has, .. }) = chosen(&[(strange, ""), ("unknown", "")])
        else {
            panic!("nothing fits")
        };
        assert_eq!(has, [format!("linux/{strange}"), "linux/unknown".into()]);
    }
}
