//! What bpfman is asked, and what it answers.

use std::path::PathBuf;

/// A test object by its name, without path and suffix: `xdp_counter`.
pub fn object(name: &str) -> Load {
    Load::from_path(bpf_dir("test").join(format!("{name}.bpf.o")))
}

/// An example object by its name.
pub fn example(name: &str) -> Load {
    Load::from_path(bpf_dir("examples").join(format!("{name}.bpf.o")))
}

/// The same path on the machine and in a VM.
fn bpf_dir(sub: &str) -> PathBuf {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../bpf");
    std::fs::canonicalize(path)
        .unwrap_or_else(|error| panic!("{path}: {error}"))
        .join(sub)
}

/// The arguments of one `load file` or `load image`, put together step by step.
#[derive(Clone, Debug)]
pub struct Load {
    /// The object.
    pub path: PathBuf,
    image: Option<String>,
    common: Vec<String>,
    attach: Vec<String>,
}

impl Load {
    /// Of an object anywhere.
    pub fn from_path(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            image: None,
            common: Vec::new(),
            attach: Vec::new(),
        }
    }

    /// From an image in place of the file.
    #[must_use]
    pub fn of_image(mut self, url: &str) -> Self {
        self.image = Some(url.to_owned());
        self
    }

    /// A word or several before the program type.
    #[must_use]
    pub fn with(mut self, words: &[&str]) -> Self {
        self.common.extend(words.iter().map(ToString::to_string));
        self
    }

    /// `--name`.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.with(&["--name", name])
    }

    /// `--global NAME=HEX`.
    #[must_use]
    pub fn global(self, name: &str, hex: &str) -> Self {
        self.with(&["--global", &format!("{name}={hex}")])
    }

    /// `--metadata KEY=VALUE`.
    #[must_use]
    pub fn metadata(self, pair: &str) -> Self {
        self.with(&["--metadata", pair])
    }

    /// `--map-owner-id`.
    #[must_use]
    pub fn map_owner(self, id: u32) -> Self {
        self.with(&["--map-owner-id", &id.to_string()])
    }

    /// The program type and all that follows it.
    #[must_use]
    pub fn attach(mut self, words: &[&str]) -> Self {
        self.attach.extend(words.iter().map(ToString::to_string));
        self
    }

    /// `xdp` on an interface.
    #[must_use]
    pub fn xdp(self, iface: &str) -> Self {
        self.attach(&["xdp", "--iface", iface])
    }

    /// `tc` on a side of an interface.
    #[must_use]
    pub fn tc(self, direction: &str, iface: &str) -> Self {
        self.attach(&["tc", "--direction", direction, "--iface", iface])
    }

    /// `tcx` on a side of an interface.
    #[must_use]
    pub fn tcx(self, direction: &str, iface: &str) -> Self {
        self.attach(&["tcx", "--direction", direction, "--iface", iface])
    }

    /// `--priority`.
    #[must_use]
    pub fn priority(self, priority: u32) -> Self {
        self.attach(&["--priority", &priority.to_string()])
    }

    /// `--proceed-on`, each with the flag.
    #[must_use]
    pub fn proceed_on(self, actions: &[&str]) -> Self {
        actions
            .iter()
            .fold(self, |load, action| load.attach(&["--proceed-on", action]))
    }

    /// The words after `bpfman`, with `-o id`.
    pub fn args(&self) -> Vec<String> {
        self.args_as(&["-o", "id"])
    }

    /// The words after `bpfman`, with other words for the output, or none.
    pub fn args_as(&self, output: &[&str]) -> Vec<String> {
        let (from, flag, what) = match &self.image {
            None => ("file", "--path", self.path.to_string_lossy().into_owned()),
            Some(url) => ("image", "--image-url", url.clone()),
        };
        let words = ["load", from].into_iter().chain(output.iter().copied());
        let mut args: Vec<String> = words.map(ToOwned::to_owned).collect();
        args.extend([flag.to_owned(), what]);
        args.extend(self.common.iter().chain(&self.attach).cloned());
        args
    }
}

