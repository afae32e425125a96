//! The file tree that a guest starts with: a small Debian, made of what this machine has.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cpio::{Archive, Node};
use crate::modules;
use crate::sh;
use crate::wire::{JOB, Job};

/// Modules of every guest; one that a kernel has built in is left out.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_console",
    "veth",
    "dummy",
    "sch_ingress",
    "cls_bpf",
    "cls_matchall",
    "act_bpf",
    "act_gact",
];

/// Programs that a guest has when this machine has them; busybox stands in for the rest.
const PROGRAMS: &[&str] = &[
    "bash",
    "bpftool",
    "bridge",
    "ethtool",
    "findmnt",
    "flock",
    "ip",
    "ldconfig",
    "mount",
    "nsenter",
    "ping",
    "prlimit",
    "setpriv",
    "ss",
    "strace",
    "tc",
    "timeout",
    "umount",
    "unshare",
    "xdp-filter",
    "xdp-loader",
];

/// Files and directories that a guest has when this machine has them.
const FILES: &[&str] = &[
    "/etc/iproute2",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/protocols",
    "/etc/services",
    "/usr/lib/bpf",
    "/usr/lib/x86_64-linux-gnu/bpf",
    "/usr/share/iproute2",
];

const TEXTS: &[(&str, &str)] = &[
    ("/etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    (
        "/etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\n",
    ),
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
];

const LINKS: &[(&str, &str)] = &[
    ("/bin", "usr/bin"),
    ("/sbin", "usr/sbin"),
    ("/lib", "usr/lib"),
    ("/lib64", "usr/lib64"),
    ("/var/run", "/run"),
    // busybox's shell prefers its own `ip` to the real one.
    ("/usr/bin/sh", "bash"),
    ("/etc/mtab", "/proc/self/mounts"),
];

/// What a guest gets beside the tools.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// Programs: they come with their shared libraries, lie where they lie here, and are on PATH.
    pub(crate) programs: Vec<PathBuf>,
    /// Files or directories and where they go.
    pub(crate) files: Vec<(PathBuf, String)>,
    /// Modules beyond [`MODULES`].
    pub(crate) modules: Vec<String>,
}

/// Packs the tree for a guest with the modules of `modules_dir`; names them in `job`.
pub(crate) fn build(modules_dir: &Path, content: &Content, job: &mut Job) -> Result<Archive> {
    let mut tree = Tree::default();
    for (path, to) in LINKS {
        tree.archive.insert(path, Node::Link((*to).into()));
    }
    for dir in ["/root", "/var/tmp", "/tmp", "/mnt"] {
        tree.archive.insert(dir, Node::Dir);
    }
    // Tests find the objects by way of their crate's directory.
    let testkit = sh::repo().join("testkit");
    tree.archive.insert(&testkit.to_string_lossy(), Node::Dir);
    for (path, text) in TEXTS {
        tree.text(path, text);
    }
    for file in FILES {
        if Path::new(file).exists() {
            tree.copy(Path::new(file), file, &|_| true)?;
        }
    }
    tree.tools()?;
    tree.given(content)?;
    tree.modules(modules_dir, content, job)?;
    tree.text(JOB, &serde_json::to_string(job)?);
    Ok(tree.archive)
}

/// Packs what starts the system on a disk: nothing but the first process and the modules.
pub(crate) fn build_starter(modules_dir: &Path, job: &mut Job) -> Result<Archive> {
    let mut tree = Tree::default();
    for (path, to) in &LINKS[..4] {
        tree.archive.insert(path, Node::Link((*to).into()));
    }
    let own = std::env::current_exe().context("find this program")?;
    tree.program(&own, "/init", true)?;
    let content = Content {
        modules: vec!["virtio_blk".into(), "autofs4".into()],
        ..Content::default()
    };
    tree.modules(modules_dir, &content, job)?;
    tree.text(JOB, &serde_json::to_string(job)?);
    Ok(tree.archive)
}

#[derive(Default)]
struct Tree {
    archive: Archive,
    libraries: BTreeSet<String>,
}

impl Tree {
    fn text(&mut self, path: &str, text: &str) {
        self.archive.insert(path, Node::File(text.into(), 0o644));
    }

    fn tools(&mut self) -> Result<()> {
        for name in PROGRAMS {
            if let Some(path) = sh::which(name) {
                self.program(&path, &path.to_string_lossy(), false)?;
            }
        }
        let busybox = sh::which("busybox").context("busybox is not installed")?;
        self.program(&busybox, "/usr/bin/busybox", false)?;
        for applet in sh::output(Command::new(&busybox).arg("--list"))?.lines() {
            let taken = ["/usr/bin", "/usr/sbin"]
                .iter()
                .any(|dir| self.archive.contains(&format!("{dir}/{applet}")));
            if !taken {
                let path = format!("/usr/bin/{applet}");
                self.archive.insert(&path, Node::Link("busybox".into()));
            }
        }
        Ok(())
    }

