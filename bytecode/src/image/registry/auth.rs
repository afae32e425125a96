//! How a registry asks for credentials (RFC 9110, and the token protocol of Docker's registry), and
//! what to answer.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use ureq::{
    Body,
    http::{HeaderMap, Method, Response, header},
};

use super::{
    super::{ImageError, credentials::Secret},
    body::read_bounded,
    http::{Call, Http},
};

/// The largest answer of a token service, in bytes.
const MAX_TOKEN: u64 = 1 << 20;

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    /// The best of what the header fields offer.
    pub(super) fn find(headers: &HeaderMap) -> Option<Self> {
        let offers = headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| Self::parse(value.to_str().ok()?));
        offers.min_by_key(|challenge| matches!(challenge, Self::Basic))
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        for (name, value) in parameters(rest) {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
        }
        Some(Self::Bearer {
            realm: realm?,
            service,
            scope,
        })
    }
}

/// `name=value` or `name="value"`, with commas between them; a quoted value may hold commas.
fn parameters(mut text: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    while let Some((name, rest)) = text.split_once('=') {
        let name = name.trim_matches([' ', ',', '\t']);
        let (value, rest) = if let Some(quoted) = rest.strip_prefix('"') {
            unquote(quoted)
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            (rest[..end].trim().to_owned(), &rest[end..])
        };
        found.push((name, value));
        text = rest;
    }
    found
}

/// A quoted value and what comes after it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[derive(Deserialize)]
struct Token {
    #[serde(alias = "access_token")]
    token: Option<String>,
}

/// A value for `Authorization` with user and password.
pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Asks a token service for a token.
pub(super) fn ask(
    http: &Http,
    realm: &str,
    query: &[(&str, &str)],
    secret: Option<&Secret>,
) -> Result<Response<Body>, ImageError> {
    let realm = http.uri(realm)?;
    http.check(&realm)?;
    let pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{name}={}", escape(value)))
        .collect();
    match secret {
        Some(Secret::Identity(identity)) => {
            let refresh = format!(
                "grant_type=refresh_token&client_id=bpfman&refresh_token={}&{}",
                escape(identity),
                pairs.join("&")
            );
            http.send(
                Call {
                    method: Method::POST,
                    content_type: Some("application/x-www-form-urlencoded"),
                    body: Some(refresh.as_bytes()),
                    limit: MAX_TOKEN,
                    ..Call::get(realm)
                },
                "give a token",
            )
        }
        other => {
            let mark = if realm.query().is_some() { '&' } else { '?' };
            let uri = http.uri(&format!("{realm}{mark}{}", pairs.join("&")))?;
            let authorization = match other {
                Some(Secret::Password(auth)) => Some(basic(auth.user(), auth.password())),
                _ => None,
            };
            let call = Call {
                authorization: authorization.as_deref(),
                limit: MAX_TOKEN,
                ..Call::get(uri)
            };
            http.send(call, "give a token")
        }
    }
}

/// The token that a service gives, as a value for `Authorization`.
pub(super) fn token(http: &Http, answer: Response<Body>) -> Result<String, ImageError> {
    let bytes = read_bounded(http, answer, MAX_TOKEN, "token")?;
    let token: Token = serde_json::from_slice(&bytes)
        .map_err(|_| http.protocol("its token service sends something else"))?;
    let token = token.token.filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| http.protocol("its token service sends no token"))?;
    Ok(format!("Bearer {token}"))
}

/// Percent-encodes a value of a query or a form.
pub(super) fn escape(value: &str) -> String {
    value.bytes().fold(String::new(), |text, byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            text + &char::from(byte).to_string()
        }
        byte => text + &format!("%{byte:02X}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.into(),
                service: service.map(Into::into),
                scope: scope.map(Into::into),
            })
        };
        for (text, wanted) in [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                r#"Bearer realm="https://auth.io/token",service="reg",scope="repository:a/b:pull,push""#,
                bearer(
                    "https://auth.io/token",
                    Some("reg"),
                    Some("repository:a/b:pull,push"),
                ),
            ),
            (
                "bearer scope=x , realm=https://a",
                bearer("https://a", None, Some("x")),
            ),
            (r#"Bearer realm="a\"b"#, bearer("a\"b", None, None)),
            ("Bearer service=\"x\"", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(Challenge::parse(text), wanted, "{text}");
        }
    }

    #[test]
    fn tokens_are_better_than_passwords() {
        let mut headers = HeaderMap::new();
        for value in ["Basic realm=x", "Negotiate", "Bearer realm=y"] {
            headers.append(header::WWW_AUTHENTICATE, value.parse().unwrap());
        }
        assert!(matches!(
            Challenge::find(&headers),
            Some(Challenge::Bearer { .. })
        ));
    }

    #[test]
    fn values_are_escaped() {
        assert_eq!(escape("a/b:c d&é~"), "a%2Fb%3Ac%20d%26%C3%A9~");
    }
}
