//! A veth pair, and traffic on it that is counted to the packet.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::{Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use nix::errno::Errno;

use crate::{in_netns, json, tool, wait_until};

/// How long the line must be quiet before the packets that did not come count as lost.
const QUIET: Duration = Duration::from_millis(120);

/// Two interfaces: the near one, for programs, and its peer in a namespace of its own. Neighbours
/// are entered by hand and IPv6 is off, so the only packets are those that the test sends.
#[derive(Debug)]
pub struct Veth {
    /// The near interface.
    pub name: String,
    /// The far interface.
    pub peer: String,
    /// The namespace of the far one.
    pub netns: String,
    near: UdpSocket,
    far: UdpSocket,
    sequence: AtomicU32,
    k: u8,
}

impl Veth {
    pub(crate) fn new(near_netns: Option<&str>, k: usize) -> Self {
        let (name, peer, netns) = (format!("bm{k}"), format!("fm{k}"), format!("peer{k}"));
        let k = u8::try_from(k).unwrap();
        tool("ip", &["netns", "add", &netns]).ok();
        in_netns(&netns, quiet_ipv6);
        within(near_netns, || {
            quiet_ipv6();
            batch(&format!(
                "link add {name} numtxqueues 1 numrxqueues 1 address 02:00:00:00:{k:02x}:01 \
                 type veth peer name {peer} numtxqueues 1 numrxqueues 1 netns {netns} address 02:00:00:00:{k:02x}:02\n"
            ));
            bring_up(&name, k);
        });
        in_netns(&netns, || {
            batch(&format!(
                "address add 10.200.{k}.2/24 dev {peer}\n\
                 link set {peer} up\n\
                 neigh replace 10.200.{k}.1 lladdr 02:00:00:00:{k:02x}:01 dev {peer} nud permanent\n"
            ));
        });
        within(near_netns, || wait_for_link(&name));
        in_netns(&netns, || wait_for_link(&peer));
        let near_socket = within(near_netns, || socket(k, 1));
        let far_socket = in_netns(&netns, || socket(k, 2));
        Self {
            name,
            peer,
            netns,
            near: near_socket,
            far: far_socket,
            sequence: AtomicU32::new(0),
            k,
        }
    }

    /// Gives the near interface another name.
    pub fn rename(&mut self, name: &str) {
        tool("ip", &["link", "set", &self.name, "down"]).ok();
        tool("ip", &["link", "set", &self.name, "name", name]).ok();
        name.clone_into(&mut self.name);
        bring_up(name, self.k);
        self.wait(None);
    }

    /// The near interface, which the test has put into another namespace (None: that of the
    /// sandbox), gets its address again and a socket there.
    pub fn moved_to(&mut self, netns: Option<&str>) {
        within(netns, || {
            quiet_ipv6();
            bring_up(&self.name, self.k);
        });
        self.wait(netns);
        self.near = within(netns, || socket(self.k, 1));
    }

    fn wait(&self, netns: Option<&str>) {
        within(netns, || wait_for_link(&self.name));
        in_netns(&self.netns, || wait_for_link(&self.peer));
    }

    /// Sends packets from the peer to the near interface. Answers how many of them arrived behind
    /// it.
    pub fn ingress(&self, packets: u32) -> u32 {
        self.exchange(&self.far, &self.near, packets)
    }

    /// Sends packets out of the near interface. Answers how many of them arrived at the peer.
    pub fn egress(&self, packets: u32) -> u32 {
        self.exchange(&self.near, &self.far, packets)
    }

    /// How many packets the peer could not hand over because the near interface's queue was full:
    /// no program there can have seen them. The kernel counts them (`veth_xmit`,
    /// drivers/net/veth.c).
    pub fn refused(&self) -> u64 {
        let words = ["-n", &self.netns, "-s", "-j", "link", "show", "dev"];
        let link = json("ip", &[&words[..], &[&self.peer]].concat());
        link[0]["stats64"]["tx"]["dropped"].as_u64().unwrap()
    }

    /// The socket behind the near interface, and the one at the peer.
    pub fn sockets(&self) -> (&UdpSocket, &UdpSocket) {
        (&self.near, &self.far)
    }

