//! Header fields with which registries answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise ends the run"
)]

use ureq::http::{HeaderMap, HeaderValue, header};

use super::{
    auth::{Challenge, escape},
    retry::retry_after,
};

/// A line for each field.
pub fn registry_headers(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(16) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(header::WWW_AUTHENTICATE, value.clone());
            let mut wait = HeaderMap::new();
            wait.insert(header::RETRY_AFTER, value);
            retry_after(&wait);
        }
    }
    if let Some(Challenge::Bearer {
        realm,
        service,
        scope,
    }) = Challenge::find(&headers)
    {
        for value in [Some(realm), service, scope].into_iter().flatten() {
            assert!(value.len() <= data.len());
            let escaped = escape(&value);
            assert!(escaped.len() <= 3 * value.len());
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
            assert!(escaped.bytes().all(plain), "{escaped}");
        }
    }
}
