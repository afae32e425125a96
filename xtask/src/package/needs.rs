//! Which packages of [`SUITE`] the programs need, by what is written in them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::SUITE;
use super::sysroot::Sysroot;
use crate::sh;

/// Packages with the oldest version that will do, as in `Depends`. An error when a program needs
/// what [`SUITE`] does not have.
pub(super) fn of(programs: &[&Path], sysroot: &Sysroot) -> Result<String> {
    let known = Known::parse(&sysroot.symbols()?);
    let mut oldest: BTreeMap<String, String> = BTreeMap::new();
    for program in programs {
        let said = sh::output(Command::new("objdump").arg("-p").arg(program))?;
        for (library, version) in references(&said) {
            let (package, since) = known.find(library, version)?;
            let oldest = oldest
                .entry(package.to_owned())
                .or_insert_with(|| since.to_owned());
            if numbers(since) > numbers(oldest) {
                since.clone_into(oldest);
            }
        }
    }
    let each = oldest
        .iter()
        .map(|(package, since)| format!("{package} (>= {since})"));
    Ok(each.collect::<Vec<_>>().join(", "))
}

/// What the libraries of a Debian have, by library and version node: package and the version of it
/// that brought the node.
#[derive(Debug, Default)]
struct Known(BTreeMap<(String, String), (String, String)>);

impl Known {
    /// Reads `symbols` files: `LIBRARY PACKAGE …`, then ` SYMBOL@NODE VERSION`. Each node is a symbol
    /// of its own name as well.
    fn parse(files: &[String]) -> Self {
        let mut known = Self::default();
        let mut current: Option<(&str, &str)> = None;
        for line in files.iter().flat_map(|text| text.lines()) {
            if let Some(line) = line.strip_prefix(' ') {
                let mut words = line.split_whitespace();
                let symbol = words.next().and_then(|symbol| symbol.split_once('@'));
                let (Some((library, package)), Some((name, node)), Some(since)) =
                    (current, symbol, words.next())
                else {
                    continue;
                };
                if name == node {
                    known.0.insert(
                        (library.to_owned(), node.to_owned()),
                        (package.to_owned(), since.to_owned()),
                    );
                }
            } else if !line.starts_with(['|', '*']) {
                let mut words = line.split_whitespace();
                current = words.next().zip(words.next());
            }
        }
        known
    }

    fn find(&self, library: &str, node: &str) -> Result<(&str, &str)> {
        let found = self.0.get(&(library.to_owned(), node.to_owned()));
        let (package, since) =
            found.with_context(|| format!("Debian {SUITE} has no {node} in {library}"))?;
        Ok((package, since))
    }
}

/// Library and version node of each reference in what `objdump -p` prints:
///
/// ```text
/// Version References:
///   required from libc.so.6:
///     0x069691b4 0x00 02 GLIBC_2.34
/// ```
fn references(said: &str) -> Vec<(&str, &str)> {
    let lines = said
        .lines()
        .skip_while(|line| *line != "Version References:")
        .skip(1)
        .take_while(|line| line.starts_with(' '));
    let mut found = Vec::new();
    let mut library = "";
    for line in lines {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("required from ") {
            library = name.trim_end_matches(':');
        } else if let [_, flags, _, node] = line.split_whitespace().collect::<Vec<_>>()[..] {
            // VER_FLG_WEAK: it runs without.
            if flags != "0x02" {
                found.push((library, node));
            }
        }
    }
    found
}

/// Enough of an order for versions such as `2.36` and `1:1.2.2.3`.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
Dynamic Section:
  NEEDED               libc.so.6

Version References:
  required from libz.so.1:
    0x07e5ce33 0x00 15 ZLIB_1.2.3.3
  required from libc.so.6:
    0x09691a75 0x00 03 GLIBC_2.2.5
    0x069691b9 0x02 25 GLIBC_2.39
    0x069691b4 0x00 02 GLIBC_2.34
";

    #[test]
    fn the_references_of_a_program_are_read() {
        assert_eq!(
            references(SAID),
            [
                ("libz.so.1", "ZLIB_1.2.3.3"),
                ("libc.so.6", "GLIBC_2.2.5"),
                ("libc.so.6", "GLIBC_2.34")
            ]
        );
        assert!(references("no program").is_empty());
    }

    #[test]
    fn what_a_debian_lacks_is_no_dependency() {
        let symbols = "libc.so.6 libc6 #MINVER#\n| libc6 (>> 2.36), libc6 (<< 2.37)\n\
                       * Build-Depends-Package: libc6-dev\n GLIBC_2.34@GLIBC_2.34 2.34\n \
                       open@GLIBC_2.2.5 2.2.5\n";
        let known = Known::parse(&[symbols.to_owned()]);
        assert_eq!(
            known.find("libc.so.6", "GLIBC_2.34").unwrap(),
            ("libc6", "2.34")
        );
        let error = known
            .find("libc.so.6", "GLIBC_2.38")
            .unwrap_err()
            .to_string();
        assert_eq!(error, "Debian bookworm has no GLIBC_2.38 in libc.so.6");
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(numbers("2.34") > numbers("2.4"));
        assert!(numbers("1:1.2.3.3") > numbers("1:1.2.0.8"));
    }
}
