//! Requests as anybody who may talk to the daemon sends them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise ends the run"
)]

use model::Attach;
use prost::Message as _;

use crate::{answer, proto, request};

/// What a request asks to attach can be checked, kept, and asked for again by what is answered.
pub fn attach(data: &[u8]) {
    let Ok(message) = proto::LoadRequest::decode(data) else {
        return;
    };
    let request = match request::load(message) {
        Ok(request) => request,
        Err(wrong) => {
            assert!(!wrong.to_string().is_empty());
            return;
        }
    };
    assert!(!request.to_string().is_empty());
    assert!(!request.metadata.contains_key(""));
    let attach = request.attach;
    attach.validate().unwrap();
    let written = serde_json::to_vec(&attach).unwrap();
    assert_eq!(serde_json::from_slice::<Attach>(&written).unwrap(), attach);
    // What an answer says can be asked for again. A set without an action stands for the default.
    if attach.proceed_on().is_none_or(|set| set.0 != 0) {
        let answered = answer::attach(attach.clone(), Some(0));
        assert_eq!(request::attach(answered).unwrap(), attach);
    }
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    #[test]
    fn attach() {
        super::replay::replay("attach", super::attach);
    }
}
