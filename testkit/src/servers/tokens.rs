//! A token service as registries have them beside them: it takes a password and gives a signed
//! token that opens one repository for a while.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use crate::tool;

/// What registry and token service call themselves.
pub(super) const SERVICE: &str = "testkit registry";
pub(super) const ISSUER: &str = "testkit tokens";

/// The service, on a port of its own. It ends with the test.
#[derive(Debug)]
pub struct Tokens {
    port: u16,
    certificate: PathBuf,
}

impl Tokens {
    /// Starts it. Gives tokens to this user only.
    pub fn start(dir: &Path, user: &str, password: &str) -> Self {
        fs::create_dir_all(dir).unwrap();
        let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let (key, certificate) = (path("token.key"), path("token.crt"));
        let make = "req -x509 -days 2 -nodes -newkey rsa:2048 -subj /CN=tokens";
        let words: Vec<&str> = make.split(' ').collect();
        tool(
            "openssl",
            &[&words[..], &["-keyout", &key, "-out", &certificate]].concat(),
        )
        .ok();
        let signer = Signer {
            dir: dir.to_owned(),
            key,
            certificate: pem_body(&fs::read_to_string(&certificate).unwrap()),
        };
        let wanted = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                answer(&client, &wanted, &signer);
            }
        });
        Self {
            port,
            certificate: certificate.into(),
        }
    }

    /// The part of the registry's configuration that names it.
    pub(super) fn configuration(&self) -> String {
        format!(
            "auth:\n  token: {{realm: \"http://127.0.0.1:{}/token\", service: \"{SERVICE}\", \
             issuer: \"{ISSUER}\", rootcertbundle: {}}}\n",
            self.port,
            self.certificate.display()
        )
    }
}

/// Reads a request and answers it.
fn answer(mut client: &TcpStream, wanted: &str, signer: &Signer) {
    let mut lines = BufReader::new(client).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let given = lines.take_while(|line| !line.is_empty()).find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization")
            .then(|| value.to_owned())
    });
    let (status, body) = if given.as_deref() == Some(wanted) {
        let token = signer.token(&access(&request));
        ("200 OK", json!({"token": token}))
    } else {
        ("401 Unauthorized", json!({"details": "who are you?"}))
    };
    let body = body.to_string();
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    // A client that is gone wants no answer.
    let _ = client.write_all(text.as_bytes());
}

/// What a request asks for: `scope=repository%3Aa%2Fb%3Apull%2Cpush`.
fn access(request: &str) -> Value {
    let query = request
        .split([' ', '?', '&'])
        .filter_map(|part| part.strip_prefix("scope="));
    let scopes = query.map(|scope| {
        let scope = scope
            .replace("%3A", ":")
            .replace("%2F", "/")
            .replace("%2C", ",");
        let mut parts = scope.splitn(3, ':');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let (kind, name, actions) = (part(), part(), part());
        json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()})
    });
    scopes.collect()
}

/// Signs with openssl, as RS256 wants it.
#[derive(Debug)]
struct Signer {
    dir: PathBuf,
    key: String,
    certificate: String,
}

impl Signer {
    fn token(&self, access: &Value) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let head = json!({"typ": "JWT", "alg": "RS256", "x5c": [self.certificate]});
        let claims = json!({
            "iss": ISSUER, "sub": "testkit", "aud": SERVICE, "jti": now.to_string(),
            "iat": now - 60, "nbf": now - 60, "exp": now + 600, "access": access,
        });
        let [head, claims] = [head, claims].map(|v| URL_SAFE_NO_PAD.encode(v.to_string()));
        let mut token = format!("{head}.{claims}");
        let [text, signature] = ["token.txt", "token.sig"].map(|name| self.dir.join(name));
        fs::write(&text, &token).unwrap();
        let signed = Command::new("openssl")
            .args(["dgst", "-sha256", "-sign", &self.key, "-out"])
            .args([&signature, &text])
            .status();
        assert!(signed.unwrap().success(), "openssl dgst");
        let _ = write!(
            token,
            ".{}",
            URL_SAFE_NO_PAD.encode(fs::read(signature).unwrap())
        );
        token
    }
}

fn pem_body(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with('-')).collect()
}
