//! Objects of a size that nobody would commit, compiled for the bench.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::bpf;
use crate::sh;

/// The program that is loaded, whatever else the object holds.
pub(super) const PROGRAM: &str = "program_0";

/// Maps that one program uses.
const MAPS: usize = 50;

const HEAD: &str = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n\
    char _license[] SEC(\"license\") = \"GPL\";\n";

/// What grows from object to object.
#[derive(Clone, Copy, Debug)]
pub(super) enum Grows {
    Programs,
    /// A program takes 64 maps at most: after every 50, another program has the next ones.
    Maps,
    /// Bytes in a section that is never loaded, as debug information is.
    Megabytes,
}

impl Grows {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Programs => "programs",
            Self::Maps => "maps",
            Self::Megabytes => "MB",
        }
    }

    /// An object with so many of them in `dir`.
    pub(super) fn object(self, many: usize, dir: &Path) -> Result<PathBuf> {
        let path = dir.join(format!("{}_{many}.o", self.name()));
        match self {
            Self::Programs => bpf::compile_text(&source(many, 0)?, &path)?,
            Self::Maps => bpf::compile_text(&source(many.div_ceil(MAPS), many)?, &path)?,
            Self::Megabytes => {
                bpf::compile_text(&source(1, 0)?, &path)?;
                pad(&path, many * 1_000_000)?;
            }
        }
        Ok(path)
    }
}

fn source(programs: usize, maps: usize) -> Result<String> {
    let mut text = HEAD.to_owned();
    for map in 0..maps {
        writeln!(
            text,
            "struct {{ __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); \
             __type(value, __u64); }} map_{map} SEC(\".maps\");"
        )?;
    }
    for program in 0..programs {
        writeln!(
            text,
            "SEC(\"tracepoint/syscalls/sys_enter_acct\") int program_{program}(void *ctx)\n\
             {{ __u64 sum = {program};"
        )?;
        for map in (program * MAPS..maps).take(MAPS) {
            writeln!(
                text,
                "{{ __u32 key = 0; __u64 *value = bpf_map_lookup_elem(&map_{map}, &key); \
                 if (value) sum += *value; }}"
            )?;
        }
        writeln!(text, "return sum == 0; }}")?;
    }
    Ok(text)
}

/// Adds a section of `bytes` that belongs to no program.
fn pad(object: &Path, bytes: usize) -> Result<()> {
    let filler = object.with_extension("filler");
    // Not zeros: nothing shall be saved on them.
    let content: Vec<u8> = (0_u32..)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .take(bytes)
        .collect();
    std::fs::write(&filler, content).context("write the filler")?;
    sh::run(
        Command::new("llvm-objcopy-19")
            .arg("--add-section")
            .arg(format!(".debug_filler={}", filler.display()))
            .arg(object),
    )?;
    std::fs::remove_file(&filler).context("remove the filler")?;
    ensure!(
        std::fs::metadata(object)?.len() >= bytes as u64,
        "{} did not grow",
        object.display()
    );
    Ok(())
}
