//! Debian's packages, by the machine's own apt settings: its mirror and its keys, but lists of our
//! own, so that nothing about the machine changes but what is installed.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::sh;

/// One archive of the machine's apt settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
    /// A key file, or a whole key with line breaks as deb822 writes it.
    signed_by: Option<String>,
}

impl Source {
    fn stanza(&self, suites: &[String]) -> String {
        let mut text = format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: {}\n",
            self.uri,
            suites.join(" "),
            self.components.join(" ")
        );
        if let Some(key) = &self.signed_by {
            let _ = writeln!(text, "Signed-By: {key}");
        }
        text
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
        let mut sources = Vec::new();
        let main = Path::new("/etc/apt/sources.list").to_path_buf();
        let parts = std::fs::read_dir("/etc/apt/sources.list.d")
            .into_iter()
            .flatten();
        let mut files: Vec<PathBuf> = parts.flatten().map(|entry| entry.path()).collect();
        files.push(main);
        files.sort_unstable();
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
        let release = std::fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
        let codename = codename(&release, &sources)?;
        Ok(Self { codename, sources })
    }

    /// The archive of the release itself; every other suite of Debian lies on the same mirror.
    fn base(&self) -> Result<&Source> {
        self.sources
            .iter()
            .find(|source| source.serves(&self.codename))
            .with_context(|| format!("no apt source serves {} main", self.codename))
    }

    /// The mirror that every suite of Debian lies on.
    pub(crate) fn mirror(&self) -> Result<&str> {
        Ok(&self.base()?.uri)
    }

    /// Lists with the given suites of the machine's mirror and nothing else.
    pub(crate) fn suites(&self, suites: &[&str], dir: &Path) -> Result<Lists> {
        let suites: Vec<_> = suites.iter().map(ToString::to_string).collect();
        Lists::create(dir, &self.base()?.stanza(&suites))
    }

    /// Lists with the machine's release, its updates and security fixes, and its backports.
    ///
    /// Never a newer suite: its first package would pull in a newer libc for the whole machine.
    pub(crate) fn family(&self, dir: &Path) -> Result<Lists> {
        let own = |suite: &&String| {
            let rest = suite.strip_prefix(&self.codename);
            rest.is_some_and(|rest| ["", "-updates", "-security", "/updates"].contains(&rest))
        };
        let mut text = String::new();
        for source in &self.sources {
            let suites: Vec<_> = source.suites.iter().filter(own).cloned().collect();
            if !suites.is_empty() {
                text += &source.stanza(&suites);
                text.push('\n');
            }
        }
        text += &self.base()?.stanza(&[self.backports()]);
        Lists::create(dir, &text)
    }

    /// Name of the release's backports suite.
    pub(crate) fn backports(&self) -> String {
        format!("{}-backports", self.codename)
    }
}

impl Source {
    fn serves(&self, suite: &str) -> bool {
        self.suites.iter().any(|own| own == suite)
            && self.components.iter().any(|component| component == "main")
    }
}

/// The release by its own word when a source serves it, otherwise the first release served: on a
/// machine with packages of two releases, `os-release` may name one it has no source for.
fn codename(os_release: &str, sources: &[Source]) -> Result<String> {
    let own = os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned());
    if let Some(own) = own
        && sources.iter().any(|source| source.serves(&own))
    {
        return Ok(own);
    }
    sources
        .iter()
        .flat_map(|source| &source.suites)
        .find(|suite| ["bullseye", "bookworm", "trixie", "forky"].contains(&suite.as_str()))
        .cloned()
        .context("the machine's apt settings name no release of Debian that is known here")
}

/// Parses the stanzas of a `.sources` file.
fn parse_deb822(text: &str) -> Vec<Source> {
    text.split("\n\n").filter_map(stanza).collect()
}

fn stanza(text: &str) -> Option<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
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
        uri: words("uris").into_iter().next()?,
        suites: words("suites"),
        components: words("components"),
        signed_by: field("signed-by"),
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
    let mut words = rest.split_whitespace().map(ToOwned::to_owned);
    Some(Source {
        uri: words.next()?,
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(ToOwned::to_owned),
    })
}

/// Package lists of our own.
#[derive(Debug)]
pub(crate) struct Lists {
    dir: PathBuf,
}

impl Lists {
    fn create(dir: &Path, sources: &str) -> Result<Self> {
        for sub in ["lists/partial", "cache/archives/partial"] {
            let sub = dir.join(sub);
            std::fs::create_dir_all(&sub).with_context(|| format!("make {}", sub.display()))?;
        }
        let file = dir.join("own.sources");
        std::fs::write(&file, sources).with_context(|| format!("write {}", file.display()))?;
        let lists = Self { dir: dir.into() };
        sh::output(lists.apt("apt-get").args(["-q", "update"])).context("read package lists")?;
        Ok(lists)
    }

