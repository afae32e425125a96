//! Network namespaces: naming, finding again, entering.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use model::Place;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{Error, Result};

/// What `ip netns` makes: one file a namespace.
const NAMED: &str = "/run/netns";
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace that can be entered.
#[derive(Debug)]
pub struct NetNs {
    file: File,
    dev: u64,
    ino: u64,
    /// The calling thread is in it already.
    own: bool,
}

/// Brings the thread back; dropped at the end of [`NetNs::run`], also in a panic.
struct Return(File);

impl Drop for Return {
    fn drop(&mut self) {
        let network = Some(LinkNameSpaceType::Network);
        if let Err(error) = move_into_link_name_space(self.0.as_fd(), network) {
            log::error!("cannot return to the own network namespace: {error}");
        }
    }
}

impl NetNs {
    /// The caller's namespace, or the one that a name below `/run/netns` or a path stands for.
    pub fn open(netns: Option<&Path>) -> Result<Self> {
        let path = match netns {
            None => PathBuf::from(OWN),
            Some(path) if path.components().count() == 1 && path.is_relative() => {
                Path::new(NAMED).join(path)
            }
            Some(path) => path.to_owned(),
        };
        Self::at(&path)
    }

    fn at(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::NoNamespace {
            path: path.to_owned(),
            source,
        })?;
        let wanted = file.metadata().map_err(Error::path("read", path))?;
        let own = fs::metadata(OWN).map_err(Error::path("read", OWN))?;
        // Namespaces live on one nsfs; anything else at the path is a plain file.
        if wanted.dev() != own.dev() {
            return Err(Error::NotANamespace {
                path: path.to_owned(),
            });
        }
        let is_own = wanted.ino() == own.ino();
        Ok(Self {
            file,
            dev: wanted.dev(),
            ino: wanted.ino(),
            own: is_own,
        })
    }

    /// The namespace of a place, wherever it can still be seen: where it was named, in this
    /// thread, at init, below `/run/netns`, at any process. None when nobody is in it any more.
    ///
    /// An error when it is nowhere, but could not be looked for everywhere.
    pub fn find(place: &Place, named: Option<&Path>) -> Result<Option<Self>> {
        let failure = RefCell::new(None);
        let is_it = |ns: Result<Self>| match ns {
            Ok(ns) => (ns.dev == place.ns_dev && ns.ino == place.ns_ino).then_some(ns),
            Err(error) => {
                if !matches!(error, Error::NotANamespace { .. }) && !error.is_absence() {
                    failure.borrow_mut().get_or_insert(error);
                }
                None
            }
        };
        let at = |path: &Path| is_it(Self::at(path));
        if let Some(found) = is_it(Self::open(named)) {
            return Ok(Some(found));
        }
        let fixed = [OWN, "/proc/1/ns/net"]
            .iter()
            .find_map(|path| at(Path::new(path)));
        let below = |folder: &str, rest: &'static str| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .filter(|entry| rest.is_empty() || is_pid(&entry.file_name()))
                .find_map(|entry| {
                    let path = entry.path();
                    at(&if rest.is_empty() {
                        path
                    } else {
                        path.join(rest)
                    })
                })
        };
        let found = fixed
            .or_else(|| below(NAMED, ""))
            .or_else(|| below("/proc", "ns/net"));
        match (found, failure.into_inner()) {
            (None, Some(error)) => Err(error),
            (found, _) => Ok(found),
        }
    }

    /// Runs `f` in the namespace. The calling thread changes over and comes back.
    pub fn run<T>(&self, f: impl FnOnce() -> T) -> Result<T> {
        if self.own {
            return Ok(f());
        }
        let enter = |source: io::Error| Error::EnterNamespace { source };
        let back = Return(File::open(OWN).map_err(enter)?);
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|errno| enter(errno.into()))?;
        let result = f();
        drop(back);
        Ok(result)
    }

    /// The interface with this name; its index is unique in the namespace.
    pub fn interface(&self, iface: &str, namespace: impl FnOnce() -> String) -> Result<Place> {
        match self.run(|| index(iface))? {
            Ok(ifindex) => Ok(Place {
                ns_dev: self.dev,
                ns_ino: self.ino,
                ifindex,
            }),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Err(Error::NoInterface {
                iface: iface.to_owned(),
                namespace: namespace(),
                similar: self.similar_interface(iface),
            }),
            Err(error) => Err(Error::query(format!("look up interface '{iface}'"))(error)),
        }
    }

    /// What the interface with this index is called now; None when there is none.
    pub fn interface_name(&self, ifindex: u32) -> Result<Option<String>> {
        let name = self.run(|| {
            let socket = probe_socket()?;
            rustix::net::netdevice::index_to_name(socket, ifindex).map_err(io::Error::from)
        })?;
        match name {
            Ok(name) => Ok(Some(name)),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(Error::query(format!("look up interface {ifindex}"))(error)),
        }
    }

    /// Every namespace that can be seen from here, once, with the word by which `--netns` takes
    /// it: the caller's (None), those below `/run/netns`, those of processes.
    pub(crate) fn visible() -> Vec<(Self, Option<PathBuf>)> {
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        let mut add = |path: &Path, word: Option<PathBuf>| {
            if let Ok(ns) = Self::at(path)
                && seen.insert((ns.dev, ns.ino))
            {
                found.push((ns, word));
            }
        };
        add(Path::new(OWN), None);
        let entries = |folder| fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries(NAMED) {
            add(&entry.path(), Some(entry.file_name().into()));
        }
        for entry in entries("/proc").filter(|entry| is_pid(&entry.file_name())) {
            let path = entry.path().join("ns/net");
            add(&path, Some(path.clone()));
        }
        found
    }

    fn similar_interface(&self, iface: &str) -> Option<String> {
        let names = self.run(interfaces).ok()?.into_iter();
        names
            .map(|name| (strsim::damerau_levenshtein(&name, iface), name))
            .filter(|(distance, _)| *distance <= 2)
            .min()
            .map(|(_, name)| name)
    }
}

