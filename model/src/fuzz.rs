//! Names of images, as anybody may type them or write them into a manifest.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise ends the run"
)]

use crate::{ImageReference, is_loopback};

/// What parses is shown as it was typed, and its full name means the same image.
pub fn reference(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let Ok(reference) = text.parse::<ImageReference>() else {
        return;
    };
    assert_eq!(reference.to_string(), text);
    assert_eq!(
        ImageReference::try_from(String::from(reference.clone())).unwrap(),
        reference
    );
    let canonical: ImageReference = reference.canonical().parse().unwrap();
    assert_eq!(canonical.canonical(), reference.canonical());
    for name in reference.local_names() {
        let local: ImageReference = name.parse().unwrap();
        assert_eq!(local.wanted(), reference.wanted());
        assert_eq!(local.canonical(), name);
    }
    for same in [&reference, &canonical] {
        assert_eq!(same.registry(), reference.registry());
        assert_eq!(same.repository(), reference.repository());
        assert_eq!(same.digest(), reference.digest());
        assert_eq!(same.wanted(), reference.wanted());
    }
    // They become parts of URLs and of requests to runtimes.
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let outside = |text: &str| text.contains(['?', '#', '%', '\\', '"', '@']);
    for part in [
        reference.registry(),
        reference.repository(),
        reference.tag().unwrap_or("latest"),
    ] {
        assert!(!part.is_empty() && plain(part) && !outside(part), "{part}");
    }
    assert!(!reference.registry().contains('/'));
    let mut parts = reference.repository().split('/');
    assert!(parts.all(|part| !part.is_empty() && part != "." && part != ".."));
    is_loopback(reference.registry());
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    #[test]
    fn reference() {
        super::replay::replay("reference", super::reference);
    }
}