    fn apt(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        let set = |key: &str, path: &str| format!("{key}={}", self.dir.join(path).display());
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-o", &set("Dir::Etc::SourceList", "own.sources")])
            .args(["-o", "Dir::Etc::SourceParts=/dev/null"])
            .args(["-o", "Dir::Etc::Preferences=/dev/null"])
            .args(["-o", "Dir::Etc::PreferencesParts=/dev/null"])
            .args(["-o", &set("Dir::State::Lists", "lists")])
            .args(["-o", &set("Dir::Cache", "cache")])
            .args(["-o", "APT::Sandbox::User=root"])
            .args(["-o", "Acquire::Languages=none"])
            .args(["-o", "Acquire::Retries=3"]);
        command
    }

    /// Installs packages, taking those of `release` (a suite) where that is given.
    pub(crate) fn install(&self, packages: &[&str], release: Option<&str>) -> Result<()> {
        let mut command = self.apt("apt-get");
        command.args(["-q", "-y", "--no-install-recommends"]);
        if let Some(release) = release {
            command.args(["-t", release]);
        }
        let _still = NoServices::begin()?;
        sh::output(command.arg("install").args(packages))?;
        Ok(())
    }

    /// The first package that `package` depends on and whose name starts with `prefix`.
    pub(crate) fn dependency(&self, package: &str, prefix: &str) -> Result<String> {
        let mut command = self.apt("apt-cache");
        let shown = sh::output(command.args(["show", "--no-all-versions", package]))?;
        shown
            .lines()
            .find_map(|line| line.strip_prefix("Depends: "))
            .into_iter()
            .flat_map(|line| line.split(','))
            .filter_map(|entry| entry.split_whitespace().next())
            .find(|name| name.starts_with(prefix))
            .map(ToOwned::to_owned)
            .with_context(|| format!("{package} depends on no {prefix}…"))
    }

    /// Downloads a package into `dir`, checked by apt against the signed lists.
    pub(crate) fn download(&self, package: &str, dir: &Path) -> Result<PathBuf> {
        sh::output(
            self.apt("apt-get")
                // What is installed here, maybe of a newer release, is no candidate.
                .args(["-o", "Dir::State::status=/dev/null"])
                .args(["-q", "download", package])
                .current_dir(dir),
        )?;
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                return Ok(path);
            }
        }
        bail!("apt-get download left no package {package}")
    }
}

/// Packages ask this program whether they may start their services.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// While it lives, nothing that is installed starts its services: tests start what they need, on
/// ports and sockets of their own. A policy that the machine has already stays as it is.
struct NoServices {
    is_ours: bool,
}

impl NoServices {
    fn begin() -> Result<Self> {
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(POLICY);
        let mut file = match made {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Ok(Self { is_ours: false });
            }
            Err(error) => return Err(error).with_context(|| format!("write {POLICY}")),
        };
        let ours = Self { is_ours: true };
        // 101: it is forbidden (Debian's invoke-rc.d).
        file.write_all(b"#!/bin/sh\nexit 101\n")?;
        Ok(ours)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(error) = std::fs::remove_file(POLICY)
        {
            eprintln!("warning: cannot remove {POLICY}, which keeps services down: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "\
Types: deb
# a comment between fields
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://mirror.test/security
Suites: bookworm-security
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF

Types: deb
URIs: http://mirror.test/off
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://mirror.test/source
Suites: bookworm
Components: main
";

    const ONE_LINE: &str = "\
# deb http://mirror.test/old bullseye main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.test/debian trixie main contrib # ours
deb-src http://mirror.test/debian trixie main
deb http://mirror.test/debian trixie-updates main
";

    fn source(uri: &str, suites: &[&str], components: &[&str], key: Option<&str>) -> Source {
        let own = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        Source {
            uri: uri.into(),
            suites: own(suites),
            components: own(components),
            signed_by: key.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn deb822_sources_are_read() {
        assert_eq!(
            parse_deb822(DEB822),
            [
                source(
                    "http://mirror.test/debian",
                    &["bookworm", "bookworm-updates"],
                    &["main"],
                    Some("/usr/share/keyrings/debian-archive-keyring.gpg"),
                ),
                source(
                    "http://mirror.test/security",
                    &["bookworm-security"],
                    &["main", "contrib"],
                    Some("\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF"),
                ),
            ]
        );
    }

    #[test]
    fn one_line_sources_are_read() {
        assert_eq!(
            parse_one_line(ONE_LINE),
            [
                source(
                    "http://mirror.test/debian",
                    &["trixie"],
                    &["main", "contrib"],
                    Some("/k.gpg"),
                ),
                source(
                    "http://mirror.test/debian",
                    &["trixie-updates"],
                    &["main"],
                    None
                ),
            ]
        );
    }

    #[test]
    fn a_stanza_reads_back_as_it_was() {
        for source in parse_deb822(DEB822) {
            assert_eq!(parse_deb822(&source.stanza(&source.suites)), [source]);
        }
    }

    #[test]
    fn the_release_is_one_that_the_sources_serve() {
        let bookworm = parse_deb822(DEB822);
        let trixie = parse_one_line(ONE_LINE);
        let release = "ID=debian\nVERSION_CODENAME=trixie\n";
        assert_eq!(codename(release, &trixie).unwrap(), "trixie");
        // base-files of another release than the sources: the sources decide.
        assert_eq!(codename(release, &bookworm).unwrap(), "bookworm");
        assert!(codename(release, &[]).is_err());
    }
}
