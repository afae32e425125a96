//! What docs/reliability.md says is held by tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// Whether `module::name` is a test, or a module of tests. `binary/` may stand before it.
fn exists(tests: &Path, promise: &str) -> bool {
    let (binary, path) = promise.split_once('/').unwrap_or(("kernel", promise));
    let (module, rest) = path.split_once("::").unwrap_or((path, ""));
    let name = rest.rsplit("::").next().unwrap_or_default();
    let base = tests.join(binary).join(module);
    let mut files = sources(&base);
    files.push(base.with_extension("rs"));
    files.retain(|file| file.exists());
    let is_module = |file: &PathBuf| file.file_stem().is_some_and(|stem| stem == name);
    let has_test = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        text.contains(&format!("fn {name}()"))
    };
    !files.is_empty() && (name.is_empty() || files.iter().any(|f| is_module(f) || has_test(f)))
}

#[test]
fn each_promise_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("docs/reliability.md")).unwrap();
    let named: Vec<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.contains("::") && !word.contains(' '))
        .collect();
    assert!(named.len() > 50, "{named:?}");
    let tests = root.join("testkit/tests");
    let missing: Vec<_> = named
        .iter()
        .filter(|name| **name != "module::name" && !exists(&tests, name))
        .collect();
    assert!(missing.is_empty(), "there is no test {missing:?}");
}
