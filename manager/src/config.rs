//! The configuration file. One that does not parse is an error, never ignored.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use bytecode::image::{Limits, RuntimeSettings, Settings};
use kernel::XdpMode;
use model::Runtime;
use serde::Deserialize;

use crate::{Error, Result};

/// `/etc/bpfman/bpfman.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    interfaces: BTreeMap<String, Interface>,
    container_runtime: ContainerRuntime,
    registry: Registry,
    host: Host,
    pub(crate) grpc: Option<Remote>,
    /// Read by the image commands.
    #[serde(rename = "signing")]
    _signing: toml::Table,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Interface {
    xdp_mode: Option<Mode>,
}

/// How the container runtimes of this machine are asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ContainerRuntime {
    enabled: bool,
    preferred_runtime: Option<Runtime>,
    docker_socket: Option<SocketPath>,
    podman_socket: Option<SocketPath>,
    containerd_socket: Option<SocketPath>,
    containerd_namespaces: Vec<String>,
}

impl Default for ContainerRuntime {
    fn default() -> Self {
        let settings = RuntimeSettings::default();
        Self {
            enabled: settings.enabled,
            preferred_runtime: None,
            docker_socket: None,
            podman_socket: None,
            containerd_socket: None,
            containerd_namespaces: settings.containerd_namespaces,
        }
    }
}

/// An absolute path, or the same as an address: `unix:///…`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct SocketPath(PathBuf);

impl TryFrom<String> for SocketPath {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        let path = text.strip_prefix("unix://").unwrap_or(&text);
        if path.starts_with('/') {
            return Ok(Self(path.into()));
        }
        Err(format!(
            "'{text}' is neither an absolute path nor unix:// and one"
        ))
    }
}

/// What manifests ask of the host.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Host {
    labels: BTreeMap<String, String>,
}

/// How the daemon may be asked from other machines: always with certificates on both sides.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remote {
    /// Address and port.
    pub listen: SocketAddr,
    /// The daemon's certificate, with those between it and its authority (PEM).
    pub certificate: PathBuf,
    /// The key of the certificate (PEM).
    pub key: PathBuf,
    /// The authorities whose certificates clients may show (PEM).
    pub client_ca: PathBuf,
}

/// How registries are asked, and what their images may cost.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Registry {
    plain_http: Vec<String>,
    timeout_seconds: NonZeroU32,
    attempts: NonZeroU32,
    max_manifest_size: NonZeroU32,
    max_layer_size: u64,
    max_object_size: u64,
}

impl Default for Registry {
    fn default() -> Self {
        let (settings, limits) = (Settings::default(), Limits::default());
        let number = |value| NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN);
        Self {
            plain_http: settings.plain_http,
            timeout_seconds: number(u32::try_from(settings.timeout.as_secs()).unwrap_or(u32::MAX)),
            attempts: number(settings.attempts),
            max_manifest_size: number(u32::try_from(limits.manifest).unwrap_or(u32::MAX)),
            max_layer_size: limits.layer,
            max_object_size: limits.object,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Drv,
    Skb,
    Hw,
}

impl Config {
    /// A missing file is an empty one.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => {
                return Err(Error::ReadConfig {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        Self::parse(&text, path)
    }

    /// Reads the text of a file.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self> {
        toml::from_str(text).map_err(|source| {
            let line = source
                .span()
                .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            Error::Config {
                path: path.to_owned(),
                line,
                source: Box::new(source),
            }
        })
    }

    /// By what manifests select hosts.
    pub(crate) fn labels(&self) -> &BTreeMap<String, String> {
        &self.host.labels
    }

