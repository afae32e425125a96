//! Compiles the eBPF objects that are committed beside their sources in `bpf/`, so that nothing
//! else needs a compiler for them.
//!
//! The same bytes come out on every machine: one compiler version, the headers of the libbpf that
//! Cargo.lock pins, and no path of this machine in the objects.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result, bail};

use crate::setup::{self, Need};
use crate::sh;

const CLANG: &str = "clang-19";
const STRIP: &str = "llvm-strip-19";
/// The compiler that made the committed objects: another one may order or name things otherwise.
const VERSION: &str = "19.1.7";
/// The directories of `bpf/` with sources.
const DIRS: [&str; 3] = ["dispatcher", "examples", "test"];

/// Builds every object; with `check` it changes nothing and fails when a committed object is not
/// what its source compiles to.
pub(crate) fn run(check: bool) -> Result<()> {
    need_compiler()?;
    let root = sh::repo().join("bpf");
    let scratch = tempfile::tempdir().context("make a scratch directory")?;
    let headers = Headers::find(scratch.path())?;
    let sources = files(&root, ".bpf.c")?;
    let mut changed = Vec::new();
    for source in &sources {
        let object = source.with_extension("o");
        let built = compile(&root, source, &headers, &scratch.path().join("built.o"))?;
        let path = root.join(&object);
        if read(&path)?.as_deref() == Some(&*built) {
            continue;
        }
        if !check {
            fs::write(&path, built).with_context(|| format!("write {}", path.display()))?;
        }
        changed.push(object);
    }
    for object in files(&root, ".bpf.o")? {
        if !sources.contains(&object.with_extension("c")) {
            if !check {
                fs::remove_file(root.join(&object))
                    .with_context(|| format!("remove {}", object.display()))?;
            }
            changed.push(object);
        }
    }
    report(check, sources.len(), &changed)
}

fn report(check: bool, all: usize, changed: &[PathBuf]) -> Result<()> {
    let names: Vec<String> = changed
        .iter()
        .map(|object| format!("  bpf/{}", object.display()))
        .collect();
    if check && !changed.is_empty() {
        bail!(
            "these objects are not what their sources compile to; run `cargo xtask bpf` and \
             commit them:\n{}",
            names.join("\n")
        );
    }
    println!("{all} objects, {} changed", changed.len());
    for name in names {
        println!("{name}");
    }
    Ok(())
}

/// Compiles a text that is no file of the repo to an object at `to`.
pub(crate) fn compile_text(text: &str, to: &Path) -> Result<()> {
    need_compiler()?;
    let scratch = tempfile::tempdir().context("make a scratch directory")?;
    let headers = Headers::find(scratch.path())?;
    let source = scratch.path().join("made.bpf.c");
    fs::write(&source, text).context("write a source")?;
    compile(&sh::repo().join("bpf"), &source, &headers, to).map(drop)
}

/// Sees to it that the one compiler is there.
fn need_compiler() -> Result<()> {
    setup::ensure(&[Need::Bpf])?;
    let said = sh::output(Command::new(CLANG).arg("--version"))?;
    let first = said.lines().next().unwrap_or_default();
    if !first.split(' ').any(|word| word == VERSION) {
        bail!("the objects are built with clang {VERSION}, and {CLANG} is `{first}`");
    }
    Ok(())
}

/// Where the compiler looks for `<bpf/…>`, `<linux/…>` and `<asm/…>`.
struct Headers {
    /// libbpf's directory in the libbpf-sys crate.
    libbpf: PathBuf,
    /// A directory that shows libbpf's sources as `bpf`, the name that programs include.
    shown: PathBuf,
    /// The machine's directory with `asm`, where /usr/include has none.
    asm: Option<PathBuf>,
}

impl Headers {
    fn find(scratch: &Path) -> Result<Self> {
        let libbpf = libbpf()?;
        let shown = scratch.join("include");
        fs::create_dir(&shown).context("make a header directory")?;
        std::os::unix::fs::symlink(libbpf.join("src"), shown.join("bpf"))
            .context("link libbpf's headers")?;
        let asm = if Path::new("/usr/include/asm/types.h").exists() {
            None
        } else {
            Some(asm()?)
        };
        Ok(Self { libbpf, shown, asm })
    }
}

/// Asks cargo where the libbpf lies that Cargo.lock names.
fn libbpf() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let said = sh::output(
        Command::new(cargo)
            .args(["metadata", "--format-version", "1"])
            .current_dir(sh::repo()),
    )?;
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

/// Debian keeps `asm` in a directory named after the machine.
fn asm() -> Result<PathBuf> {
    let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
    let dir = Path::new("/usr/include").join(machine);
    if !dir.join("asm/types.h").exists() {
        bail!("no asm/types.h below /usr/include: install linux-libc-dev");
    }
    Ok(dir)
}

/// Compiles one source and returns the object. The name decides two things: `…_nobtf` is compiled
/// without BTF and `…_bpfeb` for big-endian machines.
fn compile(root: &Path, source: &Path, headers: &Headers, to: &Path) -> Result<Vec<u8>> {
    let name = source.to_string_lossy();
    let target = if name.contains("_bpfeb.") {
        "bpfeb"
    } else {
        "bpfel"
    };
    let mut clang = Command::new(CLANG);
    clang
        .current_dir(root)
        .args(["-target", target, "-mcpu=v3", "-O2", "-fno-ident"])
        .args(["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]);
    if !name.contains("_nobtf.") {
        clang.arg("-g");
    }
    // A switch may otherwise become a table in .rodata, which the dispatchers' config has to itself.
    clang.arg("-fno-jump-tables");
    clang.arg("-fdebug-compilation-dir=.");
    for (dir, name) in [(&headers.shown, "libbpf"), (&headers.libbpf, "libbpf")] {
        clang.arg(format!("-ffile-prefix-map={}={name}", dir.display()));
    }
    clang.args(["-I", "include"]);
    clang.arg("-isystem").arg(&headers.shown);
    clang
        .arg("-isystem")
        .arg(headers.libbpf.join("include/uapi"));
    if let Some(asm) = &headers.asm {
        clang.arg("-idirafter").arg(asm);
    }
    sh::run(clang.arg("-c").arg(source).arg("-o").arg(to))?;
    // DWARF goes, BTF stays.
    sh::run(Command::new(STRIP).arg("-g").arg(to))?;
    fs::read(to).with_context(|| format!("read what {} compiled to", source.display()))
}

/// The files of `bpf/` that end in `suffix`, relative to it and sorted.
fn files(root: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for dir in DIRS {
        let entries = fs::read_dir(root.join(dir)).with_context(|| format!("list bpf/{dir}"))?;
        for entry in entries {
            let name = entry
                .with_context(|| format!("list bpf/{dir}"))?
                .file_name();
            if name.to_string_lossy().ends_with(suffix) {
                found.push(Path::new(dir).join(name));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}
