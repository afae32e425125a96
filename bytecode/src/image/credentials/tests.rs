use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// Longer than any helper here takes.
const PATIENCE: Duration = Duration::from_mins(1);

fn vars<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<PathBuf> + 'a {
    |name| {
        let pair = pairs.iter().find(|(key, _)| *key == name);
        pair.map(|(_, value)| PathBuf::from(value))
    }
}

fn paths(pairs: &[(&str, &str)], euid: u32) -> Vec<String> {
    let places = places(&vars(pairs), euid);
    let paths = places.iter().map(|place| place.path.display().to_string());
    paths.collect()
}

/// Looks into one file.
fn look(text: &str, registry: &str, repository: &str) -> Result<Option<Secret>, ImageError> {
    let dir = tempfile::tempdir().unwrap();
    let place = Place {
        path: dir.path().join("auth.json"),
        behind: None,
    };
    fs::write(&place.path, text).unwrap();
    match read(&place)? {
        Some(file) => search(&file, &place, registry, repository, PATIENCE),
        None => Ok(None),
    }
}

/// The user that is found.
fn user(text: &str, registry: &str, repository: &str) -> Option<String> {
    match look(text, registry, repository).unwrap()? {
        Secret::Password(auth) => Some(auth.user().to_owned()),
        Secret::Identity(token) => Some(format!("token {token}")),
    }
}

#[test]
fn files_are_asked_in_order() {
    let root = [("HOME", "/root"), ("XDG_RUNTIME_DIR", "/run/user/0")];
    assert_eq!(
        paths(&root, 0),
        [
            "/run/user/0/containers/auth.json",
            "/run/containers/0/auth.json",
            "/root/.config/containers/auth.json",
            "/root/.docker/config.json",
        ]
    );
    let moved = [
        ("HOME", "/root"),
        ("DOCKER_CONFIG", "/d"),
        ("XDG_CONFIG_HOME", "/c"),
    ];
    assert_eq!(
        paths(&moved, 0)[1..],
        ["/c/containers/auth.json", "/d/config.json"]
    );
    assert_eq!(
        paths(&[("REGISTRY_AUTH_FILE", "/x"), ("HOME", "/root")], 0),
        ["/x"]
    );
}

#[test]
fn the_one_behind_sudo_counts_for_root_only() {
    let sudo = [
        ("HOME", "/root"),
        ("DOCKER_CONFIG", "/d"),
        ("SUDO_UID", "1000"),
        ("SUDO_GID", "1000"),
        ("SUDO_HOME", "/home/me"),
    ];
    let found = places(&vars(&sudo), 0);
    let behind: Vec<_> = found
        .iter()
        .filter(|place| place.behind == Some((1000, 1000)))
        .map(|place| place.path.to_str().unwrap())
        .collect();
    assert_eq!(
        behind,
        [
            "/run/user/1000/containers/auth.json",
            "/home/me/.config/containers/auth.json",
            "/home/me/.docker/config.json",
        ]
    );
    assert!(
        places(&vars(&sudo), 1000)
            .iter()
            .all(|place| place.behind.is_none())
    );
    let passwd = "root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000:Me,,,:/home/me:/bin/sh\n";
    assert_eq!(home_of(1000, passwd), Some("/home/me".into()));
    assert_eq!(home_of(7, passwd), None);
}

#[test]
fn nobody_makes_root_read_what_is_not_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    fs::write(&real, r#"{"auths":{}}"#).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let me = rustix::process::geteuid().as_raw();
    let of = |path: &PathBuf, uid: u32| {
        let place = Place {
            path: path.clone(),
            behind: Some((uid, uid)),
        };
        read(&place).unwrap().is_some()
    };
    assert!(of(&real, me));
    assert!(!of(&real, me + 1));
    assert!(!of(&link, me));
    assert!(!of(&dir.path().to_owned(), me));
}

#[test]
fn the_longest_key_wins() {
    // dTpw is u:p, with u as the letter.
    let text = r#"{"auths": {
        "quay.io": {"auth": "YTpw"},
        "quay.io/org": {"auth": "Yjpw"},
        "quay.io/org/repo": {"auth": "Yzpw"},
        "https://index.docker.io/v1/": {"auth": "ZDpw"},
        "http://host:5000/v2/": {"username": "e", "password": "p"},
        "token.io": {"auth": "Zjpw", "identitytoken": "secret"},
        "empty.io": {}
    }}"#;
    for (registry, repository, wanted) in [
        ("quay.io", "other/repo", Some("a")),
        ("quay.io", "organic/repo", Some("a")),
        ("quay.io", "org/x", Some("b")),
        ("quay.io", "org/repo", Some("c")),
        ("quay.io", "org/repo2", Some("b")),
        ("docker.io", "library/x", Some("d")),
        ("host:5000", "x", Some("e")),
        ("host", "x", None),
        ("token.io", "x", Some("token secret")),
        ("empty.io", "x", None),
        ("evil-quay.io", "x", None),
    ] {
        let found = user(text, registry, repository);
        assert_eq!(found.as_deref(), wanted, "{registry}/{repository}");
    }
}