    /// How registries are asked.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            plain_http: self.registry.plain_http.clone(),
            timeout: Duration::from_secs(self.registry.timeout_seconds.get().into()),
            attempts: self.registry.attempts.get(),
        }
    }

    /// How the container runtimes of this machine are asked.
    pub(crate) fn runtimes(&self) -> RuntimeSettings {
        let section = &self.container_runtime;
        let path = |socket: &Option<SocketPath>| Some(socket.as_ref()?.0.clone());
        RuntimeSettings {
            enabled: section.enabled,
            preferred: section.preferred_runtime,
            docker_socket: path(&section.docker_socket),
            podman_socket: path(&section.podman_socket),
            containerd_socket: path(&section.containerd_socket),
            containerd_namespaces: section.containerd_namespaces.clone(),
        }
    }

    /// What images may cost.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            manifest: self.registry.max_manifest_size.get().into(),
            layer: self.registry.max_layer_size,
            object: self.registry.max_object_size,
        }
    }

    /// Where XDP programs of an interface are to run; None: in the driver, or generic where the
    /// driver cannot.
    pub(crate) fn xdp_mode(&self, iface: &str) -> Option<XdpMode> {
        self.interfaces.get(iface)?.xdp_mode.map(|mode| match mode {
            Mode::Drv => XdpMode::Drv,
            Mode::Skb => XdpMode::Skb,
            Mode::Hw => XdpMode::Hw,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        Config::read(file.path())
    }

    #[test]
    fn modes_are_read() {
        let config = read("[interfaces.eth1]\nxdp_mode = \"skb\"\n").unwrap();
        assert_eq!(config.xdp_mode("eth1"), Some(XdpMode::Skb));
        assert_eq!(config.xdp_mode("eth2"), None);
        assert!(Config::read(Path::new("/nonexistent/bpfman.toml")).is_ok());
    }

    #[test]
    fn labels_of_the_host_are_read() {
        let config = read("[host.labels]\nrole = \"edge\"\n").unwrap();
        assert_eq!(config.labels()["role"], "edge");
        let config = read("[host]\nlabels = { \"k8s.io/os\" = \"linux\" }\n").unwrap();
        assert_eq!(config.labels()["k8s.io/os"], "linux");
    }

    #[test]
    fn registries_and_limits_are_read() {
        let config = read("").unwrap();
        assert_eq!(config.limits(), Limits::default());
        assert_eq!(config.settings().attempts, Settings::default().attempts);
        let text = "[registry]\nplain_http = [\"r:5000\"]\ntimeout_seconds = 3\nattempts = 1\n\
                    max_manifest_size = 10\nmax_layer_size = 20\nmax_object_size = 30\n";
        let config = read(text).unwrap();
        let (settings, limits) = (config.settings(), config.limits());
        assert_eq!(settings.plain_http, ["r:5000"]);
        assert_eq!((settings.timeout.as_secs(), settings.attempts), (3, 1));
        assert_eq!((limits.manifest, limits.layer, limits.object), (10, 20, 30));
        assert!(read("[registry]\nattempts = 0\n").is_err());
    }

    #[test]
    fn runtimes_are_read() {
        assert_eq!(read("").unwrap().runtimes(), RuntimeSettings::default());
        let text = "[container_runtime]\nenabled = false\npreferred_runtime = \"podman\"\n\
                    docker_socket = \"/d.sock\"\npodman_socket = \"unix:///p.sock\"\n\
                    containerd_socket = \"/c.sock\"\ncontainerd_namespaces = [\"a\"]\n";
        let expected = RuntimeSettings {
            enabled: false,
            preferred: Some(Runtime::Podman),
            docker_socket: Some("/d.sock".into()),
            podman_socket: Some("/p.sock".into()),
            containerd_socket: Some("/c.sock".into()),
            containerd_namespaces: vec!["a".into()],
        };
        assert_eq!(read(text).unwrap().runtimes(), expected);
    }

    #[test]
    fn mistakes_name_line_and_key() {
        for (text, line, word) in [
            ("\n[interfaces.eth1]\nxdp_mode = \"fast\"\n", 3, "fast"),
            ("[interface.eth1]\n", 1, "interface"),
            ("[interfaces.eth1]\nxdp-mode = \"drv\"\n", 2, "xdp-mode"),
            ("a = \n", 1, ""),
            ("[container_runtime]\n\nenable = true\n", 3, "enable"),
            (
                "[container_runtime]\npreferred_runtime = \"rkt\"\n",
                2,
                "rkt",
            ),
            (
                "[container_runtime]\ndocker_socket = \"tcp://h:1\"\n",
                2,
                "tcp://h:1",
            ),
            (
                "[grpc]\nlisten = \"[::]:1\"\ncertificate = \"/c\"\nkey = \"/k\"\n",
                1,
                "client_ca",
            ),
        ] {
            let error = read(text).unwrap_err();
            let Error::Config {
                line: found,
                source,
                ..
            } = &error
            else {
                panic!("{error:?}")
            };
            assert_eq!(*found, line, "{text}");
            assert!(source.to_string().contains(word), "{source}");
        }
    }
}
