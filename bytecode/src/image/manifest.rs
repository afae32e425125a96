//! Manifests and indexes of OCI and of Docker schema 2, and which manifest is for this host.

use model::Digest;
use oci_spec::image::{Arch, Descriptor, ImageIndex, ImageManifest, Os, Platform};
use serde::Deserialize;

use super::ImageError;
use crate::Endianness;

/// Media types that a registry may answer with, best first.
pub(crate) const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// A document that an image begins with.
pub(crate) enum Document {
    /// Manifests by platform.
    Index(Box<ImageIndex>),
    /// One image.
    Manifest(Box<ImageManifest>),
}

/// What tells the kinds apart. A document that is both is refused: two readers could see two
/// images in it (CVE-2021-41190).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    media_type: Option<String>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads a document; `content_type` is what the registry calls it, without parameters.
    pub(crate) fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ImageError> {
        let unreadable = |source| ImageError::Document {
            what: "manifest",
            source,
        };
        let shape: Shape = serde_json::from_slice(bytes).map_err(unreadable)?;
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
        let is_image = shape.layers.is_some() || shape.config.is_some();
        let by_type = media_type.map(|word| word == ACCEPTED[0] || word == ACCEPTED[1]);
        match (shape.manifests.is_some(), is_image) {
            (true, false) if by_type != Some(false) => Ok(Self::Index(
                serde_json::from_slice(bytes).map_err(unreadable)?,
            )),
            (false, true) if by_type != Some(true) => Ok(Self::Manifest(
                serde_json::from_slice(bytes).map_err(unreadable)?,
            )),
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

/// The SHA-256 of a descriptor.
pub(crate) fn digest(descriptor: &Descriptor, what: &'static str) -> Result<Digest, ImageError> {
    let text = descriptor.digest().to_string();
    text.parse()
        .map_err(|_| ImageError::DigestAlgorithm { what, digest: text })
}

/// The architecture of this host, in Go's words.
pub(crate) fn host_arch() -> Arch {
    // The rest has the same name in Go, or one that oci-spec knows.
    match std::env::consts::ARCH {
        "x86" => Arch::i386,
        "loongarch64" => Arch::LoongArch64,
        "mips64" if cfg!(target_endian = "little") => Arch::Mips64le,
        _ => Arch::default(),
    }
}

/// Byte order of the hosts of an architecture; None for one that we do not know.
pub(crate) fn endianness(arch: &Arch) -> Option<Endianness> {
    let name = arch.to_string();
    Some(match name.as_str() {
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
pub(crate) fn choose(index: &ImageIndex) -> Result<&Descriptor, ImageError> {
    let images: Vec<(&Descriptor, &Platform)> = index
        .manifests()
        .iter()
        .filter(|descriptor| !is_attestation(descriptor))
        .filter_map(|descriptor| Some((descriptor, descriptor.platform().as_ref()?)))
        .filter(|(_, platform)| matches!(platform.os(), Os::Linux))
        .collect();
    let host = host_arch();
    let own = images
        .iter()
        .find(|(_, platform)| *platform.architecture() == host);
    let akin = || {
        images
            .iter()
            .find(|(_, platform)| endianness(platform.architecture()) == Some(Endianness::HOST))
    };
    if let Some((descriptor, _)) = own.or_else(akin) {
        return Ok(descriptor);
    }
    // Some tools write an index of one manifest and say nothing of its platform.
    match index.manifests().as_slice() {
        [only] if only.platform().is_none() => Ok(only),
        _ => Err(ImageError::NoPlatform {
            wanted: format!("linux/{host} or another {} machine", Endianness::HOST),
            has: images
                .iter()
                .map(|(_, platform)| format!("{}/{}", platform.os(), platform.architecture()))
                .collect(),
        }),
    }
}

/// What buildx adds about how an image was built is no image.
fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor
        .annotations()
        .as_ref()
        .is_some_and(|notes| notes.contains_key("vnd.docker.reference.type"))
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

    fn index(entries: &[(&str, &str)]) -> ImageIndex {
        let manifests: Vec<_> = entries
            .iter()
            .enumerate()
            .map(|(size, (arch, note))| {
                let (os, arch) = arch.split_once('/').unwrap_or(("linux", arch));
                let mut entry = json!({
                    "mediaType": ACCEPTED[2], "digest": HEX, "size": size,
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
            Ok(Document::Index(index)) => *index,
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
        let chosen = |entries: &[(&str, &str)]| choose(&index(entries)).map(Descriptor::size);
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
