//! Compiles one source. Of the machine, nothing but the compiler takes part: no header, no
//! environment, no path.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::DIRS;
use crate::setup::{self, Need};
use crate::sh;

/// Where Debian's packages put them. What PATH finds under a name may be a wrapper.
const CLANG: &str = "/usr/lib/llvm-19/bin/clang";
const STRIP: &str = "/usr/lib/llvm-19/bin/llvm-strip";
/// The folder of libbpf's headers, as the compiler sees it.
const LIBBPF: &str = "libbpf";

/// The compiler, and the libbpf whose headers the sources include.
pub(super) struct Compiler {
    pub(super) version: String,
    libbpf: PathBuf,
}

impl Compiler {
    /// Installs what is missing.
    pub(super) fn find() -> Result<Self> {
        setup::ensure(&[Need::Bpf])?;
        let said = sh::output(Command::new(CLANG).arg("--version"))?;
        Ok(Self {
            version: version(&said)
                .with_context(|| format!("{CLANG} does not say its version: {said}"))?
                .to_owned(),
            libbpf: libbpf()?,
        })
    }

    /// Gets ready to compile what is below `root`, a folder like `bpf/`.
    pub(super) fn at(&self, root: &Path) -> Result<Place> {
        let dir = tempfile::tempdir().context("make a scratch directory")?;
        let place = Place { dir };
        for name in DIRS.iter().chain(&["include"]) {
            place.show(&root.join(name), name)?;
        }
        fs::create_dir(place.path(LIBBPF)).context("make a header directory")?;
        place.show(&self.libbpf.join("src"), "libbpf/bpf")?;
        place.show(&self.libbpf.join("include/uapi/linux"), "libbpf/linux")?;
        Ok(place)
    }
}

/// A folder that shows the compiler sources and headers under names that are the same everywhere:
/// names of files go into objects, and links keep blanks and the like out of arguments.
pub(super) struct Place {
    dir: TempDir,
}

impl Place {
    fn show(&self, what: &Path, name: &str) -> Result<()> {
        symlink(what, self.path(name)).with_context(|| format!("link {}", what.display()))
    }

    /// The full path of what the compiler sees as `name`.
    pub(super) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Compiles one source, named as the compiler sees it, and returns the object. The name decides
    /// two things: `…_nobtf` is compiled without BTF and `…_bpfeb` for big-endian machines.
    pub(super) fn compile(&self, source: &Path) -> Result<Vec<u8>> {
        let name = source.to_string_lossy();
        let target = if name.contains("_bpfeb.") {
            "bpfeb"
        } else {
            "bpfel"
        };
        // No two sources have one name, so that several can be compiled at once.
        let object = name.replace('/', "-") + ".o";
        let mut clang = self.tool(CLANG);
        clang
            .args(["--no-default-config", "-nostdinc", "-target", target])
            .args(["-mcpu=v3", "-O2", "-fno-ident"])
            .args(["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]);
        if !name.contains("_nobtf.") {
            clang.arg("-g");
        }
        // A switch may otherwise become a table in .rodata, which the dispatchers' config has to
        // itself.
        clang.arg("-fno-jump-tables");
        clang.arg("-fdebug-compilation-dir=.");
        clang.args(["-I", "include", "-isystem", LIBBPF, "-c"]);
        sh::output(clang.arg(source).arg("-o").arg(&object))?;
        // DWARF goes, BTF stays.
        sh::output(self.tool(STRIP).arg("-g").arg(&object))?;
        fs::read(self.path(&object)).with_context(|| format!("read what {name} compiled to"))
    }

    /// Variables like CPATH and CCC_OVERRIDE_OPTIONS change what clang does, and those of libc
    /// change the order of what it writes.
    fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.dir.path());
        command
    }
}

/// The version in what `clang --version` says first, with words of the distribution around it.
fn version(said: &str) -> Option<&str> {
    let rest = said.lines().next()?.split_once("clang version ")?.1;
    rest.split(' ').next()
}

/// Asks cargo where the libbpf lies that Cargo.lock names.
fn libbpf() -> Result<PathBuf> {
    let said = sh::output(sh::cargo("metadata").args(["--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&said).context("read cargo metadata")?;
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "libbpf-sys")
        .and_then(|package| package["manifest_path"].as_str())
        .context("the workspace does not depend on libbpf-sys")?;
    Ok(Path::new(manifest).with_file_name("libbpf"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_of_the_compiler_is_read() {
        let said = "Debian clang version 19.1.7 (3~deb12u1)\nTarget: x86_64-pc-linux-gnu";
        assert_eq!(super::version(said), Some("19.1.7"));
        assert_eq!(super::version("clang version 19.1.8\n"), Some("19.1.8"));
        assert_eq!(super::version("clang: not found"), None);
    }
}
