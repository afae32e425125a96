//! Compiles the eBPF objects that are committed beside their sources in `bpf/`, so that nothing
//! else needs a compiler for them, and tells whether they say what their sources say.
//!
//! Bytes would be the wrong question: LLVM keeps forward declarations for BTF in a map whose keys
//! are addresses, and numbers them in that order. Another libc, other settings of its allocator or
//! a longer command line make another object of the same source (`bpf/README.md` shows it).

mod btf;
mod compare;
mod compile;
mod facts;
mod proof;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fs, io, thread};

use anyhow::{Context, Result, ensure};

use self::compare::differences;
use self::compile::{Compiler, Place};
use crate::{screen, sh};

/// The compiler that made the committed objects, the last version of its series. Any of the series
/// may check them: should one choose other instructions, that is told as what it is.
const MADE_BY: &str = "19.1.7";
/// The directories of `bpf/` with sources.
const DIRS: [&str; 3] = ["dispatcher", "examples", "test"];
/// How many differences of one object are told, and how many of one program, map or type in it.
const TOLD: usize = 12;
const TOLD_OF_ONE: usize = 3;

/// Builds every object; with `check` it changes nothing and fails when a committed object says
/// other than its source.
pub(crate) fn run(check: bool) -> Result<()> {
    let start = Instant::now();
    let compiler = Compiler::find()?;
    let root = sh::repo().join("bpf");
    let sources = files(&root, ".bpf.c")?.len();
    let version = &compiler.version;
    screen::say(&format!(
        "── compile {sources} eBPF sources with clang {version}"
    ));
    let changes = changes(&compiler, &root)?;
    if check {
        ensure!(changes.is_empty(), complaint(version, &changes));
        proof::differences_are_seen(&compiler, &root)?;
    }
    for change in &changes {
        change.make(&root)?;
        let object = change.object.display();
        screen::say(&format!("bpf/{object}: {}", change.what.name()));
    }
    let outcome = if check {
        "all objects say what their sources say".to_owned()
    } else {
        format!("{} objects changed", changes.len())
    };
    let seconds = start.elapsed().as_secs_f64();
    screen::say(&format!("{outcome} ({sources} in {seconds:.1} s)"));
    Ok(())
}

/// Compiles a text that is no file of the repo to an object at `to`.
pub(crate) fn compile_text(text: &str, to: &Path) -> Result<()> {
    let place = Compiler::find()?.at(&sh::repo().join("bpf"))?;
    fs::write(place.path("made.bpf.c"), text).context("write a source")?;
    let object = place.compile(Path::new("made.bpf.c"))?;
    fs::write(to, object).with_context(|| format!("write {}", to.display()))
}

/// What has to happen to an object, so that it is what its source says.
struct Change {
    /// Relative to the root.
    object: PathBuf,
    what: What,
}

enum What {
    /// A source without an object.
    Missing { built: Vec<u8> },
    /// An object without a source.
    Orphan,
    Differs {
        built: Vec<u8>,
        differences: Vec<String>,
    },
}

impl What {
    fn name(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "made",
            Self::Orphan => "removed, it has no source",
            Self::Differs { .. } => "made anew",
        }
    }
}

impl Change {
    fn make(&self, root: &Path) -> Result<()> {
        let path = root.join(&self.object);
        match &self.what {
            What::Missing { built } | What::Differs { built, .. } => fs::write(&path, built),
            What::Orphan => fs::remove_file(&path),
        }
        .with_context(|| format!("change {}", path.display()))
    }

    /// One line for the object, and some of what differs.
    fn tell(&self) -> String {
        let object = self.object.display();
        match &self.what {
            What::Missing { .. } => format!("  bpf/{object}: it is missing\n"),
            What::Orphan => format!("  bpf/{object}: it has no source\n"),
            What::Differs { differences, .. } => {
                let mut text = format!("  bpf/{object} (committed → from its source)\n");
                let told = some(differences);
                // Writing to a string does not fail.
                for difference in &told {
                    let _ = writeln!(text, "    {difference}");
                }
                if differences.len() > told.len() {
                    let _ = writeln!(text, "    and {} more", differences.len() - told.len());
                }
                text
            }
        }
    }
}

/// Some differences of everything that differs: where an instruction is new, all behind it are.
fn some(differences: &[String]) -> Vec<&str> {
    let mut of_one: HashMap<&str, usize> = HashMap::new();
    let mut told = Vec::new();
    for difference in differences {
        let what = difference.split(": ").next().unwrap_or_default();
        let times = of_one.entry(what).or_default();
        *times += 1;
        if *times <= TOLD_OF_ONE && told.len() < TOLD {
            told.push(difference.as_str());
        }
    }
    told
}

fn complaint(version: &str, changes: &[Change]) -> String {
    let told: String = changes.iter().map(Change::tell).collect();
    let told = told.trim_end();
    if version == MADE_BY {
        return format!(
            "these objects are not what their sources compile to; run `cargo xtask bpf` and commit \
             them:\n{told}"
        );
    }
    format!(
        "these objects are not what clang {version} makes of their sources. They were committed \
         from clang {MADE_BY}: unless a source has changed, the compilers differ and the objects \
         are as good as before. `cargo xtask bpf` makes them anew; then put the version into \
         MADE_BY in xtask/src/bpf/mod.rs.\n{told}"
    )
}

/// Compiles every source below `root`, on all processors, and compares.
fn changes(compiler: &Compiler, root: &Path) -> Result<Vec<Change>> {
    let place = &compiler.at(root)?;
    let sources = &files(root, ".bpf.c")?;
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut changes = thread::scope(|scope| {
        let work = |first| {
            let mine = sources.iter().skip(first).step_by(workers);
            mine.filter_map(|source| change(place, root, source).transpose())
                .collect::<Result<Vec<_>>>()
        };
        let threads: Vec<_> = (0..workers)
            .map(|first| scope.spawn(move || work(first)))
            .collect();
        let mut changes = Vec::new();
        for thread in threads {
            let done = thread.join();
            changes.extend(done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        anyhow::Ok(changes)
    })?;
    for object in files(root, ".bpf.o")? {
        if !sources.contains(&object.with_extension("c")) {
            let what = What::Orphan;
            changes.push(Change { object, what });
        }
    }
    changes.sort_by(|one, other| one.object.cmp(&other.object));
    Ok(changes)
}

fn change(place: &Place, root: &Path, source: &Path) -> Result<Option<Change>> {
    let object = source.with_extension("o");
    let built = place.compile(source)?;
    let what = match read(&root.join(&object))? {
        None => What::Missing { built },
        Some(committed) => {
            let differences = differences(&committed, &built)
                .with_context(|| format!("read what {} compiled to", source.display()))?;
            if differences.is_empty() {
                return Ok(None);
            }
            What::Differs { built, differences }
        }
    };
    Ok(Some(Change { object, what }))
}

/// The files of `root` that end in `suffix`, relative to it and sorted.
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
