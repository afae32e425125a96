//! Servers that are slow, silent, broken or busy.

use std::{net::TcpListener, time::Duration};

use testkit::{
    oci,
    servers::{
        Hostile,
        hostile::{NO_HTTP, Reply, Step, chunk},
    },
    tool,
};

use super::{MANIFEST, Parts, Trial};
use crate::support::{pull, stored};

const TICK: Duration = Duration::from_millis(100);

/// Offers one answer in the place of a manifest, which must be refused.
#[track_caller]
fn refused(trial: &Trial, reply: Reply, fragments: &[&str]) -> String {
    let repository = trial.repository();
    trial.server.on(&Trial::manifest_path(&repository), [reply]);
    trial.refuses(&trial.image(&repository), &[], fragments)
}

fn raw(text: &str) -> Reply {
    Reply::raw([Step::Send(text.as_bytes().to_vec())])
}

/// One byte after the other.
fn trickle(byte: &[u8]) -> Step {
    Step::Endless(byte.to_vec(), TICK)
}

#[test]
fn silence_ends() {
    let trial = Trial::with("timeout_seconds = 1\nattempts = 3");
    let said = ["took longer than 1 s to", "timeout_seconds"];
    refused(&trial, Reply::raw([Step::Hang]), &said);
    let status = Step::Send(b"HTTP/1.1 200".to_vec());
    refused(&trial, Reply::raw([status, Step::Hang]), &said);
    refused(&trial, Reply::start(200, "").then(Step::Hang), &said);
    let length = "Content-Length: 100\r\n";
    refused(&trial, Reply::start(200, length).then(Step::Hang), &said);
    let good = Parts::good();
    for bytes in [&good.config, &good.layer] {
        let repository = trial.offer(&good);
        let length = format!("Content-Length: {}\r\n", bytes.len());
        let first = Step::Send(bytes[..1].to_vec());
        let reply = Reply::start(200, &length).then(first).then(Step::Hang);
        trial.blob(&repository, &oci::digest(bytes), [reply]);
        trial.refuses(&trial.image(&repository), &[], &said);
    }
    // From the first byte on, whatever is asked.
    trial.server.on("/v2/", [Reply::raw([Step::Hang])]);
    trial.refuses(&trial.image("silent"), &[], &said);
}

/// Each byte comes in time, and all of them would take for ever.
#[test]
fn trickles_end() {
    let trial = Trial::with("timeout_seconds = 1\nmax_manifest_size = 4096\nattempts = 3");
    let slow = "sends too slowly";
    let late = "took longer than 1 s to";
    let head = Step::Send(b"HTTP/1.1 200 OK\r\nX: ".to_vec());
    refused(&trial, Reply::raw([head, trickle(b"x")]), &[late]);
    refused(
        &trial,
        Reply::raw([trickle(b"HTTP/1.1 100 Continue\r\n\r\n")]),
        &[late],
    );
    refused(
        &trial,
        Reply::raw([trickle(b"HTTP/1.1 103 Hints\r\n\r\n")]),
        &[late],
    );
    refused(&trial, Reply::start(200, "").then(trickle(b" ")), &[slow]);
    let chunked = "Transfer-Encoding: chunked\r\n";
    let chunks = Reply::start(200, chunked).then(trickle(&chunk(b" ")));
    refused(&trial, chunks, &[slow]);
    // What is no content does not even show up as read.
    let size = Reply::start(200, chunked).then(trickle(b"0"));
    refused(&trial, size, &[late]);
    let end = Step::Send(b"0\r\n".to_vec());
    let trailer = Reply::start(200, chunked)
        .then(end)
        .then(trickle(b"X: y\r\n"));
    refused(&trial, trailer, &[late]);
    // The words that come with a status.
    for (status, step) in [(404, trickle(b" ")), (403, Step::Hang)] {
        let reply = Reply::start(status, "Content-Length: 16000\r\n").then(step);
        refused(&trial, reply, &["registry '", "'r"]);
    }
    let good = Parts::good();
    let repository = trial.offer(&good);
    let length = format!("Content-Length: {}\r\n", good.layer.len());
    let layer = Reply::start(200, &length).then(trickle(b"x"));
    trial.blob(&repository, &oci::digest(&good.layer), [layer]);
    trial.refuses(&trial.image(&repository), &[], &[slow]);
}

