//! Who waits for whose lock (flock(2)), as the kernel tells it of the whole machine.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// Whether this process waits for a lock.
pub fn waits_for_a_lock(process: u32) -> bool {
    waiting(&format!(" {process} "))
}

/// Whether anybody waits for the lock of this file.
pub fn is_waited_for(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|file| waiting(&format!(":{} ", file.ino())))
}

/// Among others there are those who wait for a package manager, or for another test.
fn waiting(words: &str) -> bool {
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks
        .lines()
        .any(|line| line.contains("->") && line.contains(words))
}
