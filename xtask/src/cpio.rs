//! A writer for the archive format that the kernel unpacks as its first file system
//! (cpio "newc", see the kernel's buffer-format document for initramfs).

use std::collections::BTreeMap;
use std::io::{self, Write};

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// What lies at a path of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A directory.
    Dir,
    /// A regular file with its mode bits.
    File(Vec<u8>, u32),
    /// A symbolic link and where it points.
    Link(String),
}

/// A file tree in memory. Paths are absolute; parents appear by themselves.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    nodes: BTreeMap<String, Node>,
}

impl Archive {
    /// Puts `node` at `path`, in place of what was there before.
    ///
    /// A path that leads through a link to a directory of the archive (`/lib/x` when `/lib` links
    /// to `usr/lib`) lands behind the link, as it would on a disk.
    pub(crate) fn insert(&mut self, path: &str, node: Node) {
        self.nodes.insert(self.resolve(path), node);
    }

    /// Whether something lies at `path`.
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.nodes.contains_key(&self.resolve(path))
    }

    fn resolve(&self, path: &str) -> String {
        let mut done = String::new();
        let names: Vec<_> = path.split('/').filter(|name| !name.is_empty()).collect();
        for (index, name) in names.iter().enumerate() {
            let here = format!("{done}/{name}");
            let last = index + 1 == names.len();
            done = match self.nodes.get(&here) {
                Some(Node::Link(to)) if !last && to.starts_with('/') => to.clone(),
                Some(Node::Link(to)) if !last => format!("{done}/{to}"),
                _ => here,
            };
        }
        done
    }

    /// Writes the archive, parents before their children, with the trailer that ends it.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        // A parent sorts before what lies in it; the kernel drops a file without directory.
        let mut all: BTreeMap<&str, &Node> = BTreeMap::new();
        for (path, node) in &self.nodes {
            for (end, _) in path.match_indices('/').skip(1) {
                all.entry(&path[..end]).or_insert(&Node::Dir);
            }
            all.insert(path, node);
        }
        let mut inode = 0;
        for (path, node) in all {
            inode += 1;
            match node {
                Node::Dir => entry(out, inode, path, S_IFDIR | 0o755, b"")?,
                Node::File(content, mode) => entry(out, inode, path, S_IFREG | mode, content)?,
                Node::Link(to) => entry(out, inode, path, S_IFLNK | 0o777, to.as_bytes())?,
            }
        }
        entry(out, 0, "/TRAILER!!!", 0, b"")
    }
}

fn entry(
    out: &mut impl Write,
    inode: u32,
    path: &str,
    mode: u32,
    content: &[u8],
) -> io::Result<()> {
    let name = path.trim_start_matches('/');
    let size = u32::try_from(content.len())
        .map_err(|_| io::Error::other(format!("{path} is larger than 4 GiB")))?;
    let links = 1;
    let owner = 0;
    let time = 0;
    let device = 0;
    let check = 0;
    let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
    write!(out, "070701")?;
    for field in [
        inode, mode, owner, owner, links, time, size, device, device, device, device, name_size,
        check,
    ] {
        write!(out, "{field:08x}")?;
    }
    let header = 110 + name.len() + 1;
    out.write_all(name.as_bytes())?;
    out.write_all(&[0])?;
    pad(out, header)?;
    out.write_all(content)?;
    pad(out, content.len())
}

fn pad(out: &mut impl Write, written: usize) -> io::Result<()> {
    let zeros = [0; 3];
    out.write_all(&zeros[..written.wrapping_neg() % 4])
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn sample() -> Archive {
        let mut archive = Archive::default();
        archive.insert("/lib", Node::Link("usr/lib".into()));
        archive.insert("/lib/deep/x.so", Node::File(b"abcde".to_vec(), 0o644));
        archive.insert("/init", Node::File(b"#!".to_vec(), 0o755));
        archive.insert("/tmp/a/b", Node::Dir);
        archive.insert("/tmp", Node::Dir);
        archive
    }

    #[test]
    fn a_path_through_a_link_lands_behind_it() {
        let archive = sample();
        assert!(archive.contains("/usr/lib/deep/x.so"));
        assert!(archive.contains("/lib/deep/x.so"));
        assert!(!archive.contains("/lib/deep/y.so"));
    }

    /// The names of an archive, by walking from header to header.
    fn names(bytes: &[u8]) -> Vec<String> {
        let mut names = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701", "no header at {at}");
            let field = |index: usize| {
                let start = at + 6 + 8 * index;
                let digits = std::str::from_utf8(&bytes[start..start + 8]).unwrap();
                usize::from_str_radix(digits, 16).unwrap()
            };
            let (size, name_size) = (field(6), field(11));
            let name = &bytes[at + 110..at + 110 + name_size - 1];
            names.push(String::from_utf8(name.to_vec()).unwrap());
            at = (at + 110 + name_size).next_multiple_of(4);
            at = (at + size).next_multiple_of(4);
        }
        names
    }

    #[test]
    fn parents_come_first_and_the_trailer_last() {
        let mut bytes = Vec::new();
        sample().write(&mut bytes).unwrap();
        assert_eq!(
            names(&bytes),
            [
                "init",
                "lib",
                "tmp",
                "tmp/a",
                "tmp/a/b",
                "usr",
                "usr/lib",
                "usr/lib/deep",
                "usr/lib/deep/x.so",
                "TRAILER!!!",
            ]
        );
    }

    #[test]
    fn the_real_cpio_unpacks_it() {
        let Ok(mut cpio) = Command::new("busybox")
            .args(["cpio", "-t"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            // Without busybox there is no VM lane either; setup installs it.
            return;
        };
        let mut bytes = Vec::new();
        sample().write(&mut bytes).unwrap();
        cpio.stdin.take().unwrap().write_all(&bytes).unwrap();
        let output = cpio.wait_with_output().unwrap();
        let mut listed: Vec<_> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(ToOwned::to_owned)
            .collect();
        listed.sort_unstable();
        assert_eq!(
            listed,
            [
                "init",
                "lib",
                "tmp",
                "tmp/a",
                "tmp/a/b",
                "usr",
                "usr/lib",
                "usr/lib/deep",
                "usr/lib/deep/x.so"
            ]
        );
    }
}
