//! From programs and files to a `.deb`: deb(5), made by dpkg-deb, without debhelper.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::build::Binaries;
use super::sysroot::Sysroot;
use super::{licenses, needs};
use crate::sh;

/// What goes into a package.
pub(super) struct Plan<'a> {
    pub(super) binaries: &'a Binaries,
    pub(super) sysroot: &'a Sysroot,
    pub(super) revision: u32,
    /// Packed in a hurry, for tests.
    pub(super) quick: bool,
    /// Folder for the package.
    pub(super) output: &'a Path,
}

const DESCRIPTION: &str = "\
eBPF program manager
 One command loads an eBPF program from an object file or an OCI image, puts it
 into a chain with the others on its hook, shows what is loaded, and takes it
 away again. XDP chains are shared with xdp-loader. Programs stay loaded when
 the command ends: nothing needs a daemon.
 .
 The package has the command bpfman, the gRPC daemon bpfman-rpc, which systemd
 starts when it is asked, and units that load the programs of
 /etc/bpfman/programs.d when the machine starts, and keep them loaded.";

/// The units, all of which are in `packaging/`.
pub(crate) const UNITS: [&str; 6] = [
    "bpfman-restore.service",
    "bpfman-rpc.service",
    "bpfman-rpc.socket",
    "bpfman-watch.path",
    "bpfman-watch.service",
    "run-bpfman-fs.mount",
];

/// Makes the package; the same sources and tools make the same bytes.
pub(super) fn make(plan: &Plan<'_>) -> Result<PathBuf> {
    let version = format!("{}-{}", env!("CARGO_PKG_VERSION"), plan.revision);
    let temp = tempfile::tempdir().context("make a directory for the package")?;
    let tree = Tree {
        root: temp.path().join("bpfman"),
    };
    let stamp = Stamp::of_commit()?;
    programs(&tree, plan.binaries)?;
    settings(&tree)?;
    generated(&tree, plan.binaries, &stamp)?;
    documents(&tree, &version, &stamp)?;
    control(&tree, plan, &version)?;

    fs::create_dir_all(plan.output).with_context(|| format!("make {}", plan.output.display()))?;
    let name = format!("bpfman_{version}_{}.deb", architecture()?);
    let deb = plan.output.join(name);
    let mut command = Command::new("dpkg-deb");
    command
        .arg("--root-owner-group")
        .args(if plan.quick {
            ["-Zgzip", "-z1"]
        } else {
            ["-Zxz", "-z6"]
        })
        // Not beyond one: the pieces depend on the number of processors.
        .arg("--threads-max=1")
        .env("SOURCE_DATE_EPOCH", &stamp.seconds)
        .arg("--build")
        .arg(&tree.root)
        .arg(&deb);
    sh::output(&mut command)?;
    Ok(deb)
}

/// Debian's name of this machine's architecture.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => anyhow::bail!("no package is made for {other} yet"),
    }
}

/// When the sources were made.
struct Stamp {
    seconds: String,
    /// As Debian's changelogs write it.
    date: String,
    /// As manual pages do.
    day: String,
}

impl Stamp {
    fn of_commit() -> Result<Self> {
        let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(seconds) => seconds,
            Err(_) => sh::output(
                Command::new("git")
                    .args(["log", "-1", "--format=%ct"])
                    .current_dir(sh::repo()),
            )
            .context("SOURCE_DATE_EPOCH is not set")?,
        };
        let seconds = seconds.trim().to_owned();
        let written = |format: &str| {
            let mut date = Command::new("date");
            date.args(["--utc", &format!("--date=@{seconds}"), format]);
            anyhow::Ok(sh::output(&mut date)?.trim().to_owned())
        };
        let (date, day) = (written("--rfc-email")?, written("+%Y-%m-%d")?);
        Ok(Self { seconds, date, day })
    }
}

/// What is to be on the machine. Modes are those given here, whatever the umask is.
struct Tree {
    root: PathBuf,
}

impl Tree {
    fn put(&self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Result<()> {
        let file = self.root.join(path);
        let write = || {
            self.folders(file.parent().unwrap_or(&self.root))?;
            fs::write(&file, content)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(mode))
        };
        write().with_context(|| format!("write {}", file.display()))
    }

    fn folder(&self, path: &str) -> Result<()> {
        let folder = self.root.join(path);
        self.folders(&folder)
            .with_context(|| format!("make {}", folder.display()))
    }

