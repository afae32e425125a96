//! Python's gRPC library and its compiler for .proto files, in a folder of their own. Debian's know
//! no optional fields.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{cache, sh, watch};

const PACKAGES: [&str; 2] = ["grpcio==1.85.1", "grpcio-tools==1.85.1"];
const PLACE: &str = "python";
/// What the folder has, written last.
const STAMP: &str = "installed";

/// The Python that has it.
pub(crate) fn python() -> Result<PathBuf> {
    cache::get(PLACE, "fetch Python's grpcio", find, install)
}

pub(crate) fn is_there() -> Result<bool> {
    Ok(find(&sh::cache_dir()?.join(PLACE)).is_ok())
}

fn find(folder: &Path) -> Result<PathBuf> {
    let stamp = std::fs::read_to_string(folder.join(STAMP)).context("it has no stamp")?;
    ensure!(stamp == PACKAGES.join(" "), "it has {stamp}");
    let python = folder.join("bin/python3");
    // The Python that it was made of may have gone, or become another one.
    sh::output(Command::new(&python).args(["-c", "import grpc, grpc_tools.protoc"]))?;
    Ok(python)
}

fn install(folder: &Path) -> Result<PathBuf> {
    let venv = folder.join("python");
    sh::output(sh::mortal("python3").args(["-m", "venv"]).arg(&venv))?;
    let mut pip = sh::mortal(venv.join("bin/python3"));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check"])
        .args(PACKAGES);
    watch::run("pip install", pip)?;
    std::fs::write(venv.join(STAMP), PACKAGES.join(" ")).context("note what was installed")?;
    Ok(venv)
}
