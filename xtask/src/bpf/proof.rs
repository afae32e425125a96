//! That the check can fail is proved on every run, with what a careless change would leave behind.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::compile::Compiler;
use super::{Change, DIRS};

/// A source of the repo, and what is changed in it.
const SOURCE: &str = "examples/xdp_pass.bpf.c";
const BEFORE: &str = "return XDP_PASS;";
const AFTER: &str = "return XDP_DROP;";

/// Checks a folder in which a source was changed without its object, a source has no object and an
/// object has no source: each must be told, and nothing else.
pub(super) fn differences_are_seen(compiler: &Compiler, root: &Path) -> Result<()> {
    let dir = tempfile::tempdir().context("make a scratch directory")?;
    let made = dir.path();
    for name in DIRS {
        fs::create_dir(made.join(name)).context("make a scratch directory")?;
    }
    std::os::unix::fs::symlink(root.join("include"), made.join("include"))
        .context("link the headers")?;
    let source = fs::read_to_string(root.join(SOURCE)).context("read a source")?;
    // Not the committed one, which may be what is wrong.
    let object = compiler.at(root)?.compile(Path::new(SOURCE))?;
    ensure!(
        source.contains(BEFORE),
        "{SOURCE} has no `{BEFORE}`, which the proof changes"
    );
    let write =
        |name: &str, bytes: &[u8]| fs::write(made.join(name), bytes).context("write a file");
    write(
        "examples/xdp_pass.bpf.c",
        source.replace(BEFORE, AFTER).as_bytes(),
    )?;
    write("examples/xdp_pass.bpf.o", &object)?;
    write("test/new.bpf.c", source.as_bytes())?;
    write("test/old.bpf.o", &object)?;

    let changes = super::changes(compiler, made)?;
    let told: Vec<String> = changes.iter().map(Change::tell).collect();
    let expected = [
        "examples/xdp_pass.bpf.o (committed → from its source)\n    program pass: instruction 0: ",
        "test/new.bpf.o: it is missing\n",
        "test/old.bpf.o: it has no source\n",
    ];
    let seen = told
        .iter()
        .zip(expected)
        .all(|(told, expected)| told.contains(expected));
    ensure!(
        seen && told.len() == expected.len(),
        "the check of the eBPF objects is broken: of a folder that is made with faults it tells \
         not these but\n{}",
        told.concat()
    );
    Ok(())
}
