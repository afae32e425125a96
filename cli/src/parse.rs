//! What single arguments mean. Messages are shown after clap's own "invalid value …:".

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::builder::{PathBufValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use model::{Direction, KernelType, Kind, MAX_PRIORITY, ProceedOn, ProgramId, Tracepoint};

/// `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair<V> {
    pub(crate) key: String,
    pub(crate) value: V,
}

/// A global variable and its bytes in memory order.
pub(crate) fn global(text: &str) -> Result<Pair<Vec<u8>>, String> {
    let (name, hex) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("write it as NAME=HEX, for example GLOBAL_u8=01")?;
    if hex.contains(',') {
        return Err("write several as separate words: --global A=01 B=02".into());
    }
    let value = bytes(hex).map_err(|why| format!("the value of {name} {why}"))?;
    Ok(Pair {
        key: name.to_owned(),
        value,
    })
}

/// The bytes that pairs of hex digits stand for.
fn bytes(hex: &str) -> Result<Vec<u8>, &'static str> {
    let digits = hex
        .strip_prefix("0x")
        .or_else(|| hex.strip_prefix("0X"))
        .unwrap_or(hex);
    if digits.is_empty() {
        return Err("is empty: give its bytes in hex, for example 0A0B0C0D");
    }
    let nibbles: Option<Vec<u8>> = digits
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|nibble| u8::try_from(nibble).ok())
        })
        .collect();
    let nibbles = nibbles.ok_or("is not hex: use the digits 0-9 and A-F, two for each byte")?;
    match nibbles.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect()),
        _ => Err("has an odd number of hex digits: give two for each byte, such as 01"),
    }
}

/// A key and value of the user's own.
pub(crate) fn metadata(text: &str) -> Result<Pair<String>, String> {
    let (key, value) = text
        .split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or("write it as KEY=VALUE, for example owner=acme")?;
    // A comma alone may well be part of a value.
    let joined = value.split(',').skip(1).any(|part| {
        part.split_once('=').is_some_and(|(key, _)| {
            !key.is_empty()
                && key
                    .chars()
                    .all(|c| c.is_alphanumeric() || "._-/".contains(c))
        })
    });
    if joined {
        return Err("write several as separate words: owner=acme team=net".into());
    }
    Ok(Pair {
        key: key.to_owned(),
        value: value.to_owned(),
    })
}

/// One map of all pairs; the same key with two values is an error.
pub(crate) fn unite<V: Clone + PartialEq>(
    flag: &str,
    pairs: &[Pair<V>],
) -> Result<BTreeMap<String, V>, String> {
    let mut map = BTreeMap::new();
    for Pair { key, value } in pairs {
        if map
            .insert(key.clone(), value.clone())
            .is_some_and(|other| other != *value)
        {
            return Err(format!("{flag} sets '{key}' twice, to different values"));
        }
    }
    Ok(map)
}

/// The id of a program.
pub(crate) fn program_id(text: &str) -> Result<ProgramId, &'static str> {
    text.parse()
        .map_err(|_| "a program id is a number, as 'bpfman list' shows it")
}

/// A number of bytes, in decimal or, after `0x`, in hex.
pub(crate) fn offset(text: &str) -> Result<u64, &'static str> {
    match text.strip_prefix("0x") {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16),
        _ => text.parse(),
    }
    .map_err(|_| "an offset is a number of bytes, such as 16 or 0x10")
}

/// A type of the kernel; underscores are taken as well, because tables show them.
pub(crate) fn program_type() -> impl TypedValueParser<Value = KernelType> {
    let values = KernelType::names()
        .map(|name| PossibleValue::new(name).alias(name.replace('-', "_")))
        .collect::<Vec<_>>();
    PossibleValuesParser::new(values).try_map(|word| word.parse::<KernelType>())
}

/// Words of `--proceed-on`, each as the set of itself.
pub(crate) fn actions(kind: Kind) -> impl TypedValueParser<Value = ProceedOn> {
    PossibleValuesParser::new(ProceedOn::words(kind))
        .try_map(move |word| ProceedOn::parse(kind, [word]))
}

/// A side of an interface.
pub(crate) fn direction() -> impl TypedValueParser<Value = Direction> {
    PossibleValuesParser::new([Direction::Ingress, Direction::Egress].map(Direction::name))
        .try_map(|word| word.parse::<Direction>())
}

/// A place in the order of a hook.
pub(crate) fn priority(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|priority| *priority <= MAX_PRIORITY)
        .ok_or_else(|| format!("use a number from 0 (runs first) to {MAX_PRIORITY}"))
}

/// A trace event.
pub(crate) fn tracepoint(text: &str) -> Result<Tracepoint, &'static str> {
    text.parse()
        .map_err(|_| "write it as CATEGORY/NAME, for example sched/sched_switch")
}

/// A path that means the same in every working directory. Links stay as they are.
pub(crate) fn absolute() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(std::path::absolute)
}

/// A namespace: a path is made absolute, a bare name stays one.
pub(crate) fn netns() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path.components().count() {
        1 if path.is_relative() && path != Path::new(".") => Ok(path),
        _ => std::path::absolute(path),
    })
}
