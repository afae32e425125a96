//! Tools of cargo's, built once into the cache. Their versions are those that this repository was
//! tried with: a newer one may want a newer Rust than a machine has, and settings of another form.
//! To raise one: `cargo info <name>` tells the newest and the Rust that it wants, which must not be
//! newer than `rust-version` in Cargo.toml; put the number here, and run `cargo xtask test`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{cache, sh, watch};

/// Runs tests, each in a process of its own. Without what would replace it by a newer one, half of
/// its crates.
pub(crate) const NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    version: "0.9.151",
    options: &["--no-default-features", "--features", "default-no-update"],
};
/// Looks at licenses, advisories and where crates come from.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    options: &[],
};
/// Builds fuzz targets.
pub(crate) const FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    version: "0.13.2",
    options: &[],
};

/// They wait for others or run for seconds: a short build is worth more than fast code.
const QUICK: [(&str, &str); 5] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
];

/// A program of cargo's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    version: &'static str,
    /// For `cargo install`.
    options: &'static [&'static str],
}

impl Tool {
    /// The program from the cache, built when it is not there yet.
    pub(crate) fn get(self) -> Result<PathBuf> {
        let what = format!("build {} {} (a minute or two)", self.name, self.version);
        let find = |folder: &Path| self.find(folder);
        cache::get(&self.place(), &what, find, |folder| self.install(folder))
    }

    /// A command of this tool for this repository.
    pub(crate) fn command(self) -> Result<Command> {
        Ok(sh::for_cargo(Command::new(self.get()?)))
    }

    pub(crate) fn is_there(self) -> Result<bool> {
        Ok(self.find(&sh::cache_dir()?.join(self.place())).is_ok())
    }

    fn place(self) -> String {
        format!("tools/{}-{}", self.name, self.version)
    }

    fn find(self, folder: &Path) -> Result<PathBuf> {
        let program = folder.join("bin").join(self.name);
        // Not only there: a system library may have gone since it was built.
        sh::output(Command::new(&program).arg("--version"))?;
        Ok(program)
    }

    fn install(self, folder: &Path) -> Result<PathBuf> {
        let name = self.name;
        let root = folder.join("root");
        let mut cargo = sh::mortal(sh::cargo_program());
        cargo
            .args(["install", name, "--version", self.version, "--locked"])
            .args(self.options)
            .arg("--root")
            .arg(&root)
            .arg("--target-dir")
            .arg(folder.join("target"))
            // No settings of some folder above this one.
            .current_dir("/")
            .envs(QUICK);
        watch::run(&format!("cargo install {name}"), cargo)?;
        self.find(&root)
            .with_context(|| format!("cargo installed {name}, but it does not run"))?;
        Ok(root)
    }
}
