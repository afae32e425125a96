//! What can be asked of the machine.

use std::{
    collections::BTreeMap,
    fs,
    net::UdpSocket,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use testkit::{Details, Line, Output, in_netns, maps, wait_until};

/// Where the service reads manifests.
pub(crate) const FOLDER: &str = "/etc/bpfman/programs.d";

/// Programs of the manifests that are there at boot, with their interface or event.
pub(crate) const AT_BOOT: [&str; 4] = [
    "XdpProgram/first",
    "XdpProgram/second",
    "TcProgram/third",
    "TracepointProgram/fourth",
];

/// Runs a command of the machine; it must succeed.
#[track_caller]
pub(crate) fn run(words: &str) -> String {
    let mut words = words.split_ascii_whitespace();
    Output::of(Command::new(words.next().unwrap()).args(words)).ok()
}

/// The state of a unit in one word.
pub(crate) fn state(unit: &str) -> String {
    let mut command = Command::new("systemctl");
    Output::of(command.args(["is-active", unit]))
        .stdout
        .trim()
        .to_owned()
}

/// What a unit said since this start.
pub(crate) fn journal(unit: &str) -> String {
    run(&format!(
        "journalctl --boot --no-pager --output cat --unit {unit}"
    ))
}

/// Waits until the service said these words so many times.
#[track_caller]
pub(crate) fn watch_says(words: &str, times: usize) {
    let said = || journal("bpfman-watch.service").matches(words).count() >= times;
    assert!(wait_until(said), "{words}");
}

/// The programs of a manifest.
#[track_caller]
pub(crate) fn ids(manifest: &str) -> Vec<u32> {
    let list = run(&format!("bpfman list -m bpfman.io/manifest={manifest}"));
    Line::parse(&list).iter().map(|line| line.id).collect()
}

/// The one program of a manifest, once it is there.
#[track_caller]
pub(crate) fn id(manifest: &str) -> u32 {
    let one = || ids(manifest).len() == 1;
    assert!(wait_until(one), "{}", journal("bpfman-watch.service"));
    ids(manifest)[0]
}

/// All programs that were there at boot, when they are there.
#[track_caller]
pub(crate) fn at_boot() -> BTreeMap<&'static str, u32> {
    AT_BOOT.map(|manifest| (manifest, id(manifest))).into()
}

/// The tables of `get`.
pub(crate) fn get(id: u32) -> Details {
    Details::parse(&run(&format!("bpfman get {id}")))
}

/// What a program has counted.
#[track_caller]
pub(crate) fn count(id: u32) -> u64 {
    maps::count(
        &Path::new(&get(id).bpfman("Map Pin Path")).join("counter"),
        0,
    )
}

/// What programs count of some packets, all of which must arrive.
#[track_caller]
pub(crate) fn counts_of(packets: u32, k: u8, ids: &[u32]) -> Vec<u64> {
    let counts = || ids.iter().map(|id| count(*id)).collect::<Vec<_>>();
    let before = counts();
    assert_eq!(send(packets, k), packets);
    counts()
        .iter()
        .zip(before)
        .map(|(now, old)| now - old)
        .collect()
}

/// Sends packets to `bm<k>` from its peer. Answers how many arrived.
fn send(packets: u32, k: u8) -> u32 {
    let near = UdpSocket::bind(format!("10.200.{k}.1:0")).unwrap();
    let to = near.local_addr().unwrap();
    near.set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    in_netns(&format!("peer{k}"), || {
        let far = UdpSocket::bind(format!("10.200.{k}.2:0")).unwrap();
        for _ in 0..packets {
            far.send_to(b"packet", to).unwrap();
        }
    });
    let (mut arrived, end) = (0, Instant::now() + Duration::from_mins(5));
    while arrived < packets && Instant::now() < end {
        arrived += u32::from(near.recv(&mut [0; 16]).is_ok());
    }
    arrived
}

/// Three packets pass three programs of `bm0` in their order, and the tracepoint counts.
#[track_caller]
pub(crate) fn everything_counts() {
    let programs = at_boot();
    let [first, second, third, fourth] = AT_BOOT.map(|manifest| programs[manifest]);
    assert_eq!(counts_of(3, 0, &[first, second, third]), [3, 3, 3]);
    assert_eq!(get(first).bpfman("Position"), "0");
    assert_eq!(get(second).bpfman("Position"), "1");
    let before = count(fourth);
    fs::create_dir("/tmp/gone").unwrap();
    fs::remove_dir("/tmp/gone").unwrap();
    assert!(count(fourth) > before);
}
