//! The tools of others that look at what we make, or share an interface with us.

use std::process::Command;

use serde_json::Value;

use crate::Output;

/// Runs a tool that must be there: `ip`, `tc`, `ping` and so on.
pub fn tool(name: &str, args: &[&str]) -> Output {
    Output::of(Command::new(name).args(args))
}

/// What a tool answers in JSON, not shown; it must succeed. No output counts as an empty list, as `tc` means
/// it.
#[track_caller]
pub fn json(name: &str, args: &[&str]) -> Value {
    let text = Output::quietly(Command::new(name).args(args)).ok();
    if text.trim().is_empty() {
        return Value::Array(Vec::new());
    }
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name} {args:?}: {error}: {text}"))
}

/// `bpftool -j`; it must succeed.
#[track_caller]
pub fn bpftool(args: &[&str]) -> Value {
    let args: Vec<&str> = std::iter::once("-j").chain(args.iter().copied()).collect();
    json("bpftool", &args)
}

/// `xdp-loader`, libxdp's own command.
pub fn xdp_loader(args: &[&str]) -> Output {
    tool("xdp-loader", args)
}