    fn given(&mut self, content: &Content) -> Result<()> {
        let own = std::env::current_exe().context("find this program")?;
        self.program(&own, "/init", true)?;
        for program in &content.programs {
            let path = std::path::absolute(program)?;
            let place = path.to_string_lossy();
            self.program(&path, &place, true)?;
            if let Some(name) = path.file_name() {
                let short = format!("/usr/local/bin/{}", name.to_string_lossy());
                self.archive.insert(&short, Node::Link(place.into_owned()));
            }
        }
        let objects = sh::repo().join("bpf");
        if objects.exists() {
            let is_object = |path: &Path| path.extension().is_some_and(|end| end == "o");
            self.copy(&objects, &objects.to_string_lossy(), &is_object)?;
        }
        for (from, to) in &content.files {
            self.copy(from, to, &|_| true)?;
        }
        Ok(())
    }

    fn modules(&mut self, dir: &Path, content: &Content, job: &mut Job) -> Result<()> {
        let extra = content.modules.iter().map(String::as_str);
        let wanted: Vec<_> = MODULES.iter().copied().chain(extra).collect();
        for module in modules::closure(dir, &wanted)? {
            let path = format!("/lib/modules/{}.ko", module.name);
            self.archive
                .insert(&path, Node::File(module.content, 0o644));
            job.modules.push(module.name);
        }
        Ok(())
    }

    /// Copies a file, or what lies in a directory and is `wanted`.
    fn copy(&mut self, from: &Path, to: &str, wanted: &dyn Fn(&Path) -> bool) -> Result<()> {
        let failed = || format!("pack {}", from.display());
        if from.is_dir() {
            for entry in std::fs::read_dir(from).with_context(failed)? {
                let entry = entry.with_context(failed)?;
                let name = entry.file_name();
                let to = format!("{to}/{}", name.to_string_lossy());
                if entry.path().is_dir() || wanted(&entry.path()) {
                    self.copy(&entry.path(), &to, wanted)?;
                }
            }
            return Ok(());
        }
        let content = std::fs::read(from).with_context(failed)?;
        let mode = std::fs::metadata(from)
            .with_context(failed)?
            .permissions()
            .mode();
        self.archive.insert(to, Node::File(content, mode & 0o7777));
        Ok(())
    }

    /// Packs a program and the libraries that it is linked to, `strip`ped of debug information
    /// when it is one of ours: a guest unpacks every byte under emulation.
    fn program(&mut self, from: &Path, to: &str, strip: bool) -> Result<()> {
        for library in libraries(from)? {
            if self.libraries.insert(library.clone()) {
                self.copy(Path::new(&library), &library, &|_| true)?;
            }
        }
        if strip {
            // Without a name it stays behind in no case, also when we are killed.
            let mut small = tempfile::tempfile()?;
            let mut command = Command::new("strip");
            command.args(["--strip-debug", "-o", "/proc/self/fd/1"]);
            command.arg(from).stdout(small.try_clone()?);
            let done = command.stderr(Stdio::null()).status();
            // A script has nothing to strip.
            if done.is_ok_and(|status| status.success()) {
                let mut content = Vec::new();
                small.read_to_end(&mut content).context("read a program")?;
                self.archive.insert(to, Node::File(content, 0o755));
                return Ok(());
            }
        }
        self.copy(from, to, &|_| true)
    }
}

/// The shared libraries of a program, the loader among them, as absolute paths; none for a static
/// program or a script.
pub(crate) fn libraries(program: &Path) -> Result<Vec<String>> {
    let Ok(listed) = sh::output(Command::new("ldd").arg(program)) else {
        return Ok(Vec::new());
    };
    parse_ldd(&listed).with_context(|| format!("libraries of {}", program.display()))
}

fn parse_ldd(listed: &str) -> Result<Vec<String>> {
    let mut libraries = Vec::new();
    for line in listed.lines() {
        let line = line.trim();
        if let Some((name, "not found")) = line.split_once(" => ") {
            bail!("{name} is not installed");
        }
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        let path = path.split(" (").next().unwrap_or_default();
        if path.starts_with('/') {
            libraries.push(path.to_owned());
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_is_read() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffe)\n\
            \tlibelf.so.1 => /lib/x86_64-linux-gnu/libelf.so.1 (0x00007f0a)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f0b)\n";
        assert_eq!(
            parse_ldd(listed).unwrap(),
            [
                "/lib/x86_64-linux-gnu/libelf.so.1",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
        assert!(parse_ldd("\tstatically linked\n").unwrap().is_empty());
        assert!(parse_ldd("\tlibx.so => not found\n").is_err());
    }
}
