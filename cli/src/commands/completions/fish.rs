//! What clap_complete leaves out of its script for fish: the options of commands that are three
//! words deep (`load file xdp`), and the values of positional arguments.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// The lines that are missing.
pub(super) fn rest(root: &Command) -> String {
    let mut lines = String::new();
    for first in root.get_subcommands() {
        let mut path = vec![first.get_name()];
        values(first, &path, &mut lines);
        for second in first.get_subcommands() {
            path.push(second.get_name());
            values(second, &path, &mut lines);
            for third in second.get_subcommands() {
                path.push(third.get_name());
                options(third, &path, &mut lines);
                path.pop();
            }
            path.pop();
        }
    }
    lines
}

/// When a command is the one that is being typed.
fn condition(path: &[&str]) -> String {
    let mut text = format!("__fish_bpfman_using_subcommand {}", path[0]);
    for name in &path[1..] {
        // A String takes everything.
        let _ = write!(text, "; and __fish_seen_subcommand_from {name}");
    }
    text
}

fn options(command: &Command, path: &[&str], lines: &mut String) {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    for arg in shown.filter(|arg| !arg.is_positional()) {
        let _ = write!(lines, "complete -c bpfman -n \"{}\"", condition(path));
        if let Some(short) = arg.get_short() {
            let _ = write!(lines, " -s {short}");
        }
        if let Some(long) = arg.get_long() {
            let _ = write!(lines, " -l {long}");
        }
        if let Some(help) = arg.get_help() {
            let help = help.to_string();
            let first = help.lines().next().unwrap_or_default();
            let _ = write!(lines, " -d '{}'", first.replace('\'', "\\'"));
        }
        if arg.get_action().takes_values() {
            lines.push_str(" -r");
        }
        if let Some(words) = possible(arg) {
            let _ = write!(lines, " -f -a \"{words}\"");
        }
        lines.push('\n');
    }
}

fn values(command: &Command, path: &[&str], lines: &mut String) {
    for words in command.get_positionals().filter_map(possible) {
        let condition = condition(path);
        let _ = writeln!(
            lines,
            "complete -c bpfman -n \"{condition}\" -f -a \"{words}\""
        );
    }
}

/// The values that an argument can have, where there is a list of them.
fn possible(arg: &Arg) -> Option<String> {
    let values = arg.get_possible_values();
    let shown = values.iter().filter(|value| !value.is_hide_set());
    let words: Vec<&str> = shown.map(clap::builder::PossibleValue::get_name).collect();
    (arg.get_action().takes_values() && !words.is_empty()).then(|| words.join(" "))
}
