//! What is there before an operation and after it, whatever ids it has.

use testkit::{World, settles};

/// The note of a change that is committed stays until the next change; it is nothing that counts.
const NOTE: &str = "file /run/bpfman/pending.json";

/// Fails unless the world becomes the same again.
pub(super) fn same(world: &World, when: &str) {
    let diff = settles(|| world.diff(&World::here()));
    assert!(
        diff.is_empty(),
        "another world, {when}:\n{}",
        diff.join("\n")
    );
}

/// Fails unless the world becomes one that differs in ids at most.
pub(super) fn alike(expected: &[String], when: &str) -> World {
    let mut world = None;
    let diff = settles(|| {
        let now = World::here();
        let diff = unlike(expected, shape(&now));
        world = Some(now);
        diff
    });
    assert!(
        diff.is_empty(),
        "neither the world before nor the one after, {when}:\n{}",
        diff.join("\n")
    );
    world.unwrap()
}

fn unlike(expected: &[String], mut now: Vec<String>) -> Vec<String> {
    let mut diff = Vec::new();
    for line in expected {
        match now.iter().position(|other| other == line) {
            Some(at) => _ = now.swap_remove(at),
            // As `World::diff`: what the kernel was still taking apart.
            None if ["program ", "map ", "link "]
                .iter()
                .any(|kind| line.starts_with(kind)) => {}
            None => diff.push(format!("- {line}")),
        }
    }
    diff.extend(now.iter().map(|line| format!("+ {line}")));
    diff
}

/// The world without ids.
pub(super) fn shape(world: &World) -> Vec<String> {
    let mut lines: Vec<String> = world
        .lines()
        .filter(|line| !line.starts_with(NOTE))
        .map(|line| {
            let text = line
                .chars()
                .map(|c| if c.is_ascii_digit() { '#' } else { c });
            let mut text: String = text.collect();
            while text.contains("##") {
                text = text.replace("##", "#");
            }
            text
        })
        .collect();
    lines.sort_unstable();
    lines
}
