use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use crate::args::Cli;

/// All help texts below a command, as `--help` or as `-h` prints them.
fn collect(command: &mut Command, path: &str, long: bool, texts: &mut String) {
    let flag = if long { "--help" } else { "-h" };
    let help = if long {
        command.render_long_help()
    } else {
        command.render_help()
    };
    // Editors drop blanks at the end of lines, and so do we.
    let help: Vec<_> = help
        .to_string()
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    write!(texts, "$ {path} {flag}\n{}\n\n", help.join("\n")).unwrap();
    for sub in command.get_subcommands_mut() {
        if sub.get_name() != "help" {
            let path = format!("{path} {}", sub.get_name());
            collect(sub, &path, long, texts);
        }
    }
}

fn all(long: bool) -> String {
    let mut root = Cli::command();
    root.build();
    let mut texts = String::new();
    collect(&mut root, "bpfman", long, &mut texts);
    texts
}

#[test]
fn long() {
    insta::assert_snapshot!(all(true));
}

#[test]
fn short() {
    insta::assert_snapshot!(all(false));
}

#[test]
fn arguments_are_consistent() {
    Cli::command().debug_assert();
}

/// The sentences and values of the guide, word for word. What comes between them is ours.
#[test]
fn the_guides_words_are_there() {
    let help = all(true);
    for words in include_str!("guide.txt").split("\n\n") {
        assert!(help.contains(words.trim_end()), "missing:\n{words}");
    }
}

#[test]
fn lines_fit_a_terminal() {
    // A usage line is one line, however many options are required.
    let help = all(true);
    for line in help.lines().filter(|line| !line.starts_with("Usage: ")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn version() {
    let Err(failure) = super::read("--version") else {
        panic!("--version is no command")
    };
    assert_eq!(
        failure.to_string(),
        format!("bpfman {}\n", env!("CARGO_PKG_VERSION"))
    );
}
