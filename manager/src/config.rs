//! The configuration file. One that does not parse is an error, never ignored.

use std::{collections::BTreeMap, fs, io, path::Path};

use kernel::XdpMode;
use serde::Deserialize;

use crate::{Error, Result};

/// `/etc/bpfman/bpfman.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    interfaces: BTreeMap<String, Interface>,
    /// Read by the image commands.
    #[serde(rename = "container_runtime")]
    _container_runtime: toml::Table,
    /// Read by the image commands.
    #[serde(rename = "registry")]
    _registry: toml::Table,
    /// Read by the image commands.
    #[serde(rename = "signing")]
    _signing: toml::Table,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Interface {
    xdp_mode: Option<Mode>,
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
        toml::from_str(&text).map_err(|source| {
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
    fn mistakes_name_line_and_key() {
        for (text, line, word) in [
            ("\n[interfaces.eth1]\nxdp_mode = \"fast\"\n", 3, "fast"),
            ("[interface.eth1]\n", 1, "interface"),
            ("[interfaces.eth1]\nxdp-mode = \"drv\"\n", 2, "xdp-mode"),
            ("a = \n", 1, ""),
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
