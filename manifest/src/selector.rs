//! Selection by labels, as Kubernetes writes it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// `matchLabels` and `matchExpressions`; both must hold, and an empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct LabelSelector {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    match_labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    match_expressions: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    key: String,
    operator: Operator,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// Selects programs, or hosts, by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(pub(crate) LabelSelector);

impl Selector {
    /// The one that selects a single pair.
    pub(crate) fn of(key: &str, value: &str) -> Self {
        Self(LabelSelector {
            match_labels: BTreeMap::from([(key.to_owned(), value.to_owned())]),
            match_expressions: Vec::new(),
        })
    }

    /// Whether it selects what carries these labels.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let equal = |(key, value): (&String, &String)| labels.get(key) == Some(value);
        let holds = |requirement: &Requirement| {
            let value = labels.get(&requirement.key);
            let listed = value.is_some_and(|value| requirement.values.contains(value));
            match requirement.operator {
                Operator::In => listed,
                Operator::NotIn => !listed,
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        };
        self.0.match_labels.iter().all(equal) && self.0.match_expressions.iter().all(holds)
    }

    /// It selects everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0 == LabelSelector::default()
    }

    /// One line, for the metadata of a loaded program.
    pub(crate) fn to_line(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// What [`to_line`](Self::to_line) wrote.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok().map(Self)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.0.match_labels.iter();
        let mut words: Vec<_> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
        let more = self.0.match_expressions.iter();
        words.extend(more.map(|r| {
            let list = r.values.join(",");
            match r.operator {
                Operator::In => format!("{} in ({list})", r.key),
                Operator::NotIn => format!("{} not in ({list})", r.key),
                Operator::Exists => r.key.clone(),
                Operator::DoesNotExist => format!("!{}", r.key),
            }
        }));
        f.write_str(&words.join(", "))
    }
}
