//! The kernel's event sources for probes, as sysfs describes them.

use std::{fs, io, path::PathBuf};

use crate::{diagnose::Feature, probe_error::ProbeError};

const SOURCES: &str = "/sys/bus/event_source/devices";

/// A dynamic event source: `kprobe` or `uprobe`. Kernel ≥ 4.17.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pmu {
    /// Its number on this boot.
    pub(crate) number: u32,
    return_bit: u32,
}

impl Pmu {
    /// Breakpoints in the kernel.
    pub(crate) fn kprobe() -> Result<Self, ProbeError> {
        Self::read("kprobe", Feature::Kprobes)
    }

    /// Breakpoints in files.
    pub(crate) fn uprobe() -> Result<Self, ProbeError> {
        Self::read("uprobe", Feature::Uprobes)
    }

    /// The bits that ask for the entry or for the return of a function.
    pub(crate) const fn config(self, on_return: bool) -> u64 {
        if on_return { 1 << self.return_bit } else { 0 }
    }

    fn read(name: &str, feature: Feature) -> Result<Self, ProbeError> {
        let folder = PathBuf::from(SOURCES).join(name);
        if !folder.exists() {
            let sysfs_is_there = PathBuf::from(SOURCES).join("software").exists();
            return Err(if sysfs_is_there {
                ProbeError::Missing { feature }
            } else {
                ProbeError::Read {
                    path: SOURCES.into(),
                    source: io::ErrorKind::NotFound.into(),
                }
            });
        }
        let number = field(folder.join("type"), |text| text.parse().ok())?;
        let return_bit = field(folder.join("format/retprobe"), bit)?;
        Ok(Self { number, return_bit })
    }
}

fn field(path: PathBuf, parse: fn(&str) -> Option<u32>) -> Result<u32, ProbeError> {
    let read = fs::read_to_string(&path).and_then(|text| {
        parse(text.trim()).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, text))
    });
    read.map_err(|source| ProbeError::Read { path, source })
}

/// The bit of a sysfs format file, `config:0`.
fn bit(text: &str) -> Option<u32> {
    text.strip_prefix("config:")?
        .parse()
        .ok()
        .filter(|bit| *bit < u64::BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_bit() {
        assert_eq!(bit("config:0"), Some(0));
        assert_eq!(bit("config:63"), Some(63));
        assert_eq!(bit("config:64"), None);
        assert_eq!(bit("config1:0"), None);
        assert_eq!(bit("config:0-3"), None);
        let pmu = Pmu {
            number: 9,
            return_bit: 3,
        };
        assert_eq!((pmu.config(false), pmu.config(true)), (0, 8));
    }
}
