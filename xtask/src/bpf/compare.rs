//! What differs between two objects.

use std::collections::BTreeMap;

use anyhow::Result;

use super::facts::{self, Fact};

/// How much of a value is told, in characters.
const SHOWN: usize = 70;
/// How much of it before the first difference.
const BEFORE: usize = 20;

/// What differs in meaning between a committed object, which may be damaged, and the one that its
/// source compiles to.
pub(super) fn differences(committed: &[u8], built: &[u8]) -> Result<Vec<String>> {
    let new = facts::read(built)?;
    if committed == built {
        return Ok(Vec::new());
    }
    Ok(match facts::read(committed) {
        Ok(old) => compare(&old, &new),
        Err(error) => vec![format!("it is damaged: {error:#}")],
    })
}

/// Facts about one thing are told together, where the first of them stands.
fn compare(old: &[Fact], new: &[Fact]) -> Vec<String> {
    let mut values: BTreeMap<&str, [Vec<&str>; 2]> = BTreeMap::new();
    for (side, facts) in [old, new].into_iter().enumerate() {
        for fact in facts {
            let sides = values.entry(&fact.what).or_default();
            sides[side].push(&fact.value);
        }
    }
    old.iter()
        .chain(new)
        .filter_map(|fact| {
            // Taken out: the next fact about the same thing finds nothing.
            let [mut old, mut new] = values.remove(&*fact.what)?;
            old.sort_unstable();
            new.sort_unstable();
            (old != new).then(|| tell(&fact.what, &old, &new))
        })
        .collect()
}

fn tell(what: &str, old: &[&str], new: &[&str]) -> String {
    let all = |values: &[&str]| match values {
        [] => "nothing".chars().collect(),
        values => values.join(" and ").chars().collect::<Vec<_>>(),
    };
    let (old, new) = (all(old), all(new));
    let alike = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let cut = if old.len().max(new.len()) > SHOWN {
        alike.saturating_sub(BEFORE)
    } else {
        0
    };
    let show = |value: &[char]| {
        let mut text = String::from(if cut > 0 { "…" } else { "" });
        let visible = |c: &char| if c.is_control() { ' ' } else { *c };
        text.extend(value.iter().skip(cut).take(SHOWN).map(visible));
        if value.len() > cut + SHOWN {
            text.push('…');
        }
        text
    };
    format!("{what}: {} → {}", show(&old), show(&new))
}
