//! The places where tests run, what each needs, and how long it takes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::kernels::Version;
use crate::setup::Need;
use crate::sh;

/// A place where tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Lane {
    Checks,
    Unit,
    Host,
    Image,
    Rpc,
    Package,
    #[value(name = "6.1")]
    V6_1,
    #[value(name = "6.12")]
    V6_12,
    #[value(name = "5.10")]
    V5_10,
    Reboot,
}

impl Lane {
    /// In the order in which they begin.
    pub(super) const ALL: [Self; 10] = [
        Self::Checks,
        Self::Unit,
        Self::Host,
        Self::Image,
        Self::Rpc,
        Self::Package,
        Self::Reboot,
        Self::V6_1,
        Self::V6_12,
        Self::V5_10,
    ];

    /// As on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Checks => "checks",
            Self::Unit => "unit",
            Self::Host => "host",
            Self::Image => "image",
            Self::Rpc => "rpc",
            Self::Package => "package",
            Self::Reboot => "reboot",
            Self::V6_1 => Version::V6_1.name(),
            Self::V6_12 => Version::V6_12.name(),
            Self::V5_10 => Version::V5_10.name(),
        }
    }

    /// What runs there, for who waits for it.
    fn about(self) -> &'static str {
        match self {
            Self::Checks => "formatting, clippy, licenses, the committed eBPF objects",
            Self::Unit => "tests that need no kernel",
            Self::Host => "kernel tests on this machine's kernel",
            Self::Image => "images: registry, skopeo, docker, podman, containerd",
            Self::Rpc => "the daemon, asked by tonic and by Python",
            Self::Package => "the Debian package in a Debian 12 in a folder",
            Self::Reboot => "a Debian 12 with the package, started twice in QEMU",
            Self::V6_1 | Self::V6_12 | Self::V5_10 => "kernel tests in QEMU",
        }
    }

    /// How long it takes on two cores, where nothing is known of this machine. Measured on
    /// 1 December 2026; for the guests it is the time of both parts.
    fn usual(self) -> Duration {
        Duration::from_secs(match self {
            Self::Checks => 80,
            Self::Unit => 10,
            Self::Host => 270,
            Self::Image => 160,
            Self::Rpc => 25,
            Self::Package => 65,
            Self::Reboot => 50,
            Self::V6_1 | Self::V6_12 | Self::V5_10 => 720,
        })
    }

    /// The kernel of a lane in guests.
    pub(super) fn kernel(self) -> Option<Version> {
        match self {
            Self::V6_1 => Some(Version::V6_1),
            Self::V6_12 => Some(Version::V6_12),
            Self::V5_10 => Some(Version::V5_10),
            _ => None,
        }
    }

    /// Which tests nextest runs for it, as a filter; None for a lane without nextest.
    pub(super) fn filter(self) -> Option<&'static str> {
        match self {
            Self::Unit => Some(
                "not (binary_id(bpfman-testkit::kernel) | binary_id(bpfman-testkit::image) \
                 | binary_id(bpfman-testkit::rpc) | binary_id(bpfman-testkit::reboot))",
            ),
            Self::Host => Some("binary_id(bpfman-testkit::kernel)"),
            Self::Image => Some("binary_id(bpfman-testkit::image)"),
            Self::Rpc => Some("binary_id(bpfman-testkit::rpc)"),
            _ => None,
        }
    }

    /// What it needs beside a build.
    pub(super) fn needs(self) -> &'static [Need] {
        match self {
            Self::Checks => &[Need::Bpf, Need::Deny],
            Self::Unit => &[],
            Self::Host => &[Need::Host],
            Self::Image => &[Need::Host, Need::Registry, Need::Images],
            Self::Rpc => &[Need::Host, Need::Registry, Need::Images, Need::Rpc],
            Self::Package => &[Need::Package, Need::Root],
            Self::Reboot => &[
                Need::Vm,
                Need::Host,
                Need::Registry,
                Need::Package,
                Need::Root,
            ],
            Self::V6_1 | Self::V6_12 | Self::V5_10 => &[Need::Vm, Need::Registry],
        }
    }
}

/// How long each lane took when it ran last, in seconds by its name; `build` is among them.
#[derive(Debug, Default)]
pub(super) struct Times(BTreeMap<String, u64>);

/// The name of what is compiled for all lanes.
pub(super) const BUILD: &str = "build";
/// How long compiling takes from nothing, on two cores.
const USUAL_BUILD: Duration = Duration::from_secs(215);

impl Times {
    /// What is known of this machine; nothing where nothing could be read.
    pub(super) fn read() -> Self {
        let known = Self::file().and_then(|file| Ok(std::fs::read(file)?));
        let known = known.and_then(|text| Ok(serde_json::from_slice(&text)?));
        known.map_or_else(|_: anyhow::Error| Self::default(), Self)
    }

