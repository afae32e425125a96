//! Credentials that strangers would like to have, and redirects that lead to them.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::json;
use testkit::{
    Output, oci,
    servers::{
        Hostile,
        hostile::{Reply, Seen, Step},
    },
    tool,
};

use super::{Parts, Trial};
use crate::support::{basic, stored};

const PASSWORD: &str = "correct-horse-battery-staple";
const TOKEN: &str = "eyJhbGciOiJub25lIn0.c2VjcmV0LXRva2Vu.QmFzZTY0U2lnbmF0dXJl";

/// `--registry-auth` and its value.
fn auth() -> [String; 2] {
    ["--registry-auth".to_owned(), basic("robin", PASSWORD)]
}

fn words(auth: &[String; 2]) -> [&str; 2] {
    [&auth[0], &auth[1]]
}

fn redirect(status: u16, to: &str) -> Reply {
    Reply::new(status, &format!("Location: {to}\r\n"), "")
}

fn given(seen: &[Seen]) -> Vec<&str> {
    seen.iter()
        .filter_map(|seen| seen.authorization.as_deref())
        .collect()
}

/// No part of a secret is in a text.
#[track_caller]
fn keeps(text: &str, secret: &str) {
    let leak = secret.as_bytes().windows(8).find(|part| {
        let part = str::from_utf8(part).unwrap();
        text.contains(part)
    });
    assert!(leak.is_none(), "{secret} shows in: {text}");
}

#[test]
fn credentials_that_do_not_help() {
    let trial = Trial::new();
    let good = Parts::good();
    let image = trial.image(&trial.offer(&good));
    let auth = auth();
    for challenge in [
        "Basic realm=\"r\"",
        "Negotiate",
        "Bearer",
        "Bearer service=x",
        "",
        "\"=,,\"",
    ] {
        trial.server.guard("nothing is enough", challenge);
        trial.server.forget();
        trial.refuses(
            &image,
            &[],
            &["asks for credentials", "none were found", "podman login"],
        );
        assert_eq!(given(&trial.server.seen()), [""; 0], "{challenge}");
        let said = trial.refuses(&image, &words(&auth), &["refuses those of --registry-auth"]);
        keeps(&said, PASSWORD);
        keeps(&said, &auth[1]);
        // Once for each of two commands: an endless 401 is not answered endlessly.
        let basic = usize::from(challenge.starts_with("Basic")) * 2;
        assert_eq!(given(&trial.server.seen()).len(), basic, "{challenge}");
    }
}

