//! What a program reaches: functions it calls or passes on, maps, and through maps inner maps
//! and programs. Only that needs to exist for it to load. Where a reference is unclear, everything
//! that it may mean is taken as reached.

use std::{borrow::Cow, cmp::Reverse, collections::BTreeSet, mem::offset_of};

use object::{
    elf::{STB_WEAK, STT_FUNC, STT_NOTYPE, SymbolInfo},
    pod::bytes_of_slice,
};

use crate::{
    Error, Object, Program,
    elf::{Elf, Kind, RawRel, RawSection, RawSymbol, Section, Symbol, position},
    rewrite::Rewrite,
};

/// Functions and maps, and what each of them refers to.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    nodes: Vec<Node>,
    functions: Vec<Span>,
    maps: Vec<Span>,
    /// Symbols that must be found in the kernel, in their order, with their nodes.
    externs: Vec<(usize, usize)>,
}

#[derive(Debug, Default)]
struct Node {
    /// For a map.
    map: Option<String>,
    refers_to: Vec<usize>,
}

/// Bytes of a section that belong to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    section: usize,
    start: u64,
    end: u64,
    node: usize,
}

/// The span that holds a byte; of overlapping ones the last to begin.
fn at(spans: &[Span], section: usize, offset: u64) -> Option<usize> {
    let after = spans.partition_point(|span| (span.section, span.start) <= (section, offset));
    let span = spans.get(after.checked_sub(1)?)?;
    (span.section == section && offset < span.end).then_some(span.node)
}

impl Object {
    /// Names of the maps that must exist for the program to load: those that it and the functions
    /// it reaches refer to, their inner maps, and what the programs it tail-calls by an initial
    /// value need. Sections that become maps have the section's name (`.rodata`); `.kconfig` is
    /// named whenever a variable outside of the object is read, be it of that map or not.
    pub fn maps_of(&self, program: &Program) -> BTreeSet<String> {
        let reached = self.reach.from(program.node);
        self.reach
            .nodes
            .iter()
            .zip(reached)
            .filter(|(_, reached)| *reached)
            .filter_map(|(node, _)| node.map.clone())
            .collect()
    }

    /// Programs that must be loaded with this one, because a program array that it reaches has
    /// them as initial values. In the order of the object, without the program itself.
    pub fn tail_calls_of(&self, program: &Program) -> Vec<&Program> {
        let reached = self.reach.from(program.node);
        self.programs()
            .iter()
            .filter(|other| {
                other.node != program.node && reached.get(other.node).copied().unwrap_or(false)
            })
            .collect()
    }

    /// The object as libbpf can take it to load this program, with what it reaches and nothing
    /// else. libbpf fills a program array that has initial values even when it was told not to
    /// create it, and looks for every function and variable of the kernel that the object names.
    /// So initial values that the program does not reach are left out, and what it does not reach
    /// in the kernel may be missing there. Mostly that changes nothing, and nothing is copied.
    pub fn bytes_for(&self, program: &Program) -> Result<Cow<'_, [u8]>, Error> {
        let elf = Elf::parse(self.bytes())?;
        let reached = self.reach.from(program.node);
        let mut rewrite = Rewrite::of(self.bytes().len());
        self.reach.drop_values(&elf, &reached, &mut rewrite)?;
        self.reach.loosen_externs(&elf, &reached, &mut rewrite);
        if rewrite.is_empty() {
            return Ok(Cow::Borrowed(self.bytes()));
        }
        let mut bytes = self.bytes().to_vec();
        rewrite.apply(&mut bytes)?;
        Ok(Cow::Owned(bytes))
    }
}

impl Reach {
    pub(crate) fn build(elf: &Elf<'_>) -> Result<Self, Error> {
        let mut builder = Builder::nodes(elf)?;
        for (_, changed, entries) in elf.relocations() {
            if matches!(changed.kind, Kind::Code | Kind::Maps) {
                builder.relocate(changed, entries?)?;
            }
        }
        builder.calls_without_relocation()?;
        let mut reach = builder.reach;
        for node in &mut reach.nodes {
            node.refers_to.sort_unstable();
            node.refers_to.dedup();
        }
        Ok(reach)
    }

    pub(crate) fn function_at(&self, section: usize, offset: u64) -> Option<usize> {
        at(&self.functions, section, offset)
    }

