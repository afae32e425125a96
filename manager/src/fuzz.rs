//! Files that others may have written to: the state document and the configuration.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise ends the run"
)]

use std::{path::Path, time::Duration};

use crate::{Error, config::Config, pending::Pending, state};

/// What is read is written the same, with all that it meant.
pub fn state(data: &[u8]) {
    let path = Path::new("/run/bpfman/state.json");
    match state::parse(data, path) {
        Ok(state) => {
            let written = serde_json::to_vec(&state).unwrap();
            let again = state::parse(&written, path).unwrap();
            assert_eq!(again, state);
            assert_eq!(serde_json::to_vec(&again).unwrap(), written);
            let users = |owner| state.users_of(owner).count();
            let used = state.programs.values().map(|record| record.maps);
            assert!(used.into_iter().all(|owner| users(owner) > 0));
        }
        Err(Error::StateVersion { version, .. }) => assert_ne!(version, state::VERSION),
        Err(Error::DamagedState { .. }) => {}
        Err(other) => panic!("{other}"),
    }
    if let Ok(pending) = serde_json::from_slice::<Pending>(data) {
        let written = serde_json::to_vec(&pending).unwrap();
        let again: Pending = serde_json::from_slice(&written).unwrap();
        assert_eq!(serde_json::to_vec(&again).unwrap(), written);
    }
}

/// What is wrong has a line of the file; what is right means something that works.
pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    match Config::parse(text, Path::new("/etc/bpfman/bpfman.toml")) {
        Ok(config) => {
            let (settings, limits) = (config.settings(), config.limits());
            assert!(settings.timeout >= Duration::from_secs(1) && settings.attempts > 0);
            assert!(limits.manifest > 0);
            let runtimes = config.runtimes();
            for socket in [
                runtimes.docker_socket,
                runtimes.podman_socket,
                runtimes.containerd_socket,
            ] {
                assert!(socket.is_none_or(|socket| socket.is_absolute()));
            }
            config.labels();
            config.xdp_mode("eth0");
        }
        Err(Error::Config { line, source, .. }) => {
            assert!((1..=text.split('\n').count()).contains(&line), "{line}");
            assert!(!source.to_string().is_empty());
        }
        Err(other) => panic!("{other}"),
    }
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    #[test]
    fn state() {
        super::replay::replay("state", super::state);
    }

    #[test]
    fn config() {
        super::replay::replay("config", super::config);
    }
}
