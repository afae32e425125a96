//! The package on a whole machine with systemd, which is started twice. `cargo xtask test --lane
//! reboot` starts it; here is what is done and seen inside, in any order within one start.
#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

#[expect(
    dead_code,
    reason = "words of the binary `rpc`, not all of them are needed here"
)]
#[path = "../rpc/client.rs"]
mod client;
mod first;
mod machine;
mod second;
