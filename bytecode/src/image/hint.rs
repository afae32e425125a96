//! What users can do about errors.

use super::{Given, ImageError, RuntimeError};

impl ImageError {
    /// What the user can do about it, where something can be said: one lowercase line.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotStored => "bpfman image pull fetches it".to_owned(),
            Self::Held { source, .. } => return source.hint(),
            Self::GaveUp { source, .. } | Self::Nowhere { source, .. } => return source.hint(),
            Self::Runtime {
                source: RuntimeError::Timeout { .. },
            } => "is the runtime overloaded? its own command line shows it".to_owned(),
            Self::NotListed => "bpfman image list shows what is there".to_owned(),
            Self::NoTls { host, .. } => {
                format!("allow plain HTTP in bpfman.toml: [registry] plain_http = [\"{host}\"]")
            }
            Self::Certificate { host, .. } => {
                format!(
                    "put the authority's certificate into /etc/containers/certs.d/{host}/ca.crt"
                )
            }
            Self::NoRoots { .. } => "install the package ca-certificates".to_owned(),
            Self::Unauthorized {
                host,
                given: Given::Nothing,
                ..
            } => format!("log in with podman login {host}, or use --registry-auth"),
            Self::Unauthorized { host, .. } => format!("log in again with podman login {host}"),
            Self::NoPlatform { has, .. } if has.is_empty() => {
                "its index names no variants at all".to_owned()
            }
            Self::NoPlatform { has, .. } => format!("it has {}", has.join(", ")),
            Self::ManifestType { .. } => {
                "push it again with a newer docker, podman or bpfman".to_owned()
            }
            Self::LayerTooLarge { .. } | Self::ExportTooLarge { .. } => {
                "bpfman.toml sets the limit: [registry] max_layer_size".to_owned()
            }
            Self::ObjectTooLarge { .. } | Self::Bomb { .. } => {
                "bpfman.toml sets the limit: [registry] max_object_size".to_owned()
            }
            Self::DocumentTooLarge { .. } => {
                "bpfman.toml sets the limit: [registry] max_manifest_size".to_owned()
            }
            Self::Timeout { .. } => {
                "bpfman.toml sets the limit: [registry] timeout_seconds".to_owned()
            }
            Self::LabelMap { has, .. } if has.is_empty() => "the object has no maps".to_owned(),
            Self::LabelProgram { has, .. } | Self::LabelMap { has, .. } => {
                format!("the object has: {}", has.join(", "))
            }
            Self::Unsafe { .. } => "--image-dir names another store".to_owned(),
            Self::Damaged { .. } => "bpfman image pull --pull-policy Always repairs it".to_owned(),
            Self::Layers { .. } | Self::NoObject | Self::SeveralObjects { .. } => {
                "bpfman image build makes bytecode images".to_owned()
            }
            _ => return None,
        })
    }
}
