//! Steps that lead to what manifests say: planned, or done.

use std::fmt::Write as _;

use manager::Outcome;
use manifest::{Action, kind_name};
use serde::Serialize;

use super::{Format, json, lines, yaml};

/// Whether the steps are done, or only planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tense {
    /// Done.
    Past,
    /// Planned.
    Future,
}

/// One step for programs, as docs/json.md describes it.
#[derive(Serialize)]
struct Document {
    kind: &'static str,
    name: String,
    instance: String,
    action: &'static str,
    id: Option<u32>,
    replaced_id: Option<u32>,
    differences: Vec<Differing>,
    error: Option<String>,
}

#[derive(Serialize)]
struct Differing {
    field: String,
    from: String,
    to: String,
}

/// Whether a step changes something, or should.
pub(crate) fn differs(outcome: &Outcome) -> bool {
    !matches!(outcome.step.action, Action::Keep { .. })
}

/// All steps, a line each.
pub(crate) fn text(outcomes: &[Outcome], tense: Tense, format: Format) -> std::io::Result<String> {
    match format {
        Format::Table => Ok(table(outcomes, tense)),
        other => machine(&outcomes.iter().collect::<Vec<_>>(), other),
    }
}

/// The steps that change something.
pub(crate) fn differences_text(outcomes: &[Outcome], format: Format) -> std::io::Result<String> {
    let outcomes: Vec<_> = outcomes.iter().filter(|outcome| differs(outcome)).collect();
    match format {
        Format::Table => Ok(signs(&outcomes)),
        other => machine(&outcomes, other),
    }
}

fn machine(outcomes: &[&Outcome], format: Format) -> std::io::Result<String> {
    let documents = || outcomes.iter().map(|outcome| document(outcome));
    match format {
        Format::Json => json(&documents().collect::<Vec<_>>()),
        Format::Yaml => yaml(&documents().collect::<Vec<_>>()),
        Format::Table | Format::Id => Ok(lines(
            documents().filter_map(|one| one.id.map(|id| id.to_string())),
        )),
    }
}

fn document(outcome: &Outcome) -> Document {
    let step = &outcome.step;
    let differences = step.action.differences().iter();
    Document {
        kind: kind_name(step.identity.kind),
        name: step.identity.name.clone(),
        instance: step.identity.instance.clone(),
        action: step.action.word(),
        id: outcome
            .result
            .as_ref()
            .ok()
            .and_then(|id| id.map(|id| id.0)),
        replaced_id: match step.action {
            Action::Replace { id, .. } => Some(id.0),
            _ => None,
        },
        differences: differences
            .map(|one| Differing {
                field: one.field.clone(),
                from: one.from.clone(),
                to: one.to.clone(),
            })
            .collect(),
        error: outcome.result.as_ref().err().map(ToString::to_string),
    }
}

fn table(outcomes: &[Outcome], tense: Tense) -> String {
    let heading = ["Program", "On", "Action", "Outcome"].map(str::to_owned);
    let rows = outcomes.iter().map(|outcome| {
        let step = &outcome.step;
        let on = match step.identity.instance.as_str() {
            "" => "-",
            instance => instance,
        };
        [
            format!("{}/{}", kind_name(step.identity.kind), step.identity.name),
            on.to_owned(),
            step.action.word().to_owned(),
            said(outcome, tense),
        ]
    });
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths = [0, 1, 2].map(|column| width(column).unwrap_or(0));
    rows.iter().fold(String::new(), |mut text, row| {
        // Writing to a String cannot fail.
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", row[3]);
        text
    })
}

/// What became of a step, or would.
fn said(outcome: &Outcome, tense: Tense) -> String {
    let id = match &outcome.result {
        Ok(id) => id.map(|id| id.to_string()).unwrap_or_default(),
        Err(_) => return "failed".to_owned(),
    };
    let differences = outcome.step.action.differences().iter();
    let why = differences
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let done = tense == Tense::Past;
    match &outcome.step.action {
        Action::Create if done => format!("program {id}"),
        Action::Create => "would be loaded".to_owned(),
        Action::Replace { id: old, .. } if done => format!("program {id} in place of {old}: {why}"),
        Action::Replace { id: old, .. } => format!("program {old} would be replaced: {why}"),
        Action::Update { .. } => format!("program {id}: {why}"),
        Action::Keep { .. } => format!("program {id}"),
        Action::Remove { .. } if done => format!("program {id} unloaded"),
        Action::Remove { .. } => format!("program {id} would be unloaded"),
        Action::Refuse { .. } => "failed".to_owned(),
    }
}

fn signs(outcomes: &[&Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        let step = &outcome.step;
        let sign = match step.action {
            Action::Create => '+',
            Action::Replace { .. } | Action::Update { .. } => '~',
            Action::Remove { .. } => '-',
            Action::Keep { .. } | Action::Refuse { .. } => '!',
        };
        let id = step.action.id();
        let id = id.map(|id| format!(" (program {id})")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{sign} {}{id}", step.identity);
        for difference in step.action.differences() {
            let _ = writeln!(text, "    {difference}");
        }
    }
    text
}
