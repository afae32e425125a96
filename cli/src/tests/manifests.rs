use std::{fs, path::Path, process::Command};

use manager::{Error, Outcome};
use manifest::{Action, Difference, Identity, Step};
use model::{Kind, ProgramId};

use crate::{
    commands::{
        completions::{Shell, script},
        manpages::pages,
    },
    output::{
        Format, Tense,
        outcome::{differences_text, text},
    },
    report::Failure,
};

fn outcome(name: &str, instance: &str, action: Action, id: Option<u32>) -> Outcome {
    let identity = Identity {
        kind: Kind::Xdp,
        name: name.to_owned(),
        instance: instance.to_owned(),
    };
    let refused = match &action {
        Action::Refuse { why } => Some(Error::Manifest(why.clone())),
        _ => None,
    };
    let wish = (!matches!(action, Action::Remove { .. })).then_some(0);
    let step = Step {
        identity,
        wish,
        owner: None,
        action,
    };
    Outcome {
        step,
        result: refused.map_or(Ok(id.map(ProgramId)), Err),
    }
}

/// One step of each kind, as planned or as done.
fn outcomes(tense: Tense) -> Vec<Outcome> {
    let done = |id: u32| (tense == Tense::Past).then_some(id);
    let old = ProgramId(12);
    let differences = vec![
        Difference {
            field: "priority".into(),
            from: "100".into(),
            to: "50".into(),
        },
        Difference {
            field: "globaldata.sampling".into(),
            from: "none".into(),
            to: "01".into(),
        },
    ];
    let labels = vec![Difference {
        field: "labels.app".into(),
        from: "none".into(),
        to: "web".into(),
    }];
    let replaced = Action::Replace {
        id: old,
        differences,
    };
    let updated = Action::Update {
        id: ProgramId(14),
        differences: labels,
    };
    let why = "mapownerselector (app=x) selects no manifest and no loaded program";
    vec![
        outcome("firewall", "eth0", Action::Create, done(17)),
        outcome("stats", "eth0", replaced, Some(done(18).unwrap_or(12))),
        outcome("labelled", "eth0", updated, Some(14)),
        outcome(
            "kept",
            "wlan0",
            Action::Keep { id: ProgramId(13) },
            Some(13),
        ),
        outcome("lost", "eth1", Action::Refuse { why: why.into() }, None),
        outcome("old", "", Action::Remove { id: ProgramId(9) }, Some(9)),
    ]
}

#[test]
fn what_was_done_and_what_would_be() {
    let done = text(&outcomes(Tense::Past), Tense::Past, Format::Table).unwrap();
    insta::assert_snapshot!(done);
    let planned = text(&outcomes(Tense::Future), Tense::Future, Format::Table).unwrap();
    insta::assert_snapshot!(planned);
    insta::assert_snapshot!(differences_text(&outcomes(Tense::Future), Format::Table).unwrap());
    insta::assert_snapshot!(text(&outcomes(Tense::Past), Tense::Past, Format::Json).unwrap());
    assert_eq!(
        text(&[], Tense::Past, Format::Table)
            .unwrap()
            .lines()
            .count(),
        1
    );
    assert_eq!(differences_text(&[], Format::Table).unwrap(), "");
}

#[test]
fn wrong_manifests_are_errors_of_a_line() {
    let set = manifest::read_text("a: 1\n", Path::new("/"));
    let all: Vec<String> = set
        .errors
        .into_iter()
        .map(|error| Failure::from(error).to_string())
        .collect();
    assert_eq!(all.len(), 1);
    assert!(
        all[0].starts_with("error: standard input:1:1: unknown field `a`"),
        "{all:?}"
    );
    let set = manifest::read(Path::new("/nonexistent/x.yaml"));
    let error = set.errors.into_iter().next().unwrap();
    let said = Failure::from(error).to_string();
    assert!(
        said.contains("/nonexistent/x.yaml: cannot read it: No such file"),
        "{said}"
    );
}

/// Every command has a page that `man` can read, without a hidden one.
#[test]
fn each_command_has_a_page() {
    let pages = pages().unwrap();
    let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    for name in [
        "bpfman.8",
        "bpfman-load-file-xdp.8",
        "bpfman-apply.8",
        "bpfman-image-build.8",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("__complete")));
    for (name, page) in &pages {
        let page = String::from_utf8(page.clone()).unwrap();
        let title = name.trim_end_matches(".8").to_ascii_uppercase();
        assert!(page.contains(&format!(".TH {title} 8")), "{name}:\n{page}");
    }
}

/// Runs a script of ours in bash, with a `bpfman` that answers what a test says.
fn completed(words: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bpfman.bash");
    fs::write(&path, script(Shell::Bash)).unwrap();
    let list: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let test = format!(
        "bpfman() {{ case $2 in programs) printf '17\\txdp a\\n18\\ttc b\\n' ;; \
         interfaces) printf 'eth0\\nlo\\n' ;; esac; }}\n\
         source {}\n\
         COMP_WORDS=({}); COMP_CWORD={}\n\
         entry=$(complete -p bpfman | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
         $entry bpfman \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        path.display(),
        list.join(" "),
        words.len() - 1,
    );
    let output = Command::new("bash").args(["-c", &test]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    let words = String::from_utf8(output.stdout).unwrap();
    words.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn bash_completes_ids_and_interfaces() {
    assert_eq!(completed(&["bpfman", "unload", ""]), ["17", "18"]);
    assert_eq!(completed(&["bpfman", "unload", "17", "1"]), ["17", "18"]);
    assert_eq!(completed(&["bpfman", "get", "18"]), ["18"]);
    let load = ["bpfman", "load", "file", "-p", "x.o", "xdp", "-i", ""];
    assert_eq!(completed(&load), ["eth0", "lo"]);
    let owner = ["bpfman", "load", "file", "--map-owner-id", ""];
    assert_eq!(completed(&owner), ["17", "18"]);
    // And what is known without asking.
    assert_eq!(completed(&["bpfman", "app"]), ["apply"]);
    assert!(completed(&["bpfman", "get", "-"]).contains(&"--output".to_owned()));
    assert!(!completed(&["bpfman", ""]).contains(&"__complete".to_owned()));
}

/// What only other shells can run is at least there, and names the same commands.
#[test]
fn other_shells_ask_the_same() {
    for shell in [Shell::Zsh, Shell::Fish] {
        let text = script(shell);
        for words in ["__complete programs", "interfaces", "apply"] {
            let spread = words.replace("__complete programs", "_bpfman_words programs");
            assert!(
                text.contains(words) || text.contains(&spread),
                "{shell:?}: {words}"
            );
        }
    }
    // zsh runs the end of the file the first time: it must be ours.
    assert!(
        script(Shell::Zsh)
            .trim_end()
            .ends_with("compdef _bpfman bpfman\nfi")
    );
}
