//! The machine's apt settings: where its packages come from, and which of those places is Debian's.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Releases whose packages are known here.
const RELEASES: [&str; 4] = ["bullseye", "bookworm", "trixie", "forky"];
/// Names of a place in the row of releases, which some machines have in their settings.
const MOVING: [&str; 4] = ["stable", "oldstable", "oldoldstable", "testing"];
/// Where Debian's keys lie, under both names that they have had.
const KEYS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// One archive of the machine's apt settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    /// A key file, or a whole key with line breaks as deb822 writes it.
    signed_by: Option<String>,
    /// Whether it is believed without a signature, as local mirrors may be.
    trusted: Option<String>,
}

impl Source {
    /// For a `.sources` file, without what the machine's settings ask for beyond packages.
    pub(super) fn stanza(&self, suites: &[String]) -> String {
        let mut text = format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: {}\nTargets: Packages\n",
            self.uris.join(" "),
            suites.join(" "),
            self.components.join(" ")
        );
        // Writing to a string does not fail.
        if let Some(key) = &self.signed_by {
            let _ = writeln!(text, "Signed-By: {key}");
        }
        if let Some(trusted) = &self.trusted {
            let _ = writeln!(text, "Trusted: {trusted}");
        }
        text
    }

    fn serves(&self, suite: &str) -> bool {
        self.suites.iter().any(|own| own == suite)
            && self.components.iter().any(|component| component == "main")
    }

    /// How many signs there are that it is Debian's: others name their suites after its releases.
    fn signs(&self, codename: &str) -> usize {
        let key = self.signed_by.as_deref().unwrap_or_default();
        let path = self
            .uris
            .first()
            .map_or("", |uri| uri.trim_end_matches('/'));
        [
            key.contains("debian-archive"),
            path.ends_with("/debian") || path.ends_with("/debian.list"),
            self.suites.contains(&format!("{codename}-updates")),
        ]
        .iter()
        .filter(|sign| **sign)
        .count()
    }

    /// Names what is `stable` or the like after the release of this machine.
    fn settle(&mut self, codename: &str) {
        for suite in &mut self.suites {
            let (name, rest) = suite.split_at(suite.find(['-', '/']).unwrap_or(suite.len()));
            if MOVING.contains(&name) {
                *suite = format!("{codename}{rest}");
            }
        }
    }
}

/// The machine's Debian release and where its packages come from.
#[derive(Debug)]
pub(crate) struct Host {
    /// Code name, as `bookworm`.
    pub(crate) codename: String,
    sources: Vec<Source>,
}

impl Host {
    /// Reads the apt settings of the machine.
    pub(crate) fn read() -> Result<Self> {
        Self::read_from(Path::new("/etc"))
    }

