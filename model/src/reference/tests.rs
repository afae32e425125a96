use super::*;

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn parse(text: &str) -> ImageReference {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn names_are_taken_apart() {
    for (typed, registry, repository, wanted) in [
        ("busybox", "docker.io", "library/busybox", "latest"),
        ("xdp_pass:v1", "docker.io", "library/xdp_pass", "v1"),
        ("me/prog", "docker.io", "me/prog", "latest"),
        ("index.docker.io/me/prog", "docker.io", "me/prog", "latest"),
        ("docker.io/prog", "docker.io", "library/prog", "latest"),
        ("quay.io/a/b/c:T-1.0_x", "quay.io", "a/b/c", "T-1.0_x"),
        ("localhost/x", "localhost", "x", "latest"),
        ("localhost:5000/x", "localhost:5000", "x", "latest"),
        ("host:5000/x:5000", "host:5000", "x", "5000"),
        ("test.com:5000", "docker.io", "library/test.com", "5000"),
        (
            "127.0.0.1:1/a__b/c--d.e",
            "127.0.0.1:1",
            "a__b/c--d.e",
            "latest",
        ),
        ("[::1]:5000/x:y", "[::1]:5000", "x", "y"),
        ("[2001:db8::1]/x", "[2001:db8::1]", "x", "latest"),
    ] {
        let reference = parse(typed);
        assert_eq!(reference.registry(), registry, "{typed}");
        assert_eq!(reference.repository(), repository, "{typed}");
        assert_eq!(reference.wanted(), wanted, "{typed}");
        assert_eq!(reference.to_string(), typed);
        assert_eq!(
            reference.canonical(),
            format!("{registry}/{repository}:{wanted}")
        );
        assert_eq!(
            parse(&reference.canonical()).canonical(),
            reference.canonical()
        );
    }
}

#[test]
fn a_digest_wins_over_a_tag() {
    let digest = format!("sha256:{HEX}");
    let plain = parse(&format!("quay.io/a/b@{digest}"));
    let both = parse(&format!("quay.io/a/b:v1@{digest}"));
    assert_eq!((plain.tag(), both.tag()), (None, Some("v1")));
    assert_eq!(both.wanted(), digest);
    assert_eq!(both.canonical(), plain.canonical());
    assert_eq!(both.digest().map(|digest| digest.hex()), Some(HEX.into()));
}

#[test]
fn what_is_no_name_is_refused() {
    use ReferenceError as E;
    let wrong = |text: &str| text.parse::<ImageReference>().unwrap_err();
    assert_eq!(wrong(""), E::Empty);
    assert_eq!(wrong("https://quay.io/a"), E::Scheme("https".into()));
    assert_eq!(wrong("quay.io/A/b"), E::Uppercase("A/b".into()));
    assert_eq!(wrong("a b"), E::Component("a b".into()));
    for part in [
        "", "..", ".", "-a", "a-", "a..b", "a___b", "a._b", "a\n", "é",
    ] {
        assert_eq!(wrong(&format!("quay.io/{part}")), E::Component(part.into()));
        assert_eq!(
            wrong(&format!("quay.io/x/{part}/y")),
            E::Component(part.into())
        );
    }
    for host in [
        "q:0", "q:70000", "q:", "q:+1", "-q.io", "q_.io", "q..io", "[::1", "[x]:1", "[::1]5",
    ] {
        let text = format!("{host}/x");
        assert_eq!(wrong(&text), E::Host(host.into()), "{text}");
    }
    for tag in ["", ".a", "-a", "a/b:c d", &"x".repeat(129)] {
        let text = format!("quay.io/a:{tag}");
        assert!(text.parse::<ImageReference>().is_err(), "{text}");
    }
    assert_eq!(wrong(&format!("quay.io/{}", "a".repeat(256))), E::TooLong);
    assert_eq!(wrong("a@sha256:12"), E::Digest("sha256:12".into()));
    assert!(matches!(
        wrong(&format!("a@sha256:{}", HEX.to_uppercase())),
        E::Digest(_)
    ));
    assert_eq!(wrong(&format!("a@md5:{HEX}")), E::Algorithm("md5".into()));
    assert_eq!(
        wrong(&format!("a@x@sha256:{HEX}")),
        E::Algorithm("x@sha256".into())
    );
}

#[test]
fn loopback_never_leaves_the_machine() {
    for host in [
        "localhost",
        "localhost:5000",
        "127.0.0.1",
        "127.8.9.1:80",
        "[::1]:5000",
        "[::1]",
    ] {
        assert!(is_loopback(host), "{host}");
    }
    for host in [
        "quay.io",
        "127.0.0.1.nip.io",
        "localhost.evil.com:1",
        "10.0.0.1",
        "[::2]",
    ] {
        assert!(!is_loopback(host), "{host}");
    }
}
