//! Disks for guests: a whole Debian that starts by its own init.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::initramfs::libraries;
use crate::sh;

/// Sparse: only what is written takes place.
const SIZE: &str = "3G";
/// Where this program lies on a disk.
pub(crate) const AGENT: &str = "/usr/local/bin/xtask";

/// Where programs of this machine lie on a disk, with their libraries.
const APART: &str = "/opt/host";

/// Runs the job when all that belongs to the system has started.
const AGENT_UNIT: &str = "\
[Unit]
Description=Job of the host
After=multi-user.target

[Service]
ExecStart=/usr/local/bin/xtask guest-agent
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# The job turns the machine off and is not to be ended by that.
KillMode=process
StandardOutput=journal+console
StandardError=journal+console

[Install]
WantedBy=multi-user.target
";

/// Units that nobody needs in a guest and that cost seconds under emulation.
const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "systemd-timesyncd.service",
];

/// A tree that is to become a disk.
#[derive(Debug)]
pub(crate) struct Tree<'a>(pub(crate) &'a Path);

impl Tree<'_> {
    /// Adds what runs the jobs of the host.
    pub(crate) fn add_agent(&self) -> Result<()> {
        let own = std::env::current_exe().context("find this program")?;
        self.add_program(&own, AGENT)?;
        self.add_unit("xtask-agent.service", AGENT_UNIT)?;
        for unit in MASKED {
            let path = self.place(&format!("/etc/systemd/system/{unit}"))?;
            symlink("/dev/null", &path).with_context(|| format!("mask {unit}"))?;
        }
        // systemd would empty /tmp, and with it what lies here at the path of a checkout in it.
        self.add_text("/etc/tmpfiles.d/tmp.conf", "", 0o644)?;
        // Otherwise systemd takes each disk for a new machine that has to be set up.
        let machine = "0123456789abcdef0123456789abcdef\n";
        self.add_text("/etc/machine-id", machine, 0o444)?;
        self.add_text("/etc/hostname", "guest\n", 0o644)?;
        self.add_text("/etc/fstab", "/dev/vda / ext4 defaults 0 1\n", 0o644)
    }

    /// Adds a unit that is started with the system.
    pub(crate) fn add_unit(&self, name: &str, text: &str) -> Result<()> {
        self.add_text(&format!("/etc/systemd/system/{name}"), text, 0o644)?;
        let wanted = format!("/etc/systemd/system/multi-user.target.wants/{name}");
        symlink(format!("../{name}"), self.place(&wanted)?)
            .with_context(|| format!("enable {name}"))
    }

    /// Adds a file.
    pub(crate) fn add_text(&self, to: &str, text: &str, mode: u32) -> Result<()> {
        let path = self.place(to)?;
        let add = || {
            std::fs::write(&path, text)?;
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode))
        };
        add().with_context(|| format!("write {}", path.display()))
    }

    /// Adds a copy of a file.
    pub(crate) fn add_file(&self, from: &Path, to: &str) -> Result<()> {
        let path = self.place(to)?;
        std::fs::copy(from, &path)
            .with_context(|| format!("copy {} to {}", from.display(), path.display()))?;
        Ok(())
    }

    /// Adds a program of this machine without its debug information. It comes with its libraries
    /// and its loader, apart from those of the disk, which may be older.
    pub(crate) fn add_program(&self, from: &Path, to: &str) -> Result<()> {
        let name = |path: &Path| -> Result<String> {
            let name = path.file_name().context("no file name")?;
            Ok(name.to_string_lossy().into_owned())
        };
        let mut loader = None;
        for library in libraries(from)? {
            let library = Path::new(&library);
            let name = name(library)?;
            let apart = format!("{APART}/{name}");
            self.add_file(library, &apart)?;
            if name.starts_with("ld-") {
                loader = Some(apart);
            }
        }
        let program = format!("{APART}/{}", name(Path::new(to))?);
        let mut strip = Command::new("strip");
        strip
            .args(["--strip-debug", "-o"])
            .arg(self.place(&program)?);
        sh::output(strip.arg(from))?;
        let start = match loader {
            Some(loader) => format!("{loader} --library-path {APART} {program}"),
            None => program,
        };
        self.add_text(to, &format!("#!/bin/sh\nexec {start} \"$@\"\n"), 0o755)
    }

    /// Writes the tree to a disk with one file system and no partitions.
    pub(crate) fn write(&self, image: &Path) -> Result<()> {
        let mut command = Command::new("mkfs.ext4");
        command.args(["-q", "-F", "-d"]).arg(self.0).arg(image);
        sh::output(command.arg(SIZE)).map(drop)
    }

    /// Where a path of the tree is here; its folder is there afterwards.
    fn place(&self, path: &str) -> Result<PathBuf> {
        let place = self.0.join(path.trim_start_matches('/'));
        if let Some(folder) = place.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("make {}", folder.display()))?;
        }
        Ok(place)
    }
}
