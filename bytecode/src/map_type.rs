//! Types of maps, as an object declares them.

use std::borrow::Cow;

use crate::btf::{Btf, KIND_ARRAY, KIND_DATASEC, KIND_PTR, KIND_STRUCT, KIND_VAR, Type};

/// By number, `enum bpf_map_type` of include/uapi/linux/bpf.h. The words are those that bytecode
/// images carry in their labels: other tools read them, so they are not the kernel's spelling.
const NAMES: [&str; 34] = [
    "unspecified",
    "hash",
    "array",
    "prog_array",
    "perf_event_array",
    "per_cpu_hash",
    "per_cpu_array",
    "stack_trace",
    "cgroup_array",
    "lru_hash",
    "lru_per_cpu_hash",
    "lpm_trie",
    "array_of_maps",
    "hash_of_maps",
    "dev_map",
    "sock_map",
    "cpu_map",
    "xsk_map",
    "sock_hash",
    "cgroup_storage",
    "reuseport_sock_array",
    "per_cpu_cgroup_storage",
    "queue",
    "stack",
    "sk_storage",
    "dev_map_hash",
    "struct_ops",
    "ring_buf",
    "inode_storage",
    "task_storage",
    "bloom_filter",
    "user_ring_buf",
    "cgrp_storage",
    "arena",
];

/// The word for a map type in the labels of a bytecode image.
pub fn map_type_name(number: u32) -> Cow<'static, str> {
    usize::try_from(number)
        .ok()
        .and_then(|index| NAMES.get(index))
        .map_or_else(
            || Cow::Owned(format!("map_type_{number}")),
            |name| Cow::Borrowed(*name),
        )
}

/// The number of a map type, by the word of a label. The kernel, bpftool and other loaders write
/// the same words with capitals and underscores elsewhere.
pub(crate) fn map_type_number(word: &str) -> Option<u32> {
    let letters = |word: &str| word.replace('_', "").to_ascii_lowercase();
    let word = letters(word);
    let word = word.strip_prefix("bpfmaptype").unwrap_or(&word);
    let index = NAMES.iter().position(|name| letters(name) == word)?;
    u32::try_from(index).ok()
}

/// Name and type number of each variable of the section `.maps`; none when the BTF contradicts
/// itself or leaves a type out.
pub(crate) fn declared<'a>(btf: &Btf<'a>) -> Option<Vec<(&'a str, u32)>> {
    let types = btf.types()?;
    let sections = types
        .iter()
        .filter(|ty| ty.kind == KIND_DATASEC && ty.name == ".maps");
    let mut maps = Vec::new();
    for variable in sections.flat_map(|section| section.body.chunks_exact(12)) {
        let variable = by_id(&types, btf.word(variable, 0)?)?;
        if variable.kind != KIND_VAR {
            return None;
        }
        let definition = resolve(&types, variable.number)?;
        maps.push((variable.name, type_number(btf, &types, &definition)?));
    }
    Some(maps)
}

/// The member `type` of a definition, a pointer to an array of that many elements (`__uint` of
/// bpf_helpers.h).
fn type_number(btf: &Btf<'_>, types: &[Type<'_>], definition: &Type<'_>) -> Option<u32> {
    let members = definition.body.chunks_exact(12);
    for member in members.take_while(|_| definition.kind == KIND_STRUCT) {
        if btf.string(btf.word(member, 0)?)? == "type" {
            let pointer = resolve(types, btf.word(member, 4)?)?;
            let array = resolve(types, pointer.number)?;
            let fits = pointer.kind == KIND_PTR && array.kind == KIND_ARRAY;
            return btf.word(array.body, 8).filter(|_| fits);
        }
    }
    None
}

fn by_id<'a>(types: &[Type<'a>], id: u32) -> Option<Type<'a>> {
    types.get((id as usize).checked_sub(1)?).copied()
}

/// The type behind typedefs, qualifiers and tags.
fn resolve<'a>(types: &[Type<'a>], mut id: u32) -> Option<Type<'a>> {
    // Damaged BTF may go in circles.
    for _ in 0..32 {
        let ty = by_id(types, id)?;
        // Typedef, volatile, const, restrict, type tag.
        if !matches!(ty.kind, 8..=11 | 18) {
            return Some(ty);
        }
        id = ty.number;
    }
    None
}