#[test]
fn answers_that_are_no_http() {
    let trial = Trial::with("attempts = 1");
    let said = ["does not follow the protocol"];
    for text in [
        "hello\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 9 x\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdefg\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    ] {
        refused(&trial, raw(text), &said);
    }
    for text in [
        "",
        "HTTP/1.1 200 OK",
        "\0\0\0\0",
        "HTTP/1.1 200 OK\r\nContent-Len",
    ] {
        refused(&trial, raw(text), &["registry '"]);
        refused(
            &trial,
            Reply::raw([Step::Send(text.into()), Step::Reset]),
            &["registry '"],
        );
    }
    let flood = Step::Endless(b"X-Header: 0123456789\r\n".repeat(100), Duration::ZERO);
    let head = Step::Send(b"HTTP/1.1 200 OK\r\n".to_vec());
    refused(&trial, Reply::raw([head.clone(), flood]), &said);
    let field = Step::Endless(vec![b'x'; 10_000], Duration::ZERO);
    refused(&trial, Reply::raw([head, field.clone()]), &said);
    refused(&trial, Reply::raw([field]), &["registry '"]);
    let chunked = Reply::start(200, "Transfer-Encoding: chunked\r\n");
    let digits = Step::Endless(vec![b'0'; 10_000], Duration::ZERO);
    refused(&trial, chunked.then(digits), &["registry '"]);
}