#[test]
fn damaged_files_say_where_and_nothing_more() {
    for text in [
        r#"{"auths": {"quay.io": {"auth": "s3cr3t"}}}"#,
        r#"{"auths": {"quay.io": {"auth": ["s3cr3t"]}}}"#,
        r#"{"auths": "s3cr3t"}"#,
        "s3cr3t",
    ] {
        let Err(error) = look(text, "quay.io", "x") else {
            panic!("{text} was taken")
        };
        assert!(matches!(error, ImageError::Credentials { .. }), "{error}");
        let said = format!("{error} {error:?}");
        assert!(!said.contains("s3cr3t"), "{said}");
    }
    assert!(look(" \n", "quay.io", "x").unwrap().is_none());
    assert!(look("{}", "quay.io", "x").unwrap().is_none());
}

/// Runs `test` with a helper of that name in PATH. Tests run as processes of their own or as threads,
/// and PATH is everybody's: so the helper is called by a path that only its name hides.
fn with_helper(script: &str, test: impl Fn(&str)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("docker-credential-test");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    test(path.to_str().unwrap());
}

fn run(path: &str) -> Result<Option<Secret>, ImageError> {
    let place = Place {
        path: "/nonexistent/config.json".into(),
        behind: None,
    };
    run_helper("test", Command::new(path), "quay.io", &place, PATIENCE)
}

#[test]
fn helpers_are_asked_by_their_protocol() {
    let script = r#"[ "$1" = get ] || exit 1; read server; echo "{\"ServerURL\":\"$server\",\"Username\":\"of $server\",\"Secret\":\"p\"}""#;
    with_helper(script, |path| {
        let Ok(Some(Secret::Password(auth))) = run(path) else {
            panic!("no password")
        };
        assert_eq!((auth.user(), auth.password()), ("of quay.io", "p"));
    });
    with_helper(r#"echo '{"Username":"<token>","Secret":"t"}'"#, |path| {
        assert!(matches!(run(path), Ok(Some(Secret::Identity(token))) if token == "t"));
    });
    let none = "echo 'credentials not found in native keychain'; exit 1";
    with_helper(none, |path| assert!(matches!(run(path), Ok(None))));
    with_helper("echo 'no key ring'; exit 1", |path| {
        let Err(ImageError::Helper { why, .. }) = run(path) else {
            panic!("it failed")
        };
        assert!(why.contains("no key ring"), "{why}");
    });
    with_helper("echo s3cr3t", |path| {
        let Err(error) = run(path) else {
            panic!("no answer")
        };
        assert!(!error.to_string().contains("s3cr3t"));
    });
}

#[test]
fn helpers_may_not_hang() {
    let place = Place {
        path: "/nonexistent/config.json".into(),
        behind: None,
    };
    // The second leaves a child behind that keeps the pipe open, the third closes the pipe.
    for script in ["exec sleep 20", "sleep 20 & exit 0", "exec sleep 20 >&-"] {
        with_helper(script, |path| {
            let command = Command::new(path);
            let asked = run_helper("test", command, "quay.io", &place, Duration::from_secs(1));
            let Err(ImageError::Helper { why, .. }) = asked else {
                panic!("{script}: it never answers")
            };
            assert!(why.contains("within 1 s"), "{script}: {why}");
        });
    }
}

#[test]
fn helpers_are_named_never_located() {
    for name in ["../../tmp/evil", "/tmp/evil", "a b", "..", ".x", "x/y"] {
        let text = format!(r#"{{"credHelpers": {{"quay.io": "{name}"}}}}"#);
        assert!(
            matches!(look(&text, "quay.io", "x"), Err(ImageError::Helper { .. })),
            "{name}"
        );
    }
    let absent = r#"{"credsStore": "surely-absent", "auths": {}}"#;
    assert!(matches!(
        look(absent, "quay.io", "x"),
        Err(ImageError::Helper { .. })
    ));
}
