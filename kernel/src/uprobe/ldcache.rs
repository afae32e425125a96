//! `/etc/ld.so.cache`, as glibc's dl-cache.h lays it out.

/// Of the format since glibc 2.2, and of the part of it behind an older table.
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const HEADER: usize = 48;
const ENTRY: usize = 24;
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
/// The entry stands for a folder of `glibc-hwcaps`.
const HWCAP_EXTENSION: u64 = 1 << 62;

/// Flags of this machine's libraries; None where the table has no line for it.
const NATIVE: Option<u32> = if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
    Some(0x0303)
} else if cfg!(target_arch = "x86") {
    Some(0x0003)
} else if cfg!(target_arch = "aarch64") {
    Some(0x0a03)
} else if cfg!(target_arch = "s390x") {
    Some(0x0403)
} else if cfg!(target_arch = "powerpc64") {
    Some(0x0503)
} else if cfg!(target_arch = "riscv64") {
    Some(0x1003)
} else if cfg!(target_arch = "arm") {
    Some(0x0903)
} else {
    None
};

/// A library that the dynamic linker finds by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) path: &'a str,
    flags: u32,
    hwcap: u64,
}

impl Entry<'_> {
    /// It is for programs of this machine's own kind.
    pub(super) fn is_native(&self) -> bool {
        NATIVE.is_none_or(|native| self.flags == native)
    }

    /// How well it suits this processor: higher is what the dynamic linker takes first, None
    /// what it leaves aside.
    pub(super) fn level(&self) -> Option<u8> {
        if self.hwcap == 0 {
            return Some(0);
        }
        // Folders by other features are a thing of the past (gone in glibc 2.37).
        let folder = self
            .path
            .split_once("/glibc-hwcaps/")?
            .1
            .split('/')
            .next()?;
        (self.hwcap & HWCAP_EXTENSION != 0 && runs_here(folder))
            .then(|| folder.bytes().last())
            .flatten()
    }
}