#[test]
fn statuses_are_explained() {
    let trial = Trial::with("attempts = 1");
    let words = |text: &str| format!(r#"{{"errors":[{{"code":"X","message":"{text}"}}]}}"#);
    for (status, fragment) in [
        (400, "status 400"),
        (403, "denies access to"),
        (404, "has no 't' in"),
        (405, "status 405"),
        (429, "takes no more requests"),
        (500, "status 500"),
        (504, "status 504"),
        (206, "status 206"),
        (304, "status 304"),
        (204, "status 204"),
    ] {
        refused(&trial, Reply::new(status, "", ""), &[fragment]);
        if status >= 400 && status != 429 {
            refused(
                &trial,
                Reply::new(status, "", words("seven")),
                &[fragment, "seven"],
            );
        }
        let evil = words(r"\u001b[31mred\r\n\u0007");
        refused(&trial, Reply::new(status, "", evil), &[fragment]);
        let long = words(&"long".repeat(9999));
        assert!(refused(&trial, Reply::new(status, "", long), &[fragment]).len() < 2000);
    }
    trial.refuses(
        &trial.image("nowhere"),
        &[],
        &["has no 't' in 'nowhere'", "NAME_UNKNOWN"],
    );
}

/// The image must be taken after some failures, with so many requests for the spoilt path.
#[track_caller]
fn taken_at_last(trial: &Trial, path: &str, replies: &[Reply], parts: &Parts) -> String {
    let repository = trial.offer(parts);
    let path = path.replace("REPO", &repository);
    trial.server.on(&path, replies);
    let output = pull(&trial.sandbox, &trial.image(&repository), &["-v"]);
    let said = output.stderr.clone();
    output.ok();
    assert_eq!(trial.server.count(&path), replies.len(), "{path}");
    assert!(stored(&trial.sandbox).len() >= 5);
    trial.sandbox.bpfman(["image", "prune", "--all"]).ok();
    said
}

#[test]
fn what_may_succeed_another_time_is_tried_again() {
    let trial = Trial::with("attempts = 3");
    let good = Parts::good();
    let manifest = good.manifest.to_string();
    let headers = format!("Content-Type: {MANIFEST}\r\n");
    let fine = Reply::new(200, &headers, &manifest);
    let length = format!("{headers}Content-Length: {}\r\n", manifest.len());
    let half = Step::Send(manifest.as_bytes()[..99].to_vec());
    let cut = Reply::start(200, &length).then(half);
    let at_once = "Retry-After: 0\r\n";
    let past = "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n";
    for failure in [
        Reply::new(429, at_once, ""),
        Reply::new(429, past, ""),
        Reply::new(429, "Retry-After: soon\r\n", ""),
        Reply::new(500, at_once, ""),
        Reply::new(502, "", ""),
        Reply::new(503, past, ""),
        Reply::new(504, at_once, ""),
        cut.clone(),
        cut.then(Step::Reset),
        Reply::raw([Step::Reset]),
    ] {
        let replies = [failure, fine.clone()];
        let said = taken_at_last(&trial, "/v2/REPO/manifests/t", &replies, &good);
        assert!(said.contains("trying again"), "{said}");
    }
    // A layer that is cut twice at different places begins anew each time.
    let size = good.layer.len();
    let length = format!("Content-Length: {size}\r\n");
    let upto = |end: usize| Reply::start(200, &length).then(Step::Send(good.layer[..end].to_vec()));
    let whole = Reply::new(200, "", &good.layer);
    let replies = [upto(size / 2), upto(size - 1).then(Step::Reset), whole];
    let path = format!("/v2/REPO/blobs/{}", oci::digest(&good.layer));
    taken_at_last(&trial, &path, &replies, &good);
}

#[test]
fn attempts_end_and_are_counted() {
    let trial = Trial::with("attempts = 2");
    for (reply, said) in [
        (Reply::new(503, "Retry-After: 0\r\n", ""), "status 503"),
        (
            Reply::new(429, "Retry-After: 0\r\n", ""),
            "takes no more requests",
        ),
        (Reply::raw([Step::Reset]), "cannot be reached"),
        (
            Reply::start(200, "Content-Length: 9\r\n"),
            "cut short: 0 of 9 bytes",
        ),
        (
            Reply::start(200, "Transfer-Encoding: chunked\r\n"),
            "cut short: 0 bytes",
        ),
    ] {
        trial.server.forget();
        let repository = trial.repository();
        let path = Trial::manifest_path(&repository);
        trial.server.on(&path, [reply]);
        let image = trial.image(&repository);
        trial.refuses(&image, &[], &["gave up after 2 attempts", said]);
        assert_eq!(
            trial.server.count(&path),
            4,
            "twice for each of two commands"
        );
    }
    // What would be the same the next time is asked for once.
    for status in [400, 403, 404, 418, 501] {
        trial.server.forget();
        let repository = trial.repository();
        let path = Trial::manifest_path(&repository);
        trial.server.on(&path, [Reply::new(status, "", "")]);
        trial.refuses(&trial.image(&repository), &[], &["registry '"]);
        assert_eq!(trial.server.count(&path), 2, "{status}");
    }
}

#[test]
fn long_waits_are_the_users_decision() {
    let trial = Trial::new();
    for (wait, said) in [
        ("3600", "before 3600 s have passed"),
        ("18446744073709551615", "takes no more requests before"),
        (
            "Wed, 21 Oct 2099 07:28:00 GMT",
            "takes no more requests before",
        ),
    ] {
        trial.server.forget();
        let repository = trial.repository();
        let path = Trial::manifest_path(&repository);
        let headers = format!("Retry-After: {wait}\r\n");
        trial.server.on(&path, [Reply::new(429, &headers, "")]);
        trial.refuses(&trial.image(&repository), &[], &[said]);
        assert_eq!(trial.server.count(&path), 2, "asked once by each command");
    }
}

#[test]
fn nobody_there() {
    let trial = Trial::with("timeout_seconds = 1");
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let image = format!("127.0.0.1:{port}/a:t");
    trial.refuses(&image, &[], &["cannot be reached", "refused"]);
    trial.refuses("registry.invalid/a:t", &[], &["registry.invalid"]);
    // A connection that is taken and not answered.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("127.0.0.1:{}/a:t", listener.local_addr().unwrap().port());
    trial.refuses(&image, &[], &["took longer than 1 s to"]);
}

#[test]
fn tls_is_not_spoken() {
    let trial = Trial::with("timeout_seconds = 1\nattempts = 1");
    tool("ip", &["address", "add", "10.7.7.7/32", "dev", "lo"]).ok();
    let plain = Hostile::start_at("10.7.7.7");
    let image = format!("{}/a:t", plain.host());
    let hint = format!("plain_http = [\"{}\"]", plain.host());
    trial.refuses(&image, &[], &["does not speak TLS", &hint]);
    plain.on(NO_HTTP, [Reply::raw([Step::Hang])]);
    trial.refuses(&image, &[], &["took longer than 1 s to"]);
    plain.on(NO_HTTP, [Reply::raw([Step::Reset])]);
    trial.refuses(&image, &[], &["cannot be reached"]);
    plain.on(NO_HTTP, [Reply::raw([trickle(b"\x16")])]);
    trial.refuses(&image, &[], &["registry '"]);
    assert!(plain.seen().is_empty(), "nothing is sent in the clear");
}