/// The two tables of `get` and `load`.
#[derive(Clone, Debug)]
pub struct Details {
    /// The whole text.
    pub text: String,
    bpfman: Vec<(String, Vec<String>)>,
    kernel: Vec<(String, Vec<String>)>,
}

impl Details {
    /// Reads the tables as a person would: ` Label:   value`, and further values alone on the lines
    /// that follow.
    pub fn parse(text: &str) -> Self {
        let (bpfman, kernel) = text
            .split_once("Kernel State")
            .unwrap_or_else(|| panic!("no Kernel State: {text}"));
        assert!(bpfman.contains("Bpfman State"), "no Bpfman State: {text}");
        Self {
            text: text.to_owned(),
            bpfman: rows(bpfman),
            kernel: rows(kernel),
        }
    }

    /// The one value of a row of `Bpfman State`.
    #[track_caller]
    pub fn bpfman(&self, label: &str) -> String {
        one(self.bpfman_all(label), label)
    }

    /// All values of a row of `Bpfman State`.
    #[track_caller]
    pub fn bpfman_all(&self, label: &str) -> Vec<String> {
        find(&self.bpfman, label).unwrap_or_else(|| panic!("no row {label:?}:\n{}", self.text))
    }

    /// There is such a row in `Bpfman State`.
    pub fn has(&self, label: &str) -> bool {
        find(&self.bpfman, label).is_some()
    }

    /// Nothing is known of it but what the kernel says.
    pub fn is_foreign(&self) -> bool {
        self.bpfman.is_empty() && self.text.contains("NONE")
    }

    /// The value of a row of `Kernel State`.
    #[track_caller]
    pub fn kernel(&self, label: &str) -> String {
        let row = find(&self.kernel, label);
        one(
            row.unwrap_or_else(|| panic!("no row {label:?}:\n{}", self.text)),
            label,
        )
    }
}

fn rows(table: &str) -> Vec<(String, Vec<String>)> {
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    for line in table.lines() {
        let continued = line.starts_with("   ");
        match (line.split_once(':'), rows.last_mut()) {
            (_, Some((_, values))) if continued && !line.trim().is_empty() => {
                values.push(line.trim().to_owned());
            }
            (Some((label, value)), _) if !continued => {
                rows.push((label.trim().to_owned(), vec![value.trim().to_owned()]));
            }
            _ => {}
        }
    }
    rows
}

fn find(rows: &[(String, Vec<String>)], label: &str) -> Option<Vec<String>> {
    rows.iter()
        .find(|(name, _)| name == label)
        .map(|(_, values)| values.clone())
}

#[track_caller]
fn one(mut values: Vec<String>, label: &str) -> String {
    assert_eq!(values.len(), 1, "one value of {label}: {values:?}");
    values.remove(0)
}

/// One line of `list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Program id.
    pub id: u32,
    /// Name, empty where the kernel has none.
    pub name: String,
    /// Type as shown.
    pub kind: String,
    /// Time as shown.
    pub loaded: String,
}

impl Line {
    /// Reads the table, headings first.
    pub fn parse(text: &str) -> Vec<Self> {
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        let columns: Vec<usize> = ["Program ID", "Name", "Type", "Load Time"]
            .iter()
            .map(|title| {
                head.find(title)
                    .unwrap_or_else(|| panic!("no column {title}: {text}"))
            })
            .collect();
        lines
            .map(|line| {
                let cell = |at: usize| {
                    let end = columns.get(at + 1).map_or(line.len(), |end| *end);
                    line.get(columns[at]..end)
                        .unwrap_or_default()
                        .trim()
                        .to_owned()
                };
                let id = cell(0)
                    .parse()
                    .unwrap_or_else(|_| panic!("no id: {line:?}"));
                Self {
                    id,
                    name: cell(1),
                    kind: cell(2),
                    loaded: cell(3),
                }
            })
            .collect()
    }
}
