//! A library by its name, as the dynamic linker would find it.

use std::{cmp::Reverse, path::Path};

use super::{
    ldcache,
    root::{Root, Target},
};
use crate::{probe_error::ProbeError, suggest::Nearest};

const CACHE: &str = "/etc/ld.so.cache";
/// Distributions have 30 KB to 1 MB.
const CACHE_LIMIT: u64 = 16 << 20;

/// Where a system without a cache has its libraries; musl and busybox know no cache.
const FOLDERS: &[&str] = &[
    "/lib64",
    "/usr/lib64",
    #[cfg(target_arch = "x86_64")]
    "/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "x86_64")]
    "/usr/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    "/lib/aarch64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    "/usr/lib/aarch64-linux-gnu",
    #[cfg(target_arch = "s390x")]
    "/lib/s390x-linux-gnu",
    #[cfg(target_arch = "s390x")]
    "/usr/lib/s390x-linux-gnu",
    #[cfg(target_arch = "powerpc64")]
    "/lib/powerpc64le-linux-gnu",
    #[cfg(target_arch = "powerpc64")]
    "/usr/lib/powerpc64le-linux-gnu",
    #[cfg(target_arch = "riscv64")]
    "/lib/riscv64-linux-gnu",
    #[cfg(target_arch = "riscv64")]
    "/usr/lib/riscv64-linux-gnu",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
];

/// Finds a library by its file name, with or without `.so` and version.
pub(super) fn find(root: &Root, name: &str) -> Result<Target, ProbeError> {
    let cache = root.read(Path::new(CACHE), CACHE_LIMIT).unwrap_or_default();
    in_cache(root, &cache, name)
        .or_else(|| {
            FOLDERS
                .iter()
                .find_map(|folder| in_folder(root, Path::new(folder), name))
        })
        .ok_or_else(|| ProbeError::UnknownLibrary {
            library: name.to_owned(),
            container_pid: root.pid(),
            similar: similar(root, &cache, name),
        })
}

fn in_cache(root: &Root, cache: &[u8], name: &str) -> Option<Target> {
    let mut fitting: Vec<_> = ldcache::entries(cache)
        .filter_map(|entry| {
            let level = entry.level()?;
            let fit = fit(name, entry.name)?;
            Some(((!entry.is_native(), fit, Reverse(level)), entry.path))
        })
        .collect();
    // Stable: of equals the cache names the newest version first.
    fitting.sort_by_key(|(order, _)| *order);
    fitting
        .into_iter()
        .find_map(|(_, path)| usable(root, Path::new(path)))
}

fn in_folder(root: &Root, folder: &Path, name: &str) -> Option<Target> {
    let mut fitting: Vec<_> = root
        .names(folder)
        .into_iter()
        .filter_map(|file| Some(((fit(name, &file)?, Reverse(version(&file))), file)))
        .collect();
    fitting.sort_unstable();
    fitting
        .into_iter()
        .find_map(|(_, file)| usable(root, &folder.join(file)))
}

/// A file of that name may be a text for the linker.
fn usable(root: &Root, path: &Path) -> Option<Target> {
    root.target(path).ok().filter(Target::is_elf)
}

/// How well a file name fits the name that was asked for; less is better.
fn fit(wanted: &str, file: &str) -> Option<u8> {
    match file.strip_prefix(wanted)? {
        "" => Some(0),
        ".so" => Some(1),
        rest if rest.starts_with(".so.") => Some(2),
        // libc.so for libc.so.6
        rest if rest.starts_with('.') && wanted.strip_suffix(".so").is_some() => Some(2),
        // musl's own name for its only library: libc.musl-x86_64.so.1
        rest if wanted == "libc" && rest.starts_with(".musl-") => Some(3),
        _ => None,
    }
}

/// The numbers behind `.so.`, so that 10 is newer than 9.
fn version(file: &str) -> Vec<u32> {
    let numbers = file.split_once(".so.").map_or("", |(_, version)| version);
    numbers
        .split('.')
        .map_while(|number| number.parse().ok())
        .collect()
}

fn similar(root: &Root, cache: &[u8], name: &str) -> Option<String> {
    // People leave out what all names have: ssl for libssl.
    let with_lib = format!("lib{name}");
    let stem = |file: &str| file.split(".so").next().map(str::to_owned);
    let mut nearest = Nearest::new(name);
    let mut complete = false;
    let mut offer = |file: &str| {
        complete |= fit(&with_lib, file).is_some();
        nearest.offer(file);
        if let Some(stem) = stem(file) {
            nearest.offer(&stem);
        }
    };
    ldcache::entries(cache).for_each(|entry| offer(entry.name));
    for folder in FOLDERS {
        let files = root.names(Path::new(folder));
        files
            .iter()
            .filter(|file| file.contains(".so"))
            .for_each(|file| offer(file));
    }
    if complete {
        Some(with_lib)
    } else {
        nearest.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, fs::File, os::unix::fs::symlink};

    use super::*;

    const ELF: &[u8] = b"\x7fELF and so on";

    fn tree(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Root) {
        let tree = tempfile::tempdir().unwrap();
        for (file, content) in files {
            let path = tree.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let folder = File::open(tree.path()).unwrap().into();
        (
            tree,
            Root::Process {
                pid: std::process::id(),
                folder,
            },
        )
    }

    fn found(root: &Root, name: &str) -> Option<String> {
        let path = find(root, name).ok()?.path;
        Some(path.file_name()?.to_str()?.to_owned())
    }

    #[test]
    fn names_with_and_without_version() {
        for name in ["libc", "libc.so", "libc.so.6"] {
            assert!(fit(name, "libc.so.6").is_some(), "{name}");
        }
        assert_eq!(fit("libc", "libcap.so.2"), None);
        assert_eq!(fit("libc.so.6", "libc.so.60"), None);
        assert_eq!(fit("libc.so", "libc.so6"), None);
        assert!(fit("libssl", "libssl.so") < fit("libssl", "libssl.so.3"));
        assert!(version("libx.so.10") > version("libx.so.9.4"));
    }

    #[test]
    fn without_a_cache_the_newest_elf_file_counts() {
        let (_tree, root) = tree(&[
            ("usr/lib/libx.so", b"/* GNU ld script */"),
            ("usr/lib/libx.so.9", ELF),
            ("usr/lib/libx.so.10", ELF),
        ]);
        assert_eq!(found(&root, "libx").as_deref(), Some("libx.so.10"));
        assert_eq!(found(&root, "libx.so.9").as_deref(), Some("libx.so.9"));
    }

    #[test]
    fn musl() {
        let (tree, root) = tree(&[("lib/ld-musl-x86_64.so.1", ELF)]);
        let link = tree.path().join("lib/libc.musl-x86_64.so.1");
        symlink("ld-musl-x86_64.so.1", link).unwrap();
        assert_eq!(found(&root, "libc").as_deref(), Some("ld-musl-x86_64.so.1"));
    }

    #[test]
    fn unknown_ones_are_suggested() {
        let (_tree, root) = tree(&[("usr/lib/libcrypto.so.3", ELF), ("usr/lib/notes.txt", b"")]);
        let suggestion = |name| match find(&root, name) {
            Err(ProbeError::UnknownLibrary { similar, .. }) => similar,
            _ => None,
        };
        assert_eq!(suggestion("crypto").as_deref(), Some("libcrypto"));
        assert_eq!(suggestion("libcripto").as_deref(), Some("libcrypto"));
        assert_eq!(suggestion("libz"), None);
    }
}
