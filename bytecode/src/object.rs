//! An object that was checked, and what is in it.

use model::Digest;
use sha2::{Digest as _, Sha256};

use crate::{
    Error, Global,
    btf::Debug,
    elf::Elf,
    globals,
    inventory::{btf_of_maps, entry_section, program_section},
    legacy,
    reach::Reach,
};

/// An entry function of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    name: String,
    section: String,
    func_info: bool,
    pub(crate) node: usize,
}

impl Program {
    /// Its function symbol.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ELF section it is in, without the `?` that asks libbpf not to load it by default.
    pub fn section(&self) -> &str {
        &self.section
    }

    /// Whether BTF describes the function. The kernel asks for it when a program is to extend
    /// another one, as every member of a chain does.
    pub fn has_func_info(&self) -> bool {
        self.func_info
    }
}

/// An object that was checked, and what is in it.
#[derive(Debug)]
pub struct Object {
    bytes: Vec<u8>,
    digest: String,
    license: Option<String>,
    programs: Vec<Program>,
    globals: Vec<Global>,
    core_relocations: bool,
    pub(crate) reach: Reach,
}

impl Object {
    /// Checks the bytes and finds what is in them. They are taken over, never copied; map
    /// definitions of the old kind (section `maps`) are rewritten into BTF-defined ones, because
    /// libbpf 1 takes no others.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Error> {
        let digest = Digest::new(Sha256::digest(&bytes).into()).hex();
        Self::parse_named(bytes, digest)
    }

    /// The same, for bytes whose SHA-256 is known.
    pub(crate) fn parse_named(mut bytes: Vec<u8>, digest: String) -> Result<Self, Error> {
        let elf = Elf::parse(&bytes)?;
        btf_of_maps(&elf)?;
        let rewrite = legacy::plan(&elf)?;
        if let Some(rewrite) = rewrite {
            rewrite.apply(&mut bytes)?;
        }
        let elf = Elf::parse(&bytes)?;
        let debug = Debug::read(&elf)?;
        let reach = Reach::build(&elf)?;
        let programs = collect_programs(&elf, &debug, &reach)?;
        if programs.is_empty() {
            return Err(Error::NoPrograms);
        }
        let license = license(&elf)?;
        let globals = globals::collect(&elf)?;
        let core_relocations = debug.core_relocations;
        Ok(Self {
            bytes,
            digest,
            license,
            programs,
            globals,
            core_relocations,
            reach,
        })
    }

    /// The object as libbpf can take it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the bytes as they were given, in lower-case hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The entry functions, in the order of the object; never empty.
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// The variables that can be set before the load.
    pub fn globals(&self) -> &[Global] {
        &self.globals
    }

    /// What the section `license` says.
    pub fn license(&self) -> Option<&str> {
        self.license.as_deref()
    }

    /// Whether the object adapts itself to the running kernel (CO-RE). libbpf then reads the
    /// kernel's BTF at load, which takes about 12 ms.
    pub fn has_core_relocations(&self) -> bool {
        self.core_relocations
    }
}

fn license(elf: &Elf<'_>) -> Result<Option<String>, Error> {
    let Some(section) = elf.by_name("license") else {
        return Ok(None);
    };
    let text = elf.data(section)?;
    let end = text
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(text.len());
    Ok(Some(String::from_utf8_lossy(&text[..end]).into_owned()))
}

fn collect_programs(
    elf: &Elf<'_>,
    debug: &Debug<'_>,
    reach: &Reach,
) -> Result<Vec<Program>, Error> {
    let mut found = Vec::new();
    for symbol in elf.symbols() {
        let symbol = symbol?;
        let Some(section) = entry_section(elf, &symbol) else {
            continue;
        };
        let Some(node) = reach.function_at(section.index, symbol.value) else {
            continue;
        };
        let program = Program {
            name: symbol.name.to_owned(),
            section: program_section(section.name),
            func_info: debug.describes(section.name, symbol.value),
            node,
        };
        found.push((section.index, symbol.value, program));
    }
    found.sort_by_key(|(section, offset, _)| (*section, *offset));
    Ok(found.into_iter().map(|(_, _, program)| program).collect())
}
