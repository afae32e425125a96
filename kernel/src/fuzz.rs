//! Files of a container that a uprobe looks into.

pub use crate::uprobe::fuzz::{ld_cache, uprobe_elf};

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    #[test]
    fn ld_cache() {
        super::replay::replay("ld_cache", super::ld_cache);
    }

    #[test]
    fn uprobe_elf() {
        super::replay::replay("uprobe_elf", super::uprobe_elf);
    }
}