    fn folders(&self, folder: &Path) -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let own = folder
            .ancestors()
            .take_while(|one| one.starts_with(&self.root));
        for folder in own {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// A file of the repository.
    fn copy(&self, from: &str, to: &str, mode: u32) -> Result<()> {
        self.put(to, mode, read(from)?)
    }

    /// A file with `.gz` behind its name, without time and name inside, as Debian wants it.
    fn compressed(&self, path: &str, content: &[u8]) -> Result<()> {
        self.put(path, 0o644, content)?;
        let mut gzip = Command::new("gzip");
        gzip.args(["-9", "--no-name"]).arg(self.root.join(path));
        sh::output(&mut gzip).map(drop)
    }
}

fn read(path: &str) -> Result<Vec<u8>> {
    fs::read(sh::repo().join(path)).with_context(|| format!("read {path}"))
}

fn programs(tree: &Tree, binaries: &Binaries) -> Result<()> {
    for (from, to) in [
        (&binaries.bpfman, "usr/bin/bpfman"),
        (&binaries.daemon, "usr/sbin/bpfman-rpc"),
    ] {
        let content = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        tree.put(to, 0o755, content)?;
        // Release programs are stripped already.
        let mut strip = Command::new("strip");
        strip.args(["--remove-section=.comment", "--remove-section=.note"]);
        sh::output(strip.arg(tree.root.join(to)))?;
    }
    Ok(())
}

fn settings(tree: &Tree) -> Result<()> {
    for unit in UNITS {
        let to = format!("usr/lib/systemd/system/{unit}");
        tree.copy(&format!("packaging/{unit}"), &to, 0o644)?;
    }
    tree.copy("packaging/bpfman.toml", "etc/bpfman/bpfman.toml", 0o644)?;
    tree.folder("etc/bpfman/programs.d")
}

/// What the program writes about itself.
fn generated(tree: &Tree, binaries: &Binaries, stamp: &Stamp) -> Result<()> {
    let temp = tempfile::tempdir()?;
    let bpfman = || Command::new(&binaries.bpfman);
    sh::output(bpfman().arg("manpages").arg(temp.path()))?;
    let mut pages = vec![("bpfman-rpc.8".to_owned(), read("packaging/bpfman-rpc.8")?)];
    for entry in fs::read_dir(temp.path())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        pages.push((name, fs::read(entry.path())?));
    }
    for (name, page) in pages {
        // The title, which has no date yet.
        let page = String::from_utf8(page).context(name.clone())?;
        let page = page.replacen(" 8 \"\" ", &format!(" 8 \"{}\" ", stamp.day), 1);
        tree.compressed(&format!("usr/share/man/man8/{name}"), page.as_bytes())?;
    }
    for (shell, to) in [
        ("bash", "bash-completion/completions/bpfman"),
        ("zsh", "zsh/vendor-completions/_bpfman"),
        ("fish", "fish/vendor_completions.d/bpfman.fish"),
    ] {
        let script = sh::output_bytes(bpfman().args(["completions", shell]))?;
        tree.put(&format!("usr/share/{to}"), 0o644, script)?;
    }
    Ok(())
}

fn documents(tree: &Tree, version: &str, stamp: &Stamp) -> Result<()> {
    let to = |name: &str| format!("usr/share/doc/bpfman/{name}");
    for entry in fs::read_dir(sh::repo().join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        tree.copy(&format!("docs/{name}"), &to(&name), 0o644)?;
    }
    tree.copy("daemon/proto/bpfman.proto", &to("bpfman.proto"), 0o644)?;
    tree.copy("README.md", &to("README.md"), 0o644)?;
    tree.compressed(&to("changelog"), &read("CHANGELOG.md")?)?;
    let entry = format!(
        "bpfman ({version}) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- {MAINTAINER}  {}\n",
        stamp.date
    );
    tree.compressed(&to("changelog.Debian"), entry.as_bytes())?;
    let mut copyright = String::from_utf8(read("packaging/debian/copyright")?)?;
    for (file, license) in [("LICENSE-APACHE", "Apache-2.0"), ("LICENSE-MIT", "MIT")] {
        copyright += &stanza(license, &String::from_utf8(read(file)?)?);
    }
    tree.put(&to("copyright"), 0o644, copyright)?;
    tree.compressed(&to("libraries"), licenses::text()?.as_bytes())
}

/// A license as a field of a copyright file: indented, empty lines as dots.
fn stanza(name: &str, text: &str) -> String {
    let lines = text.trim().lines().map(|line| match line.trim_end() {
        "" => " .\n".to_owned(),
        line => format!(" {line}\n"),
    });
    format!("\nLicense: {name}\n{}", lines.collect::<String>())
}

const MAINTAINER: &str = "The bpfman authors <bpfman@localhost>";

fn control(tree: &Tree, plan: &Plan<'_>, version: &str) -> Result<()> {
    let inside = |path: &str| tree.root.join(path);
    let programs = [inside("usr/bin/bpfman"), inside("usr/sbin/bpfman-rpc")];
    let depends = needs::of(&[&programs[0], &programs[1]], plan.sysroot)?;
    let (files, size) = contents(&tree.root)?;
    let control = format!(
        "Package: bpfman\nVersion: {version}\nArchitecture: {}\nMaintainer: {MAINTAINER}\n\
         Installed-Size: {}\nDepends: {depends}, passwd\nRecommends: ca-certificates, systemd\n\
         Suggests: bpftool, xdp-tools\nSection: admin\nPriority: optional\n\
         Description: {DESCRIPTION}\n",
        architecture()?,
        size.div_ceil(1024),
    );
    tree.put("DEBIAN/control", 0o644, control)?;
    tree.put("DEBIAN/conffiles", 0o644, "/etc/bpfman/bpfman.toml\n")?;
    let mut sums = Command::new("md5sum");
    let sums = sh::output(sums.args(&files).current_dir(&tree.root))?;
    tree.put("DEBIAN/md5sums", 0o644, sums)?;
    for script in ["postinst", "prerm", "postrm"] {
        let from = format!("packaging/debian/{script}");
        tree.copy(&from, &format!("DEBIAN/{script}"), 0o755)?;
    }
    Ok(())
}

/// The files in a tree but for the configuration, sorted, and the bytes of all of them.
fn contents(root: &Path) -> Result<(Vec<PathBuf>, u64)> {
    let (mut files, mut size) = (Vec::new(), 0);
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let metadata = path.symlink_metadata()?;
            if metadata.is_dir() {
                open.push(path);
                continue;
            }
            size += metadata.len();
            let name = path.strip_prefix(root)?;
            if !name.starts_with("etc") {
                files.push(name.to_owned());
            }
        }
    }
    files.sort_unstable();
    Ok((files, size))
}