    fn read_from(etc: &Path) -> Result<Self> {
        let parts = std::fs::read_dir(etc.join("apt/sources.list.d"));
        let parts = parts.into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = parts.map(|entry| entry.path()).collect();
        files.push(etc.join("apt/sources.list"));
        files.sort_unstable();
        let mut sources = Vec::new();
        for file in files {
            let Ok(text) = std::fs::read_to_string(&file) else {
                continue;
            };
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("sources") => sources.extend(parse_deb822(&text)),
                Some("list") => sources.extend(parse_one_line(&text)),
                _ => {}
            }
        }
        // Discs ask for somebody who puts them in.
        sources.retain(|source| source.uris.iter().all(|uri| !uri.starts_with("cdrom:")));
        let release = etc.join("os-release");
        let release = std::fs::read_to_string(&release)
            .with_context(|| format!("read {}", release.display()))?;
        let codename = codename(&release, &sources)?;
        for source in &mut sources {
            source.settle(&codename);
        }
        Ok(Self { codename, sources })
    }

    /// Debian's archive with this suite.
    fn find(&self, suite: &str) -> Option<&Source> {
        let serving = self.sources.iter().filter(|source| source.serves(suite));
        // Of equal ones the first, as apt has it.
        serving
            .rev()
            .max_by_key(|source| source.signs(&self.codename))
    }

    /// The archive of the release itself; every other suite of Debian lies on the same mirror.
    fn base(&self) -> Result<&Source> {
        self.find(&self.codename)
            .with_context(|| format!("no apt source serves {} main", self.codename))
    }

    /// The mirror that every suite of Debian lies on.
    pub(crate) fn mirror(&self) -> Result<String> {
        let base = self.base()?;
        let uri = base
            .uris
            .first()
            .context("an apt source without an address")?;
        let Some(list) = uri.strip_prefix("mirror+file:") else {
            return Ok(uri.clone());
        };
        // A list of mirrors, as Debian's cloud images have it.
        let list = Path::new("/").join(list.trim_start_matches('/'));
        let text = std::fs::read_to_string(&list)
            .with_context(|| format!("read the mirrors in {}", list.display()))?;
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .find_map(|line| line.split_whitespace().next())
            .map(ToOwned::to_owned)
            .with_context(|| format!("{} names no mirror", list.display()))
    }

    /// The files with the keys of the machine's archive.
    pub(crate) fn keys(&self) -> Option<String> {
        let own = self.base().ok().and_then(|base| base.signed_by.clone());
        let mut keys = own.into_iter().chain(KEYS.map(ToOwned::to_owned));
        keys.find(|key| Path::new(key).is_file())
    }

    /// Another suite of Debian and nothing else, to download from: from whoever is named for it in
    /// the machine's settings, otherwise from its mirror.
    pub(super) fn suite(&self, suite: &str) -> Result<String> {
        let source = match self.find(suite) {
            Some(source) => source,
            None => self.base()?,
        };
        let source = Source {
            uris: source.uris.iter().take(1).cloned().collect(),
            components: vec!["main".to_owned()],
            ..source.clone()
        };
        let mut text = source.stanza(&[suite.to_owned()]);
        // An old release is not signed anew every week, and its signature holds all the same.
        text.push_str("Check-Valid-Until: no\n");
        let _ = writeln!(text, "Architectures: {}", architecture());
        Ok(text)
    }

    /// The machine's release, its updates and security fixes, and `more`, another suite of it.
    ///
    /// Never a newer release: its first package would pull in a newer libc for the whole machine.
    /// Backports only where the machine has them already, or they are asked for.
    pub(super) fn family(&self, more: Option<&str>) -> Result<String> {
        let base = self.base()?;
        let own = |source: &Source, suite: &str| match suite.strip_prefix(&self.codename) {
            // A suite of others may go by the name of the release alone.
            Some("") => source.uris == base.uris,
            Some(rest) => ["-updates", "-security", "/updates", "-backports"].contains(&rest),
            None => false,
        };
        let mut text = String::new();
        for source in &self.sources {
            let suites = source.suites.iter().filter(|suite| own(source, suite));
            let suites: Vec<_> = suites.cloned().collect();
            if !suites.is_empty() {
                text += &source.stanza(&suites);
                text.push('\n');
            }
        }
        if let Some(more) = more
            && self.find(more).is_none()
        {
            text += &base.stanza(&[more.to_owned()]);
        }
        Ok(text)
    }
}

/// As Debian calls the one that this program was built for.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The release by its own word when a source serves it, otherwise the first release served: on a
/// machine with packages of two releases, `os-release` may name one it has no source for.
fn codename(os_release: &str, sources: &[Source]) -> Result<String> {
    let own = os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned());
    let served = |suite: &str| sources.iter().any(|source| source.serves(suite));
    let own = own.filter(|own| served(own) || MOVING.iter().any(|name| served(name)));
    let known = || {
        let mut suites = sources.iter().flat_map(|source| &source.suites);
        suites.find(|suite| RELEASES.contains(&suite.as_str()))
    };
    own.or_else(|| known().cloned()).context(
        "the machine's apt settings (/etc/apt/sources.list, /etc/apt/sources.list.d) name no release \
         of Debian that is known here; Debian 12 and 13 are",
    )
}

/// Parses the stanzas of a `.sources` file.
fn parse_deb822(text: &str) -> Vec<Source> {
    let lines: Vec<_> = text.lines().collect();
    let stanzas = lines.split(|line| line.trim().is_empty());
    stanzas.filter_map(stanza).collect()
}

fn stanza(lines: &[&str]) -> Option<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines.iter().filter(|line| !line.starts_with('#')) {
        if line.starts_with([' ', '\t']) {
            let (_, value) = fields.last_mut()?;
            value.push('\n');
            value.push_str(line);
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.to_lowercase(), value.trim().to_owned()));
        }
    }
    let field = |name: &str| {
        let found = fields.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.clone())
    };
    let words = |name: &str| -> Vec<String> {
        let value = field(name).unwrap_or_default();
        value.split_whitespace().map(ToOwned::to_owned).collect()
    };
    let disabled = field("enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
    if disabled || !words("types").iter().any(|kind| kind == "deb") {
        return None;
    }
    Some(Source {
        uris: Some(words("uris")).filter(|uris| !uris.is_empty())?,
        suites: words("suites"),
        components: words("components"),
        signed_by: field("signed-by"),
        trusted: field("trusted"),
    })
}

/// Parses the lines of a `.list` file.
fn parse_one_line(text: &str) -> Vec<Source> {
    text.lines().filter_map(one_line).collect()
}

fn one_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t', '[']) {
        return None;
    }
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let option = |name: &str| {
        let mut options = options.split_whitespace();
        let value = options.find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
        value.map(ToOwned::to_owned)
    };
    let mut words = rest.split_whitespace().map(ToOwned::to_owned);
    Some(Source {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: option("signed-by"),
        trusted: option("trusted"),
    })
}

#[cfg(test)]
mod tests;