    fn exchange(&self, from: &UdpSocket, to: &UdpSocket, packets: u32) -> u32 {
        let first = self.sequence.fetch_add(packets, Ordering::Relaxed);
        let address = to.local_addr().unwrap();
        let mut expected: BTreeSet<u32> = (first..first + packets).collect();
        for number in &expected {
            send(from, address, *number);
        }
        let mut arrived = 0;
        let mut last = Instant::now();
        let end = Instant::now() + Duration::from_mins(1);
        while !expected.is_empty() && last.elapsed() < QUIET {
            if let Some(number) = receive(to) {
                assert!(
                    expected.remove(&number),
                    "packet {number} twice, or never sent"
                );
                arrived += 1;
                last = Instant::now();
            } else if WORKERS.are_busy() && Instant::now() < end {
                last = Instant::now();
            }
        }
        arrived
    }
}

/// The kernel's threads for packets that it could not handle at once, `ksoftirqd/<cpu>`. On a busy
/// machine they wait for their turn, and so do the packets.
struct Workers(Vec<String>);

static WORKERS: LazyLock<Workers> = LazyLock::new(Workers::find);

impl Workers {
    fn find() -> Self {
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let stats = processes.map(|process| format!("{}/stat", process.path().display()));
        Self(stats.filter(|stat| state(stat).is_some()).collect())
    }

    fn are_busy(&self) -> bool {
        self.0.iter().any(|stat| state(stat) == Some('R'))
    }
}

/// State of a worker; None when the file is none of a worker.
fn state(stat: &str) -> Option<char> {
    let text = fs::read_to_string(stat).ok()?;
    let (name, rest) = text.split_once('(')?.1.split_once(") ")?;
    if name.starts_with("ksoftirqd/") {
        rest.chars().next()
    } else {
        None
    }
}

/// Sends one numbered packet. A full queue and a packet that a filter took are no errors.
pub fn send(from: &UdpSocket, to: SocketAddr, number: u32) {
    match from.send_to(&number.to_be_bytes(), to) {
        Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {}
        result => assert_eq!(result.unwrap(), 4),
    }
}

/// The number of the next packet; None when none comes for 20 ms.
pub fn receive(socket: &UdpSocket) -> Option<u32> {
    let mut buffer = [0; 64];
    match socket.recv_from(&mut buffer) {
        Ok((size, _)) => {
            assert_eq!(size, 4, "a packet that no test sent");
            Some(u32::from_be_bytes(*buffer.first_chunk().unwrap()))
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
        Err(error) => panic!("cannot receive: {error}"),
    }
}

/// In a named namespace, or in that of the calling thread.
fn within<T: Send>(netns: Option<&str>, work: impl FnOnce() -> T + Send) -> T {
    match netns {
        None => work(),
        Some(netns) => in_netns(netns, work),
    }
}

/// Address, state and the one neighbour of a near interface.
fn bring_up(name: &str, k: u8) {
    batch(&format!(
        "address replace 10.200.{k}.1/24 dev {name}\n\
         link set {name} up\n\
         neigh replace 10.200.{k}.2 lladdr 02:00:00:00:{k:02x}:02 dev {name} nud permanent\n"
    ));
}

/// A socket on the address of one side, in the namespace of the calling thread.
fn socket(k: u8, side: u8) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::new(10, 200, k, side), 4000)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    socket
}

/// The kernel notices later that a side which was up first has a carrier, and drops what is sent
/// until then.
fn wait_for_link(iface: &str) {
    let is_up = || json("ip", &["-j", "link", "show", "dev", iface])[0]["operstate"] == "UP";
    assert!(wait_until(is_up), "{iface} does not come up");
}

/// Several `ip` commands at once.
fn batch(commands: &str) {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(commands.as_bytes())
        .unwrap();
    assert!(
        child.wait().unwrap().success(),
        "ip -batch failed:\n{commands}"
    );
}

/// No IPv6 in the namespace of the calling thread: its neighbour discovery would be counted.
fn quiet_ipv6() {
    for which in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
        match fs::write(&path, "1") {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{path}: {error}"),
            _ => {}
        }
    }
}