    /// For each node whether it can be reached from `start`, itself included.
    fn from(&self, start: usize) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        let mut next = vec![start];
        while let Some(index) = next.pop() {
            let (Some(seen), Some(node)) = (reached.get_mut(index), self.nodes.get(index)) else {
                continue;
            };
            if !std::mem::replace(seen, true) {
                next.extend(&node.refers_to);
            }
        }
        reached
    }

    /// Takes the programs out of the initial values of maps that are not reached.
    fn drop_values(
        &self,
        elf: &Elf<'_>,
        reached: &[bool],
        rewrite: &mut Rewrite,
    ) -> Result<(), Error> {
        for (relocations, changed, entries) in elf.relocations() {
            if changed.kind != Kind::Maps {
                continue;
            }
            let entries = entries?;
            let mut kept: Vec<RawRel> = Vec::with_capacity(entries.len());
            for entry in entries {
                let map = at(&self.maps, changed.index, entry.r_offset.get(elf.order));
                let wanted = map.is_none_or(|map| reached.get(map).copied().unwrap_or(true));
                if wanted || !elf.refers_to_code(entry)? {
                    kept.push(*entry);
                }
            }
            if kept.len() < entries.len() {
                let kept = bytes_of_slice(&kept);
                let size = elf.header_offset(relocations.index) + offset_of!(RawSection, sh_size);
                rewrite.replace(size, (kept.len() as u64).to_ne_bytes());
                rewrite.replace(position(relocations.raw.sh_offset.get(elf.order)), kept);
            }
        }
        Ok(())
    }

    /// Makes references to the kernel that are not reached weak: libbpf goes on without those.
    fn loosen_externs(&self, elf: &Elf<'_>, reached: &[bool], rewrite: &mut Rewrite) {
        for (symbol, node) in &self.externs {
            if !reached.get(*node).copied().unwrap_or(true) {
                let info = SymbolInfo::new(STB_WEAK, STT_NOTYPE).0;
                rewrite.replace(
                    elf.symbol_offset(*symbol) + offset_of!(RawSymbol, st_info),
                    [info],
                );
            }
        }
    }

    fn add(&mut self, map: Option<&str>) -> usize {
        self.nodes.push(Node {
            map: map.map(str::to_owned),
            ..Node::default()
        });
        self.nodes.len() - 1
    }

    fn link(&mut self, from: usize, to: usize) {
        if let Some(node) = self.nodes.get_mut(from) {
            // Loops refer to the same map over and over.
            if node.refers_to.last() != Some(&to) {
                node.refers_to.push(to);
            }
        }
    }
}

struct Builder<'e, 'a> {
    elf: &'e Elf<'a>,
    reach: Reach,
    /// By section index: the map that a data section becomes.
    data: Vec<Option<usize>>,
    /// Stands for all maps of the section `.maps`.
    any_map: usize,
    /// The map of variables that libbpf fills in from the kernel's configuration.
    kconfig: usize,
    /// Places of relocations in code: section and offset.
    relocated: Vec<(usize, u64)>,
}

impl<'e, 'a> Builder<'e, 'a> {
    fn nodes(elf: &'e Elf<'a>) -> Result<Self, Error> {
        let mut reach = Reach::default();
        let (any_map, kconfig) = (reach.add(None), reach.add(Some(".kconfig")));
        let data = elf
            .sections()
            .iter()
            .map(|section| (section.kind == Kind::Data).then(|| reach.add(Some(section.name))))
            .collect();
        for symbol in elf.symbols() {
            let symbol = symbol?;
            if symbol.is_strong_extern() {
                let node = reach.add(None);
                reach.externs.push((symbol.index, node));
            }
            let Some(section) = symbol.section.and_then(|index| elf.section(index)) else {
                continue;
            };
            let span = |node, size: u64| Span {
                section: section.index,
                start: symbol.value,
                end: symbol.value.saturating_add(size),
                node,
            };
            match section.kind {
                Kind::Code if symbol.kind == STT_FUNC && symbol.size > 0 => {
                    let node = reach.add(None);
                    reach.functions.push(span(node, symbol.size));
                }
                Kind::Maps if !symbol.is_section() && !symbol.name.is_empty() => {
                    let node = reach.add(Some(symbol.name));
                    reach.link(any_map, node);
                    reach.maps.push(span(node, symbol.size.max(1)));
                }
                _ => {}
            }
        }
        // Of two names of one function the longer reach counts; where functions overlap, a byte
        // belongs to the last to begin.
        reach
            .functions
            .sort_unstable_by_key(|span| (span.section, span.start, Reverse(span.end)));
        reach
            .functions
            .dedup_by_key(|span| (span.section, span.start));
        for index in 1..reach.functions.len() {
            if let [before, after] = &mut reach.functions[index - 1..=index]
                && before.section == after.section
            {
                before.end = before.end.min(after.start);
            }
        }
        reach.maps.sort_unstable();
        Ok(Self {
            elf,
            reach,
            data,
            any_map,
            kconfig,
            relocated: Vec::new(),
        })
    }