#[test]
fn token_services_that_do_not_help() {
    let trial = Trial::with("attempts = 2\ntimeout_seconds = 1");
    let image = trial.image(&trial.offer(&Parts::good()));
    let realm = format!("http://{}/token", trial.server.host());
    let guard = |realm: &str| {
        let challenge = format!(r#"Bearer realm="{realm}",service="s",scope="x:y:z""#);
        trial.server.guard(&format!("Bearer {TOKEN}"), &challenge);
    };
    guard(&realm);
    let auth = auth();
    for (reply, said) in [
        (Reply::new(401, "", ""), "refuses those of --registry-auth"),
        (Reply::new(403, "", ""), "refuses those of --registry-auth"),
        (Reply::new(404, "", ""), "has no 'a token'"),
        (
            Reply::new(503, "Retry-After: 0\r\n", ""),
            "gave up after 2 attempts",
        ),
        (Reply::new(200, "", "{}"), "sends no token"),
        (Reply::new(200, "", r#"{"token":""}"#), "sends no token"),
        (Reply::new(200, "", "<html>"), "sends something else"),
        (
            Reply::new(200, "", r#"{"token":"a\r\nX-Evil: 1"}"#),
            "registry '",
        ),
        (
            Reply::new(200, "", json!({"token": "x".repeat(2 << 20)}).to_string()),
            "token is larger",
        ),
        (
            Reply::new(200, "", r#"{"token":"another"}"#),
            "refuses those of --registry-auth",
        ),
        (
            Reply::raw([Step::Hang]),
            "took longer than 1 s to give a token",
        ),
        (redirect(302, &realm), "redirected more than 5 times"),
    ] {
        trial.server.on("/token", [reply]);
        let said = trial.refuses(&image, &words(&auth), &[said]);
        keeps(&said, PASSWORD);
    }
    for realm in [
        "http://10.1.2.3/token",
        "ftp://127.0.0.1/",
        "token",
        "",
        "http://a@127.0.0.1/",
    ] {
        guard(realm);
        trial.refuses(&image, &words(&auth), &["registry '"]);
    }
}

/// The whole way, and no secret in what `-vvv` says.
#[test]
fn secrets_stay_secret() {
    let trial = Trial::new();
    let good = Parts::good();
    let repository = trial.offer(&good);
    let image = trial.image(&repository);
    let blob = format!("/v2/{repository}/blobs/{}", oci::digest(&good.layer));
    let signature = "Signature=AKIAIOSFODNN7EXAMPLE";
    trial
        .server
        .on(&blob, [redirect(307, &format!("/storage?{signature}"))]);
    trial
        .server
        .on("/storage", [Reply::new(200, "", &good.layer)]);
    let realm = format!("http://{}/token?account=x", trial.server.host());
    let challenge = format!(r#"Bearer realm="{realm}",service="a b",scope="repository:x:pull""#);
    trial.server.guard(&format!("Bearer {TOKEN}"), &challenge);
    let auth = auth();
    for name in ["token", "access_token"] {
        let answer = json!({name: TOKEN, "expires_in": 60, "refresh_token": PASSWORD});
        trial
            .server
            .on("/token", [Reply::new(200, "", answer.to_string())]);
        trial.server.forget();
        let pull = ["-vvv", "image", "pull", "--image-url", &image];
        let output = trial.measured(&[&pull[..], &words(&auth)].concat());
        for secret in [PASSWORD, &auth[1], TOKEN, signature] {
            keeps(&output.to_string().replace(&output.command, ""), secret);
        }
        output.ok();
        assert!(!stored(&trial.sandbox).is_empty());
        trial.sandbox.bpfman(["image", "prune", "--all"]).ok();
        let seen = trial.server.seen();
        let asked: Vec<&Seen> = seen.iter().filter(|seen| seen.path == "/token").collect();
        assert_eq!(asked.len(), 1, "one token is enough");
        assert_eq!(
            asked[0].query,
            "account=x&scope=repository%3Ax%3Apull&service=a%20b"
        );
        assert_eq!(asked[0].authorization, Some(format!("Basic {}", auth[1])));
    }
    // A registry that says what it was told.
    trial.server.guard("nothing", "Basic");
    let image = trial.image("wrong");
    let said = trial.refuses(
        &image,
        &[&words(&auth)[..], &["-vvv"]].concat(),
        &["credentials"],
    );
    keeps(&said, &auth[1]);
}

/// A token that is good for one request only is fetched anew.
#[test]
fn tokens_that_expire_are_renewed() {
    let trial = Trial::new();
    let good = Parts::good();
    let repository = trial.offer(&good);
    let realm = format!("http://{}/token", trial.server.host());
    let challenge = format!("WWW-Authenticate: Bearer realm=\"{realm}\"\r\n");
    let expired = Reply::new(401, &challenge, "");
    trial.server.on(
        "/token",
        [Reply::new(200, "", json!({"token": TOKEN}).to_string())],
    );
    let digest = oci::digest(&good.layer);
    trial.blob(
        &repository,
        &digest,
        [expired, Reply::new(200, "", &good.layer)],
    );
    let image = trial.image(&repository);
    trial
        .sandbox
        .bpfman(["image", "pull", "--image-url", &image])
        .ok();
    assert_eq!(trial.server.count("/token"), 1);
    let seen = trial.server.seen();
    let token = seen.iter().find(|seen| seen.path == "/token").unwrap();
    let scope = format!("scope=repository%3A{repository}%3Apull");
    assert_eq!(
        (token.query.as_str(), &token.authorization),
        (scope.as_str(), &None)
    );
}

#[test]
fn redirects_that_lead_nowhere() {
    let trial = Trial::new();
    let repository = trial.repository();
    let path = Trial::manifest_path(&repository);
    let image = trial.image(&repository);
    let from = |reply: Reply, said: &[&str]| {
        trial.server.on(&path, [reply]);
        trial.refuses(&image, &[], said);
    };
    let endless = "redirected more than 5 times";
    from(redirect(302, &path), &[endless]);
    from(
        redirect(307, &format!("http://{}{path}", trial.server.host())),
        &[endless],
    );
    trial.server.on("/there", [redirect(301, &path)]);
    from(redirect(308, "/there"), &[endless]);
    trial.server.forget();
    from(redirect(303, &path), &[endless]);
    assert_eq!(
        trial.server.count(&path),
        12,
        "six times for each of two commands"
    );
    let body =
        redirect(302, &path).then(Step::Endless(vec![b' '; 9999], std::time::Duration::ZERO));
    from(body, &[endless]);
    from(Reply::new(302, "", ""), &["a redirect to nowhere"]);
    for to in [
        "http://10.1.2.3/x",
        "http://registry.example/x",
        "ftp://127.0.0.1/x",
        "http://user:password@127.0.0.1/x",
        "//10.1.2.3/x",
    ] {
        from(redirect(302, to), &["points to", "not allowed"]);
    }
    for to in ["http://", "file:///etc/shadow", "::::", "", "\u{e9}", "x"] {
        from(redirect(302, to), &["registry '"]);
    }
}

/// Blobs may be anywhere; credentials may not.
#[test]
fn credentials_stay_with_their_registry() {
    let trial = Trial::new();
    let other = Hostile::start();
    let good = Parts::good();
    let repository = trial.offer(&good);
    let image = trial.image(&repository);
    let auth = auth();
    trial.server.guard(&format!("Basic {}", auth[1]), "Basic");
    let to = format!("http://{}/elsewhere", other.host());
    trial.blob(&repository, &oci::digest(&good.layer), [redirect(307, &to)]);
    other.on("/elsewhere", [Reply::new(200, "", &good.layer)]);
    let pull = ["image", "pull", "--image-url", &image];
    trial
        .sandbox
        .bpfman([&pull[..], &words(&auth)].concat())
        .ok();
    assert_eq!(other.count("/elsewhere"), 1);
    assert_eq!(given(&other.seen()), [""; 0]);
    assert!(
        given(&trial.server.seen()).len() >= 3,
        "the registry itself gets them"
    );
    trial.sandbox.bpfman(["image", "prune", "--all"]).ok();
    // Whatever that host asks for, it gets nothing, nor does a token service of its choice.
    for challenge in [
        "Basic realm=\"r\"".to_owned(),
        format!("Bearer realm=\"http://{}/token\"", other.host()),
    ] {
        let headers = format!("WWW-Authenticate: {challenge}\r\n");
        other.on("/elsewhere", [Reply::new(401, &headers, "")]);
        trial.refuses(
            &image,
            &words(&auth),
            &["points to", "asks for credentials"],
        );
        assert_eq!(given(&other.seen()), [""; 0], "{challenge}");
        assert_eq!(other.count("/token"), 0);
    }
    // Back home they are not sent either: the redirect's target wrote that request.
    let home = format!("http://{}/v2/home", trial.server.host());
    other.on("/elsewhere", [redirect(302, &home)]);
    trial.server.forget();
    trial.refuses(&image, &words(&auth), &["registry '"]);
    let seen = trial.server.seen();
    let at_home = seen.iter().filter(|seen| seen.path == "/v2/home");
    assert!(
        at_home.clone().all(|seen| seen.authorization.is_none()),
        "{seen:?}"
    );
}

/// A registry of the network has no business with services of this machine.
#[test]
fn strangers_do_not_reach_this_machine() {
    let trial = Trial::with("plain_http = [\"10.7.7.7\"]");
    tool("ip", &["address", "add", "10.7.7.7/32", "dev", "lo"]).ok();
    let stranger = Hostile::start_at("10.7.7.7");
    trial.server.on("/shutdown", [Reply::new(200, "", "")]);
    let image = format!("{}/a:t", stranger.host());
    let inside = format!("http://{}/shutdown", trial.server.host());
    stranger.on("/v2/a/manifests/t", [redirect(302, &inside)]);
    trial.refuses(
        &image,
        &[],
        &["points to", &trial.server.host(), "not allowed"],
    );
    let challenge = format!("WWW-Authenticate: Bearer realm=\"{inside}\"\r\n");
    stranger.on("/v2/a/manifests/t", [Reply::new(401, &challenge, "")]);
    trial.refuses(
        &image,
        &[],
        &["points to", &trial.server.host(), "not allowed"],
    );
    assert_eq!(trial.server.count("/shutdown"), 0);
}

#[test]
fn a_credential_helper_that_hangs() {
    // Long enough for it to begin.
    let trial = Trial::with("timeout_seconds = 5");
    let image = trial.image(&trial.offer(&Parts::good()));
    trial.server.guard("nothing", "Basic");
    let bin = trial.sandbox.tmp().join("bin");
    fs::create_dir_all(&bin).unwrap();
    let helper = bin.join("docker-credential-slow");
    fs::write(
        &helper,
        "#!/bin/sh\necho \"$$\" >>/run/test/helpers\nexec sleep 600\n",
    )
    .unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let docker = trial.sandbox.home().join(".docker");
    fs::create_dir_all(&docker).unwrap();
    fs::write(docker.join("config.json"), r#"{"credsStore":"slow"}"#).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let pull = ["image", "pull", "--image-url", &image];
    let output = Output::of(trial.sandbox.command(pull).env("PATH", path));
    output.fails(
        1,
        &[
            &image,
            "credential helper 'slow'",
            "did not answer within 5 s",
        ],
    );
    let started = fs::read_to_string("/run/test/helpers").unwrap();
    let running = |pid: &str| fs::exists(format!("/proc/{pid}")).unwrap();
    assert_eq!(started.lines().count(), 1, "asked once");
    assert!(!started.lines().any(running), "it is ended");
    assert_eq!(stored(&trial.sandbox), [""; 0]);
}
