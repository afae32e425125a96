//! The store, failed and killed at every step that changes it.

use std::{collections::BTreeSet, fs};

use serde_json::Value;
use testkit::{
    Output, Sandbox, example,
    faults::{Group, assert_passed},
    servers::{Options, Registry},
};

use crate::support::{json, layout, pull, stored};

/// A store, and how to make it what it was.
struct Stage<'a> {
    sandbox: &'a Sandbox,
    /// What the operation begins with.
    begin: &'a dyn Fn(),
    /// The operation.
    words: Vec<String>,
}

/// Images and their names, as `image list` has them.
fn listed(sandbox: &Sandbox) -> BTreeSet<(String, String)> {
    let images = json(sandbox, &["image", "list"]);
    let images = images.as_array().unwrap().iter();
    let text = |value: &Value| value.to_string();
    images
        .map(|image| (text(&image["digest"]), text(&image["references"])))
        .collect()
}

impl Stage<'_> {
    /// Goes through all points of the operation. Answers them.
    fn put_through(&self) -> BTreeSet<String> {
        let trace = self.sandbox.tmp().join("trace");
        let _ = fs::remove_file(&trace);
        (self.begin)();
        let before = listed(self.sandbox);
        let mut command = self.sandbox.command(&self.words);
        Output::of(command.env("BPFMAN_FAULT_TRACE", &trace)).ok();
        let (after, files) = (listed(self.sandbox), stored(self.sandbox));
        let trace = fs::read_to_string(&trace).unwrap();
        let passed: Vec<&str> = trace.lines().collect();
        for (at, point) in passed.iter().enumerate() {
            let turn = passed[..=at].iter().filter(|name| *name == point).count();
            for what in ["fail", "abort"] {
                let fault = format!("{point}#{turn}:{what}");
                (self.begin)();
                let output = self.sandbox.bpfman_env("BPFMAN_FAULT", &fault, &self.words);
                let now = listed(self.sandbox);
                match (what, output.status) {
                    ("abort", status) => assert_eq!(status, 128 + 9, "{output}"),
                    (_, 0) => assert_eq!(names(&now), names(&after), "{output}"),
                    _ if self.is_many() => {}
                    _ => assert_eq!(names(&now), names(&before), "{output}"),
                }
                // By names it is the one or the other; an image without a name takes space only.
                let is_one = [&before, &after].map(|one| names(one) == names(&now));
                let is_part = self.is_many() && names(&now).is_subset(&before);
                assert!(is_part || is_one.contains(&true), "{fault}: {now:?}");
                self.whole(&now);
                self.again(&before, &now);
                assert_eq!(names(&listed(self.sandbox)), names(&after), "{fault}");
                // What was left without a name, and blobs that no image needs.
                self.sandbox.bpfman(["image", "prune"]).ok();
                assert_eq!(listed(self.sandbox), names(&after), "{fault}");
                if after == names(&after) {
                    assert_eq!(stored(self.sandbox), files, "{fault}");
                }
            }
        }
        passed.into_iter().map(ToOwned::to_owned).collect()
    }

    /// A pruning is as many removals as there are images.
    fn is_many(&self) -> bool {
        self.words[1] == "prune"
    }

    /// Everything that is listed is there, unharmed.
    fn whole(&self, images: &BTreeSet<(String, String)>) {
        for (digest, _) in images {
            let digest = digest.trim_matches('"');
            self.sandbox.bpfman(["image", "inspect", digest]).ok();
        }
    }

    /// The same command once more; where it was done already, there is nothing left to remove.
    fn again(&self, before: &BTreeSet<(String, String)>, now: &BTreeSet<(String, String)>) {
        let output = self.sandbox.bpfman(&self.words);
        if names(before) == names(now) || self.words[1] != "remove" {
            output.ok();
        }
    }
}

fn names(images: &BTreeSet<(String, String)>) -> BTreeSet<(String, String)> {
    let named = images.iter().filter(|(_, names)| names != "[]");
    named.cloned().collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[test]
fn the_store_is_the_old_or_the_new_one() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    let [old, new] = ["xdp_pass", "xdp_counter"].map(|name| layout(&sandbox, &example(name)));
    registry.push(&old, "one:tag", &[]);
    registry.push(&old, "one:twin", &[]);
    registry.push(&new, "two:tag", &[]);
    registry.push(&old, "moves:tag", &[]);
    let [one, twin, two] = ["one:tag", "one:twin", "two:tag"].map(|name| registry.image(name));
    let moves = registry.image("moves:tag");
    let mut passed = BTreeSet::new();
    let mut prove = |begin: &dyn Fn(), command: &[&str]| {
        let stage = Stage {
            sandbox: &sandbox,
            begin,
            words: words(command),
        };
        passed.extend(stage.put_through());
    };
    let clear = || {
        let _ = fs::remove_dir_all(sandbox.images());
    };
    let with = |images: &[&str]| {
        clear();
        for image in images {
            pull(&sandbox, image, &[]).ok();
        }
    };
    prove(&clear, &["image", "pull", "--image-url", &one]);
    let always = ["image", "pull", "-p", "Always", "--image-url", &moves];
    let before_the_move = || {
        registry.push(&old, "moves:tag", &[]);
        with(&[&moves]);
        registry.push(&new, "moves:tag", &[]);
    };
    prove(&before_the_move, &always);
    // The last name of an image, and one of two.
    prove(&|| with(&[&one, &two]), &["image", "remove", &one]);
    prove(&|| with(&[&one, &twin]), &["image", "remove", &one]);
    prove(&|| with(&[&one, &two]), &["image", "prune", "--all"]);
    assert_passed(Group::Images, &passed);
}
