//! Exit status and streams of the real binary, without privilege.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests as well")]

use std::process::{Command, Output};

fn bpfman(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bpfman"));
    command
        .env_remove("BPFMAN_RUNTIME_DIR")
        .env_remove("BPFMAN_CONFIG");
    command.args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn help_goes_to_stdout() {
    for args in [
        &["--help"][..],
        &["help", "load", "file"],
        &["list", "-h"],
        &["--version"],
    ] {
        let output = bpfman(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{args:?}"
        );
        assert!(
            !text(&output.stdout).contains('\u{1b}'),
            "colours, and no terminal"
        );
    }
}

#[test]
fn wrong_usage_is_2() {
    for args in [
        &[][..],
        &["load"],
        &["list", "--frobnicate"],
        &["load", "file", "-p", "x.o", "kprobe", "-f", "f", "-c", "1"],
    ] {
        let output = bpfman(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{args:?}"
        );
    }
}

#[test]
fn failure_is_1_and_says_why() {
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), "\n[interfaces.eth0]\nxdp_mode = \"no\"\n").unwrap();
    let output = bpfman(&[
        "--config",
        config.path().to_str().unwrap(),
        "load",
        "file",
        "-p",
        "x.o",
        "xdp",
        "-i",
        "lo",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let stderr = text(&output.stderr);
    assert!(
        stderr.starts_with("error: ") && stderr.contains("\ncaused by: "),
        "{stderr}"
    );
    assert!(
        stderr.contains("line 3") && stderr.contains("xdp_mode"),
        "{stderr}"
    );
}
