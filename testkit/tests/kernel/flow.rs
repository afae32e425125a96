//! Packets that never stop coming, on several lines at once.

use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use testkit::{Veth, send, wait_until};

/// Packets that are sent at once. Then the sender rests: on two slow processors the commands under
/// test need their turn.
const BURST: u32 = 2;
const REST: Duration = Duration::from_millis(3);

/// One direction of one pair.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) veth: &'a Veth,
    pub(crate) inbound: bool,
}

/// A sender for all lines, and how many packets it sent on each.
pub(crate) struct Flow<'a> {
    lines: Vec<(Option<Line<'a>>, AtomicU64)>,
    gate: Mutex<()>,
    done: AtomicBool,
}

impl<'a> Flow<'a> {
    /// Where there is no line, nothing is sent.
    pub(crate) fn new(lines: impl Iterator<Item = Option<Line<'a>>>) -> Self {
        Self {
            lines: lines.map(|line| (line, AtomicU64::new(0))).collect(),
            gate: Mutex::new(()),
            done: AtomicBool::new(false),
        }
    }

    /// Sends while `work` runs, also when that fails.
    pub(crate) fn during(&self, work: impl FnOnce(&Self)) {
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        thread::scope(|scope| {
            scope.spawn(|| {
                while !self.done.load(Ordering::Relaxed) {
                    self.burst();
                    thread::sleep(REST);
                }
            });
            let _end = End(&self.done);
            work(self);
        });
    }

    fn burst(&self) {
        let Ok(_turn) = self.gate.lock() else { return };
        for (line, sent) in &self.lines {
            let Some(Line { veth, inbound }) = line else {
                continue;
            };
            let (near, far) = veth.sockets();
            let (from, to) = if *inbound { (far, near) } else { (near, far) };
            let address = to.local_addr().unwrap();
            for number in 0..BURST {
                send(from, address, number);
            }
            sent.fetch_add(BURST.into(), Ordering::Relaxed);
        }
    }

    /// Nothing is sent until the answer is dropped.
    pub(crate) fn pause(&self) -> Paused<'_> {
        let turn = self.gate.lock().unwrap();
        Paused {
            flow: self,
            _turn: turn,
        }
    }

    /// All packets so far.
    pub(crate) fn packets(&self) -> u64 {
        let sent = self.lines.iter().map(|(_, sent)| sent);
        sent.map(|sent| sent.load(Ordering::Relaxed)).sum()
    }
}

/// The sender stands still.
pub(crate) struct Paused<'a> {
    flow: &'a Flow<'a>,
    _turn: MutexGuard<'a, ()>,
}

impl Paused<'_> {
    /// `counted` comes to be as many packets as were ever sent on this line, but for those that a
    /// full queue refused. Nothing is asked where there is no line.
    #[track_caller]
    pub(crate) fn assert_all_seen(&self, line: usize, counted: impl Fn() -> u64, what: &str) {
        let (Some(Line { veth, .. }), sent) = &self.flow.lines[line] else {
            return;
        };
        let sent = sent.load(Ordering::Relaxed);
        let refused = veth.refused();
        let all = || counted() + refused == sent;
        assert!(
            wait_until(all),
            "{what}: {sent} packets, {refused} refused, {} seen",
            counted()
        );
    }

    /// Sends some more packets, one after another. Answers how many arrived.
    pub(crate) fn strike(&self, line: usize, packets: u32) -> u32 {
        let (Some(Line { veth, inbound }), sent) = &self.flow.lines[line] else {
            return 0;
        };
        sent.fetch_add(packets.into(), Ordering::Relaxed);
        if *inbound {
            veth.ingress(packets)
        } else {
            veth.egress(packets)
        }
    }
}
