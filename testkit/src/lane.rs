//! Which kernel the tests run on, and what a test may skip there.

use std::{env, fmt, fs, io::Write as _, path::Path, thread};

use libbpf_rs::ProgramType;

/// A kernel that the tests know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The machine's own kernel, whatever it is.
    Host,
    /// Debian 11, the lane of honest refusals.
    V5_10,
    /// Debian 12.
    V6_1,
    /// Debian 13.
    V6_12,
}

impl Lane {
    /// From `BPFMAN_LANE`, or from the kernel's name.
    pub fn current() -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        match env::var("BPFMAN_LANE").ok().as_deref() {
            Some("host") => Self::Host,
            Some("5.10") => Self::V5_10,
            Some("6.1") => Self::V6_1,
            Some("6.12") => Self::V6_12,
            Some(other) => panic!("BPFMAN_LANE={other} names no lane: host, 5.10, 6.1 or 6.12"),
            None if !release.contains("-cloud-") => Self::Host,
            None if release.starts_with("5.10.") => Self::V5_10,
            None if release.starts_with("6.1.") => Self::V6_1,
            None => Self::V6_12,
        }
    }
}

/// Something that not every kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Extension programs, the members of a chain (5.6; hardened kernels refuse them).
    Ext,
    /// fentry and fexit programs (5.5; hardened kernels refuse them).
    Tracing,
    /// fentry and fexit programs that may sleep, at test functions of the kernel (6.3).
    SleepableTracing,
    /// Probes in kernel functions (`CONFIG_KPROBE_EVENTS`).
    Kprobe,
    /// Links of tracepoints, kprobes and uprobes, which keep them attached without a process (5.15).
    PerfLink,
    /// TCX links (6.6).
    Tcx,
    /// XDP programs that see packets in several fragments (5.18).
    XdpFrags,
    /// Kernel functions that a program may call (5.13 and on; `bpf_rdonly_cast` 6.2).
    Kfunc,
    /// The names of variables in `/proc/kallsyms` (`CONFIG_KALLSYMS_ALL`).
    KallsymsAll,
    /// Bloom filter maps (5.16).
    BloomFilter,
    /// Tail calls of extension programs into programs of the type that they stand for (6.2, and
    /// the kernels of 6.1 that have it from there).
    ExtTailCall,
    /// A libxdp dispatcher on veth; Debian 11 gets EINVAL.
    XdpLoader,
    /// Two processors, on which a program and a command really are at work at once.
    TwoProcessors,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Ext,
        Self::Tracing,
        Self::SleepableTracing,
        Self::Kprobe,
        Self::PerfLink,
        Self::Tcx,
        Self::XdpFrags,
        Self::Kfunc,
        Self::KallsymsAll,
        Self::BloomFilter,
        Self::ExtTailCall,
        Self::XdpLoader,
        Self::TwoProcessors,
    ];

    /// Asks the running kernel, not a table.
    pub fn is_present(self) -> bool {
        match self {
            Self::Ext => ProgramType::Ext.is_supported().unwrap_or(false),
            Self::Tracing => ProgramType::Tracing.is_supported().unwrap_or(false),
            Self::SleepableTracing => {
                Self::Tracing.is_present() && has_symbol("btf_kfunc_is_modify_return")
            }
            Self::Kprobe => Path::new("/sys/bus/event_source/devices/kprobe").exists(),
            Self::PerfLink => has_symbol("bpf_perf_link_attach"),
            Self::Tcx => has_symbol("tcx_link_attach"),
            Self::XdpFrags => has_symbol("bpf_xdp_get_buff_len"),
            Self::Kfunc => has_symbol("bpf_rdonly_cast"),
            Self::KallsymsAll => has_symbol("bpf_prog_active"),
            Self::BloomFilter => has_symbol("bloom_map_alloc"),
            // The function that looks through an extension program; the kernels between its coming
            // (5.18) and that look are no lane of ours.
            Self::ExtTailCall => has_symbol("bpf_prog_map_compatible"),
            Self::XdpLoader => Self::Ext.is_present() && Self::PerfLink.is_present(),
            Self::TwoProcessors => thread::available_parallelism().is_ok_and(|n| n.get() > 1),
        }
    }

    /// Why this lane is allowed to lack it; None where it is not.
    pub fn excuse(self, lane: Lane) -> Option<&'static str> {
        LACKS
            .iter()
            .find(|(l, f, _)| (*l, *f) == (lane, self))
            .map(|(_, _, why)| *why)
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The only reasons to skip. 6.12 has none: every test runs there.
const LACKS: &[(Lane, Feature, &str)] = &[
    (
        Lane::Host,
        Feature::Ext,
        "refuses BPF_PROG_TYPE_EXT with EPERM",
    ),
    (
        Lane::Host,
        Feature::Tracing,
        "refuses BPF_PROG_TYPE_TRACING with EPERM",
    ),
    (
        Lane::Host,
        Feature::Kprobe,
        "is built without CONFIG_KPROBES",
    ),
    (
        Lane::Host,
        Feature::XdpLoader,
        "refuses the extension programs that libxdp chains",
    ),
    (
        Lane::V6_1,
        Feature::TwoProcessors,
        "its guests have one, for speed",
    ),
    (
        Lane::V5_10,
        Feature::TwoProcessors,
        "its guests have one, for speed",
    ),
    (Lane::V6_1, Feature::Tcx, "TCX came with 6.6"),
    (Lane::V6_1, Feature::Kfunc, "bpf_rdonly_cast came with 6.2"),
    (Lane::V5_10, Feature::Tcx, "TCX came with 6.6"),
    (Lane::V5_10, Feature::Kfunc, "bpf_rdonly_cast came with 6.2"),
    (
        Lane::V5_10,
        Feature::PerfLink,
        "links of perf events came with 5.15",
    ),
    (Lane::V5_10, Feature::XdpFrags, "fragments came with 5.18"),
    (
        Lane::V5_10,
        Feature::BloomFilter,
        "bloom filters came with 5.16",
    ),
    (
        Lane::V5_10,
        Feature::ExtTailCall,
        "wants programs of the very same type in an array; looks through extensions from 6.2 on",
    ),
    (
        Lane::V5_10,
        Feature::XdpLoader,
        "Debian's libxdp gets EINVAL on its veth",
    ),
    (
        Lane::Host,
        Feature::SleepableTracing,
        "refuses BPF_PROG_TYPE_TRACING with EPERM",
    ),
    (
        Lane::V6_1,
        Feature::SleepableTracing,
        "its test functions let programs sleep from 6.3 on",
    ),
    (
        Lane::V5_10,
        Feature::SleepableTracing,
        "its test functions let programs sleep from 6.3 on",
    ),
    (
        Lane::Host,
        Feature::KallsymsAll,
        "is built without CONFIG_KALLSYMS_ALL",
    ),
];