#[cfg(target_arch = "x86_64")]
fn runs_here(folder: &str) -> bool {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("sse4.2") && has!("ssse3") && has!("popcnt") && has!("cmpxchg16b");
    let v3 = v2 && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("fma") && has!("movbe");
    match folder {
        "x86-64-v2" => v2,
        "x86-64-v3" => v3,
        "x86-64-v4" => v3 && has!("avx512f") && has!("avx512bw") && has!("avx512vl"),
        _ => false,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn runs_here(_folder: &str) -> bool {
    false
}

/// The entries of a cache, in its order. What is damaged is left out; a file of another format
/// has none.
pub(super) fn entries(file: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let table = table(file).unwrap_or_default();
    let count = number(table, 20).unwrap_or(0) as usize;
    let body = table.get(HEADER..).unwrap_or_default();
    body.chunks_exact(ENTRY).take(count).filter_map(|entry| {
        Some(Entry {
            flags: number(entry, 0)?,
            name: string(table, number(entry, 4)?)?,
            path: string(table, number(entry, 8)?)?,
            hwcap: u64::from_ne_bytes(*entry.get(16..)?.first_chunk()?),
        })
    })
}

/// The table, from which the offsets of its strings count.
fn table(file: &[u8]) -> Option<&[u8]> {
    if file.starts_with(MAGIC) {
        return Some(file);
    }
    if !file.starts_with(OLD_MAGIC) {
        return None;
    }
    let count = number(file, 12)? as usize;
    let end = count.checked_mul(OLD_ENTRY)?.checked_add(OLD_HEADER)?;
    // Its numbers of 8 bytes are aligned to 8 or to 4 bytes, as the machine has it.
    [8, 4]
        .into_iter()
        .filter_map(|alignment| file.get(end.checked_next_multiple_of(alignment)?..))
        .find(|table| table.starts_with(MAGIC))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|bytes| u32::from_ne_bytes(*bytes))
}

fn string(table: &[u8], at: u32) -> Option<&str> {
    let text = table.get(at as usize..)?;
    let end = text.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(text.get(..end)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: u32 = 0x7f03;

    /// A cache with these names, paths, flags and hwcaps.
    fn cache(entries: &[(&str, &str, u32, u64)]) -> Vec<u8> {
        let mut strings = Vec::new();
        let base = HEADER + entries.len() * ENTRY;
        let mut table = MAGIC.to_vec();
        table.extend(u32::try_from(entries.len()).unwrap().to_ne_bytes());
        table.resize(HEADER, 0);
        for (name, path, flags, hwcap) in entries {
            let mut add = |text: &str| {
                let at = u32::try_from(base + strings.len()).unwrap();
                strings.extend(text.bytes().chain([0]));
                at.to_ne_bytes()
            };
            let (name, path) = (add(name), add(path));
            table.extend(flags.to_ne_bytes());
            table.extend(name);
            table.extend(path);
            table.extend(0_u32.to_ne_bytes());
            table.extend(hwcap.to_ne_bytes());
        }
        table.extend(strings);
        table
    }

    /// The same behind an older table of `old` entries.
    fn combined(old: u32, table: &[u8], alignment: usize) -> Vec<u8> {
        let mut file = OLD_MAGIC.to_vec();
        file.resize(12, 0);
        file.extend(old.to_ne_bytes());
        file.resize(
            (OLD_HEADER + old as usize * OLD_ENTRY).next_multiple_of(alignment),
            0,
        );
        file.extend(table);
        file
    }

    fn names(file: &[u8]) -> Vec<(String, String)> {
        entries(file)
            .map(|entry| (entry.name.to_owned(), entry.path.to_owned()))
            .collect()
    }

    fn sample() -> Vec<u8> {
        cache(&[
            (
                "libc.so.6",
                "/lib/x86_64-linux-gnu/libc.so.6",
                NATIVE.unwrap_or(3),
                0,
            ),
            ("libc.so.6", "/lib32/libc.so.6", OTHER, 0),
        ])
    }

    #[test]
    fn entries_in_order() {
        let file = sample();
        let natives: Vec<_> = entries(&file).map(|entry| entry.is_native()).collect();
        assert_eq!(natives, [true, NATIVE.is_none()]);
        assert_eq!(names(&file)[1].1, "/lib32/libc.so.6");
    }

    #[test]
    fn behind_an_older_table() {
        for (old, alignment) in [(0, 8), (1, 8), (2, 8), (1, 4), (3, 4)] {
            assert_eq!(
                names(&combined(old, &sample(), alignment)),
                names(&sample()),
                "{old}"
            );
        }
        let mut lie = combined(1, &sample(), 8);
        lie[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(names(&lie), []);
    }

    #[test]
    fn every_truncation_gives_whole_entries_only() {
        for whole in [sample(), combined(1, &sample(), 8)] {
            let all = names(&whole);
            for length in 0..whole.len() {
                let some = names(&whole[..length]);
                assert!(some.iter().all(|entry| all.contains(entry)), "{length}");
            }
            assert_eq!(names(&whole[..whole.len() - 1]).len(), 1);
        }
    }

    #[test]
    fn offsets_and_counts_out_of_the_file() {
        let mut file = sample();
        file[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(names(&file).len() >= 2);
        file[HEADER + 4..HEADER + 8].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(names(&file)[0].1, "/lib32/libc.so.6");
        assert_eq!(names(b"ELF"), []);
    }

    #[test]
    fn folders_for_better_processors() {
        let level = |path, hwcap| {
            Entry {
                name: "libx.so",
                path,
                flags: 3,
                hwcap,
            }
            .level()
        };
        assert_eq!(level("/usr/lib/libx.so", 0), Some(0));
        assert_eq!(level("/usr/lib/i686/libx.so", 4), None);
        assert_eq!(
            level("/usr/lib/glibc-hwcaps/z99/libx.so", HWCAP_EXTENSION),
            None
        );
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            let v3 = level(
                "/usr/lib/glibc-hwcaps/x86-64-v3/libx.so",
                HWCAP_EXTENSION | 1,
            );
            let v2 = level("/usr/lib/glibc-hwcaps/x86-64-v2/libx.so", HWCAP_EXTENSION);
            assert!(v3 > v2 && v2 > Some(0));
        }
    }
}