    /// Remembers what a whole lane took.
    pub(super) fn note(&mut self, name: &str, took: Duration) {
        self.0.insert(name.to_owned(), took.as_secs());
    }

    /// Keeps them for the next run.
    pub(super) fn write(&self) -> Result<()> {
        let file = Self::file()?;
        let folder = file.parent().context("the cache has no folder")?;
        std::fs::create_dir_all(folder)?;
        // Another run may write at the same time: each file is whole.
        let temp = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&temp, &self.0)?;
        temp.persist(&file)?;
        Ok(())
    }

    fn file() -> Result<PathBuf> {
        Ok(sh::cache_dir()?.join("lane-times.json"))
    }

    fn of(&self, name: &str, usual: Duration) -> (Duration, bool) {
        match self.0.get(name) {
            Some(seconds) => (Duration::from_secs(*seconds), true),
            None => (usual, false),
        }
    }
}

/// What a run is going to do.
pub(super) struct Plan<'a> {
    pub(super) lanes: &'a [Lane],
    pub(super) filter: &'a [String],
    pub(super) times: &'a Times,
    pub(super) logs: PathBuf,
}

impl Plan<'_> {
    /// Two workers: one lane after another on this machine, then guests; and guests only.
    fn whole(&self) -> Duration {
        let sum = |in_guests: bool| -> Duration {
            let lanes = self.lanes.iter().filter(|lane| **lane != Lane::Checks);
            let lanes = lanes.filter(|lane| lane.kernel().is_some() == in_guests);
            lanes.map(|lane| self.time(*lane).0).sum()
        };
        let (native, guests) = (sum(false), sum(true));
        let mut whole = native.max((native + guests) / 2);
        if self.lanes.contains(&Lane::Checks) {
            whole += self.time(Lane::Checks).0;
        }
        if self.builds() {
            whole += self.times.of(BUILD, USUAL_BUILD).0;
        }
        whole
    }

    fn builds(&self) -> bool {
        self.lanes.iter().any(|lane| *lane != Lane::Checks)
    }

    fn time(&self, lane: Lane) -> (Duration, bool) {
        self.times.of(lane.name(), lane.usual())
    }
}

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let only = if self.filter.is_empty() {
            format!("about {}", minutes(self.whole()))
        } else {
            format!("only tests with {}", self.filter.join(" or "))
        };
        writeln!(f, "── what will run, {only}:")?;
        let mut line = |name: &str, about: &str, (time, is_known): (Duration, bool)| {
            let since = if is_known { "last time" } else { "usually" };
            writeln!(f, "   {name:<8}{about:<55} {since:>9} {}", minutes(time))
        };
        let (first, others): (Vec<Lane>, Vec<Lane>) =
            self.lanes.iter().partition(|lane| **lane == Lane::Checks);
        for lane in first {
            line(lane.name(), lane.about(), self.time(lane))?;
        }
        if self.builds() {
            let about = "programs and tests, for all lanes below";
            line(BUILD, about, self.times.of(BUILD, USUAL_BUILD))?;
        }
        for lane in &others {
            line(lane.name(), lane.about(), self.time(*lane))?;
        }
        if others.iter().any(|lane| lane.kernel().is_some()) {
            writeln!(f, "   guests run beside the other lanes, two at a time")?;
        }
        writeln!(f, "── what the lanes say: {}/LANE.log", self.logs.display())
    }
}

/// A time as people say it.
fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..90 => format!("{seconds} s"),
        seconds => format!("{} min", (seconds + 30) / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_tells_what_is_known_of_this_machine() {
        let mut times = Times::default();
        times.note("host", Duration::from_secs(50));
        times.note("build", Duration::from_secs(10));
        times.note("6.1", Duration::from_secs(190));
        let plan = Plan {
            lanes: &[Lane::Checks, Lane::Host, Lane::V6_1],
            filter: &[],
            times: &times,
            logs: "/t/logs".into(),
        };
        // Checks, the build, and two workers for the rest.
        assert_eq!(plan.whole(), Duration::from_secs(80 + 10 + 120));
        let shown = plan.to_string();
        assert!(
            shown.starts_with("── what will run, about 4 min:\n"),
            "{shown}"
        );
        assert!(shown.contains("usually 80 s\n   build"), "{shown}");
        assert!(shown.contains("last time 50 s"), "{shown}");
        assert!(shown.ends_with("── what the lanes say: /t/logs/LANE.log\n"));
    }

    #[test]
    fn every_lane_is_named_once() {
        let names: std::collections::BTreeSet<_> =
            Lane::ALL.iter().map(|lane| lane.name()).collect();
        assert_eq!(names.len(), Lane::value_variants().len());
        for lane in Lane::ALL {
            let value = lane.to_possible_value().unwrap();
            assert_eq!(value.get_name(), lane.name());
        }
    }
}