    /// Enters what the relocations of one section refer to.
    fn relocate(&mut self, changed: &Section<'_>, entries: &[RawRel]) -> Result<(), Error> {
        let data = self.elf.data(changed)?;
        let spans = match changed.kind {
            Kind::Code => &self.reach.functions,
            _ => &self.reach.maps,
        };
        let mut links = Vec::with_capacity(entries.len());
        for entry in entries {
            let offset = entry.r_offset.get(self.elf.order);
            if changed.kind == Kind::Code {
                self.relocated.push((changed.index, offset));
            }
            let Some(from) = at(spans, changed.index, offset) else {
                continue;
            };
            let symbol = self.elf.target(entry)?;
            let code = match changed.kind {
                Kind::Code => Instruction::at(data, offset),
                _ => None,
            };
            let addend = code.as_ref().map_or(0, Instruction::addend);
            links.extend(self.target(&symbol, addend).map(|to| (from, to)));
            if symbol.undefined && code.is_some_and(|code| !code.calls()) {
                links.push((from, self.kconfig));
            }
        }
        for (from, to) in links {
            self.reach.link(from, to);
        }
        Ok(())
    }

    /// The node that a reference to `symbol` plus `addend` bytes means.
    fn target(&self, symbol: &Symbol<'_>, addend: i64) -> Option<usize> {
        let Some(section) = symbol.section.and_then(|index| self.elf.section(index)) else {
            let externs = &self.reach.externs;
            let found = externs.binary_search_by_key(&symbol.index, |(index, _)| *index);
            return found
                .ok()
                .and_then(|found| externs.get(found))
                .map(|(_, node)| *node);
        };
        let offset = symbol.value.saturating_add_signed(addend);
        match section.kind {
            Kind::Code => at(&self.reach.functions, section.index, offset),
            Kind::Maps => Some(at(&self.reach.maps, section.index, offset).unwrap_or(self.any_map)),
            Kind::Arena => Some(self.any_map),
            Kind::Data => self.data.get(section.index).copied().flatten(),
            Kind::LegacyMaps | Kind::Other => None,
        }
    }

    /// A call within a section has no relocation, only a distance.
    fn calls_without_relocation(&mut self) -> Result<(), Error> {
        self.relocated.sort_unstable();
        let mut links = Vec::new();
        for function in &self.reach.functions {
            let Some(section) = self.elf.section(function.section) else {
                continue;
            };
            let data = self.elf.data(section)?;
            let end = function.end.min(data.len() as u64);
            for offset in (function.start..end).step_by(Instruction::SIZE) {
                let calls = Instruction::at(data, offset).filter(Instruction::calls_object);
                let Some(call) = calls else { continue };
                if self
                    .relocated
                    .binary_search(&(section.index, offset))
                    .is_err()
                {
                    let place = offset.saturating_add_signed(call.addend());
                    let callee = at(&self.reach.functions, section.index, place);
                    links.extend(callee.map(|callee| (function.node, callee)));
                }
            }
        }
        for (from, to) in links {
            self.reach.link(from, to);
        }
        Ok(())
    }
}

/// The parts of an instruction that name something else.
struct Instruction {
    code: u8,
    /// Tells what `value` means.
    source: u8,
    value: i32,
}

impl Instruction {
    /// In bytes.
    const SIZE: usize = 8;

    fn at(code: &[u8], offset: u64) -> Option<Self> {
        let start = usize::try_from(offset).ok()?;
        let bytes = code.get(start..)?.first_chunk::<{ Self::SIZE }>()?;
        let [code, registers, _, _, value @ ..] = *bytes;
        let source = if cfg!(target_endian = "little") {
            registers >> 4
        } else {
            registers & 0xf
        };
        Some(Self {
            code,
            source,
            value: i32::from_ne_bytes(value),
        })
    }

    fn calls(&self) -> bool {
        self.code == 0x85
    }

    /// A call of another function of the object (BPF_PSEUDO_CALL).
    fn calls_object(&self) -> bool {
        self.calls() && self.source == 1
    }

    /// Distance in bytes from the place that a relocation names, or without one from the
    /// instruction itself. A call counts instructions, starting behind itself.
    fn addend(&self) -> i64 {
        if self.calls() {
            (i64::from(self.value) + 1) * 8
        } else {
            i64::from(self.value)
        }
    }
}
