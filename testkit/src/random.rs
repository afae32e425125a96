//! Numbers that look like chance and can be had again.

use std::{
    env,
    time::{SystemTime, UNIX_EPOCH},
};

/// A sequence that its seed decides (SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// With the seed of `BPFMAN_SEED`, or another one each time. It is printed, so that a run that
    /// failed can be had again.
    pub fn new() -> Self {
        let seed = if let Ok(text) = env::var("BPFMAN_SEED") {
            text.parse().expect("BPFMAN_SEED is no number")
        } else {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            u64::from(now.subsec_nanos()) << 16 | u64::from(std::process::id()) & 0xffff
        };
        eprintln!("figure: seed {seed} (BPFMAN_SEED={seed} has it again)");
        Self(seed)
    }

    /// Another sequence for another thread.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end)).unwrap()
    }

    /// A number from 0 up to, and without, 1.
    pub fn fraction(&mut self) -> f64 {
        f64::from(self.below(1 << 24)) / f64::from(1 << 24)
    }

    /// One of those.
    pub fn of<'a, T>(&mut self, those: &'a [T]) -> Option<&'a T> {
        let length = u32::try_from(those.len()).unwrap();
        (length > 0).then(|| &those[self.below(length) as usize])
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}