/// Whether the test can run here. A feature that is missing without an excuse fails the test; with
/// one, the skip is noted in the file that `BPFMAN_SKIPS` names.
pub(crate) fn may_run(features: &[Feature]) -> bool {
    let lane = Lane::current();
    let missing: Vec<Feature> = features
        .iter()
        .copied()
        .filter(|f| !f.is_present())
        .collect();
    for feature in &missing {
        let excuse = feature.excuse(lane);
        assert!(
            excuse.is_some(),
            "the kernel lacks {feature}; the lane {lane:?} has no excuse"
        );
    }
    let Some(feature) = missing.first() else {
        return true;
    };
    let (name, why) = (test_name(), feature.excuse(lane).unwrap_or_default());
    eprintln!("skipped: {name} needs {feature}, and this kernel {why}");
    if let Some(file) = env::var_os("BPFMAN_SKIPS") {
        let mut file = fs::File::options()
            .create(true)
            .append(true)
            .open(file)
            .unwrap();
        writeln!(file, "{name}\t{feature}").unwrap();
    }
    false
}

/// The name as the test runner knows it. libtest names the thread after the test unless it runs
/// it on the main thread.
pub(crate) fn test_name() -> String {
    let thread = std::thread::current();
    match thread.name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => env::args()
            .skip(1)
            .find(|a| a.contains("::"))
            .unwrap_or_else(|| "unknown".into()),
    }
}

/// The kernel has a function of this name.
fn has_symbol(name: &str) -> bool {
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap();
    symbols
        .lines()
        .any(|line| line.split_ascii_whitespace().nth(2) == Some(name))
}
