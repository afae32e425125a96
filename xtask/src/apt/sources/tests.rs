use super::*;

const DEB822: &str = "\
Types: deb
# a comment between fields
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://mirror.test/security http://other.test/security/
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
deb [ trusted=yes ] http://mirror.test/debian trixie-updates main
";

fn source(uris: &[&str], suites: &[&str], components: &[&str], key: Option<&str>) -> Source {
    let own = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    Source {
        uris: own(uris),
        suites: own(suites),
        components: own(components),
        signed_by: key.map(ToOwned::to_owned),
        trusted: None,
    }
}

#[test]
fn deb822_sources_are_read() {
    assert_eq!(
        parse_deb822(DEB822),
        [
            source(
                &["http://mirror.test/debian"],
                &["bookworm", "bookworm-updates"],
                &["main"],
                Some("/usr/share/keyrings/debian-archive-keyring.gpg"),
            ),
            source(
                &["http://mirror.test/security", "http://other.test/security/"],
                &["bookworm-security"],
                &["main", "contrib"],
                Some("\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF"),
            ),
        ]
    );
}

#[test]
fn one_line_sources_are_read() {
    let uri = &["http://mirror.test/debian"];
    let updates = Source {
        trusted: Some("yes".into()),
        ..source(uri, &["trixie-updates"], &["main"], None)
    };
    assert_eq!(
        parse_one_line(ONE_LINE),
        [
            source(uri, &["trixie"], &["main", "contrib"], Some("/k.gpg")),
            updates,
        ]
    );
}

#[test]
fn a_stanza_reads_back_as_it_was() {
    for source in parse_deb822(DEB822)
        .into_iter()
        .chain(parse_one_line(ONE_LINE))
    {
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

/// A machine of Debian 13 with these files in `/etc/apt`.
fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Host>) {
    let etc = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(etc.path().join("apt/sources.list.d")).unwrap();
    let release = "ID=debian\nVERSION_CODENAME=trixie\n";
    std::fs::write(etc.path().join("os-release"), release).unwrap();
    for (name, text) in files {
        std::fs::write(etc.path().join("apt").join(name), text).unwrap();
    }
    let host = Host::read_from(etc.path());
    (etc, host)
}

/// What the installer of Debian 13 writes.
const TRIXIE: &str = "\
Types: deb
URIs: http://mirror.test/debian/
Suites: trixie trixie-updates
Components: main non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp

Types: deb
URIs: http://security.test/debian-security/
Suites: trixie-security
Components: main non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp
";

/// Others, whose suites have names of Debian's and whose files come first.
const OTHERS: &str = "\
deb [arch=amd64 signed-by=/o.gpg] https://others.test trixie main
deb [signed-by=/o.gpg] https://tools.test/packages stable main
";

#[test]
fn the_archive_is_debians_and_not_one_of_others() {
    let files = [
        (
            "sources.list",
            "deb cdrom:[Debian 13 _Trixie_ DVD-1]/ trixie main\n",
        ),
        ("sources.list.d/aaa.list", OTHERS),
        ("sources.list.d/debian.sources", TRIXIE),
    ];
    let host = host(&files).1.unwrap();
    assert_eq!(host.mirror().unwrap(), "http://mirror.test/debian/");
    let family = host.family(None).unwrap();
    assert!(!family.contains("others.test"), "{family}");
    assert!(!family.contains("tools.test"), "{family}");
    assert!(!family.contains("backports"), "{family}");
    assert!(family.contains("Suites: trixie-security\n"), "{family}");
    let old = host.suite("bullseye").unwrap();
    assert!(old.contains("URIs: http://mirror.test/debian/\n"), "{old}");
    assert!(
        old.contains("Suites: bullseye\nComponents: main\n"),
        "{old}"
    );
    assert!(old.contains("Signed-By: /usr/share"), "{old}");
}

#[test]
fn a_suite_comes_from_whoever_is_named_for_it() {
    let old = "deb http://old.test/debian bullseye main\n";
    let files = [
        ("sources.list.d/debian.sources", TRIXIE),
        ("sources.list.d/old.list", old),
    ];
    let host = host(&files).1.unwrap();
    let old = host.suite("bullseye").unwrap();
    assert!(old.contains("URIs: http://old.test/debian\n"), "{old}");
    assert!(!host.family(None).unwrap().contains("old.test"));
}

#[test]
fn backports_are_there_once() {
    let both = "deb http://mirror.test/debian trixie main\n\
                deb http://mirror.test/debian trixie-backports main\n";
    let with = host(&[("sources.list", both)]).1.unwrap();
    for more in [None, Some("trixie-backports")] {
        let family = with.family(more).unwrap();
        assert_eq!(family.matches("trixie-backports").count(), 1, "{family}");
    }
    let without = host(&[("sources.list.d/debian.sources", TRIXIE)])
        .1
        .unwrap();
    let family = without.family(Some("trixie-backports")).unwrap();
    assert_eq!(family.matches("trixie-backports").count(), 1, "{family}");
}

#[test]
fn stable_is_the_release_that_the_machine_is() {
    let stable = "deb http://mirror.test/debian stable main\n\
                  deb http://security.test/debian-security stable-security main\n";
    let host = host(&[("sources.list", stable)]).1.unwrap();
    assert_eq!(host.codename, "trixie");
    let family = host.family(None).unwrap();
    assert!(family.contains("Suites: trixie\n"), "{family}");
    assert!(family.contains("Suites: trixie-security\n"), "{family}");
}

#[test]
fn a_list_of_mirrors_is_looked_into() {
    let list = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        list.path(),
        "# ours\nhttps://first.test/debian\tpriority:1\n",
    )
    .unwrap();
    let uri = format!("mirror+file:{}", list.path().display());
    let host = host(&[("sources.list", &format!("deb {uri} trixie main\n"))])
        .1
        .unwrap();
    assert_eq!(host.mirror().unwrap(), "https://first.test/debian");
    assert!(host.suite("bullseye").unwrap().contains(&uri));
}

#[test]
fn a_machine_without_debians_archive_is_told_so() {
    let said = host(&[("sources.list", "# nothing\n")]).1.unwrap_err();
    assert!(said.to_string().contains("Debian 12 and 13"), "{said:#}");
}