/// The index of an interface of the calling thread's namespace; ENODEV when there is none.
pub(crate) fn index(iface: &str) -> io::Result<u32> {
    Ok(rustix::net::netdevice::name_to_index(
        probe_socket()?,
        iface,
    )?)
}

/// The interfaces of the calling thread's namespace.
pub fn interfaces() -> Vec<String> {
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let names = table
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

/// The interface of the default route of the calling thread's namespace: the one of the lowest
/// metric, IPv4 before IPv6.
pub fn default_interface() -> Option<String> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    v4_default(&read("/proc/thread-self/net/route"))
        .or_else(|| v6_default(&read("/proc/thread-self/net/ipv6_route")))
}

/// `RTF_UP`, include/uapi/linux/route.h.
const ROUTE_UP: u32 = 1;
/// `RTF_REJECT`: a route that refuses.
const ROUTE_REJECT: u32 = 0x200;

fn is_usable(flags: &str) -> bool {
    let flags = u32::from_str_radix(flags, 16).unwrap_or(0);
    flags & ROUTE_UP != 0 && flags & ROUTE_REJECT == 0
}

/// Columns: Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT.
fn v4_default(table: &str) -> Option<String> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [iface, "00000000", _, flags, _, _, metric, "00000000", ..] = fields[..] else {
            return None;
        };
        let metric: u32 = metric.parse().ok()?;
        is_usable(flags).then_some((metric, iface))
    });
    // The first of equals is the one that the kernel takes.
    routes
        .min_by_key(|(metric, _)| *metric)
        .map(|(_, iface)| iface.to_owned())
}

/// Columns: destination, its length, source, its length, next hop, metric, references, use, flags,
/// interface.
fn v6_default(table: &str) -> Option<String> {
    let routes = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [target, "00", _, _, _, metric, _, _, flags, iface] = fields[..] else {
            return None;
        };
        let metric = u32::from_str_radix(metric, 16).ok()?;
        let default = target.bytes().all(|digit| digit == b'0') && iface != "lo";
        (default && is_usable(flags)).then_some((metric, iface))
    });
    routes
        .min_by_key(|(metric, _)| *metric)
        .map(|(_, iface)| iface.to_owned())
}

fn is_pid(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
}

/// Any socket: the interface ioctls need one to know the namespace.
fn probe_socket() -> io::Result<std::os::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let flags = SocketFlags::CLOEXEC;
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        flags,
        None,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_of_the_lowest_metric_counts() {
        let head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";
        let route = |iface: &str, target: &str, flags: &str, metric: u32, mask: &str| {
            format!("{iface}\t{target}\t0101A8C0\t{flags}\t0\t0\t{metric}\t{mask}\t0\t0\t0\n")
        };
        let table = [
            head.to_owned(),
            route("down", "00000000", "0002", 0, "00000000"),
            route("net", "0001A8C0", "0001", 0, "00FFFFFF"),
            route("slow", "00000000", "0003", 600, "00000000"),
            route("fast", "00000000", "0003", 100, "00000000"),
        ]
        .concat();
        assert_eq!(v4_default(&table).as_deref(), Some("fast"));
        assert_eq!(v4_default(head), None);
    }

    #[test]
    fn an_ipv6_route_that_refuses_is_none() {
        let zero = "0".repeat(32);
        let route = |length: &str, metric: &str, flags: &str, iface: &str| {
            format!("{zero} {length} {zero} 00 {zero} {metric} 00000001 00000000 {flags} {iface}\n")
        };
        let refuses = route("00", "ffffffff", "00200200", "lo");
        let table = refuses.clone() + &route("00", "00000400", "00450003", "eth0");
        assert_eq!(v6_default(&table).as_deref(), Some("eth0"));
        assert_eq!(v6_default(&refuses), None);
    }
}
