//! What the caller may not do.

use std::fs;

use crate::release;

/// Number and name of a capability, include/uapi/linux/capability.h.
const NET_ADMIN: (u32, &str) = (12, "CAP_NET_ADMIN");
const SYS_ADMIN: (u32, &str) = (21, "CAP_SYS_ADMIN");
const PERFMON: (u32, &str) = (38, "CAP_PERFMON");
const BPF: (u32, &str) = (39, "CAP_BPF");

/// The capabilities that this process lacks; None when it has all that is needed.
///
/// Before kernel 5.8, which split `CAP_BPF` and `CAP_PERFMON` from it, that is `CAP_SYS_ADMIN`.
pub fn missing_privilege() -> Option<Vec<&'static str>> {
    let effective = effective(&fs::read_to_string("/proc/self/status").ok()?)?;
    // What a user namespace gives counts inside of it only, and bpf(2) asks the whole machine.
    let own_namespace = fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !is_initial(&map));
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").ok();
    let last = last
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(BPF.0);
    let lacking = lacking(if own_namespace { 0 } else { effective }, last);
    (!lacking.is_empty()).then_some(lacking)
}

/// Whether `CAP_SYS_ADMIN`, which the kernel asks for at a few places only, is lacking.
pub fn lacks_sys_admin() -> bool {
    let status = fs::read_to_string("/proc/self/status").ok();
    status
        .and_then(|status| effective(&status))
        .is_some_and(|held| held >> SYS_ADMIN.0 & 1 == 0)
}

/// Whether this process may lock only so much memory (`RLIMIT_MEMLOCK`), on a kernel that counts
/// programs and maps among it: up to 5.10. Who has `CAP_SYS_RESOURCE` raises the limit by loading.
pub fn memory_is_limited() -> bool {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock);
    !release::is_since(release::NO_MEMLOCK_LIMIT) && limit.current.is_some()
}

fn lacking(effective: u64, last: u32) -> Vec<&'static str> {
    let has = |(number, _): (u32, &str)| effective >> number & 1 == 1;
    let mut lacking = Vec::new();
    if last < BPF.0 {
        lacking.extend([SYS_ADMIN].into_iter().filter(|cap| !has(*cap)));
    } else if !has(SYS_ADMIN) {
        lacking.extend([BPF, PERFMON].into_iter().filter(|cap| !has(*cap)));
    }
    lacking.extend([NET_ADMIN].into_iter().filter(|cap| !has(*cap)));
    lacking.into_iter().map(|(_, name)| name).collect()
}

fn effective(status: &str) -> Option<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(value.trim(), 16).ok()
}

/// All ids stand for themselves: the user namespace of the machine, user_namespaces(7).
fn is_initial(uid_map: &str) -> bool {
    uid_map
        .split_ascii_whitespace()
        .eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: u64 = (1 << 41) - 1;

    fn caps(of: &[(u32, &str)]) -> u64 {
        of.iter().map(|(number, _)| 1 << number).sum()
    }

    #[test]
    fn what_is_lacking() {
        assert_eq!(lacking(ROOT, 40), [""; 0]);
        assert_eq!(lacking(0, 40), ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]);
        assert_eq!(lacking(caps(&[BPF, PERFMON, NET_ADMIN]), 40), [""; 0]);
        assert_eq!(lacking(caps(&[BPF, NET_ADMIN]), 40), ["CAP_PERFMON"]);
        assert_eq!(lacking(caps(&[SYS_ADMIN]), 40), ["CAP_NET_ADMIN"]);
        assert_eq!(lacking(0, 37), ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]);
        assert_eq!(lacking(caps(&[SYS_ADMIN, NET_ADMIN]), 37), [""; 0]);
    }

    #[test]
    fn status_and_namespace() {
        assert_eq!(
            effective("Name:\tx\nCapPrm:\t0\nCapEff:\t000001fffeffffff\n"),
            Some(0x1ff_feff_ffff)
        );
        assert_eq!(effective("Name:\tx\n"), None);
        assert!(is_initial("         0          0 4294967295\n"));
        assert!(!is_initial("         0       1000          1\n"));
    }
}
