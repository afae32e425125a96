//! Installing without starting: tests start what they need, on ports and sockets of their own.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Packages ask this program whether they may start their services.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// A variable that tells the policy that it is our installation that asks.
pub(super) const SIGN: &str = "BPFMAN_XTASK_INSTALLS";

/// Forbids it to our installations (101) and to nobody else's (0), as Debian's invoke-rc.d has it:
/// should it be left behind, it does no harm.
const SCRIPT: &str = "#!/bin/sh
# bpfman: cargo xtask installs packages and starts no services.
[ -z \"$BPFMAN_XTASK_INSTALLS\" ] || exit 101
";

/// While it lives, nothing that is installed with [`SIGN`] starts its services. A policy that the
/// machine has already stays as it is.
#[derive(Debug)]
pub(super) struct NoServices {
    /// To be removed in the end.
    ours: Option<PathBuf>,
}

impl NoServices {
    /// Only one installs at a time, so what looks like ours was left by one that was killed.
    pub(super) fn begin() -> Result<Self> {
        Self::at(Path::new(POLICY))
    }

    fn at(path: &Path) -> Result<Self> {
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(path);
        let ours = || Self {
            ours: Some(path.into()),
        };
        let text = || format!("write {}", path.display());
        match made {
            Ok(mut file) => {
                // From here on it is removed, also when it cannot be written.
                let ours = ours();
                file.write_all(SCRIPT.as_bytes()).with_context(text)?;
                Ok(ours)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let left = std::fs::read(path).is_ok_and(|text| text == SCRIPT.as_bytes());
                Ok(if left { ours() } else { Self { ours: None } })
            }
            Err(error) => Err(error).with_context(text),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = &self.ours
            && let Err(error) = std::fs::remove_file(path)
        {
            eprintln!("warning: cannot remove {}: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn asked(path: &Path, by_us: bool) -> Option<i32> {
        let mut command = Command::new(path);
        if by_us {
            command.env(SIGN, "1");
        }
        command.status().unwrap().code()
    }

    #[test]
    fn the_policy_is_for_our_installations_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        let policy = NoServices::at(&path).unwrap();
        assert_eq!(asked(&path, true), Some(101));
        assert_eq!(asked(&path, false), Some(0));
        // As if it was killed: the next one takes it over.
        std::mem::forget(policy);
        drop(NoServices::at(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn the_policy_of_the_machine_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        let own = "#!/bin/sh\nexit 104\n";
        std::fs::write(&path, own).unwrap();
        drop(NoServices::at(&path).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), own);
    }
}
