//! Images of the user who calls sudo.

use std::{fs, os::unix::fs::chown, path::PathBuf, process::Command};

use testkit::{Output, Sandbox, example};

use super::{context, pull};

/// A user of the machine who is nobody in particular.
const UID: u32 = 4321;

/// A home, and in it what Podman needs to run as this user.
fn home(sandbox: &Sandbox) -> PathBuf {
    let home = sandbox.tmp().join("ann");
    let run = home.join("run");
    fs::create_dir_all(&run).unwrap();
    let etc = sandbox.own_etc();
    let passwd = fs::read_to_string(etc.join("passwd")).unwrap();
    let ann = format!("ann:x:{UID}:{UID}::{}:/bin/sh\n", home.display());
    fs::write(etc.join("passwd"), passwd + &ann).unwrap();
    for path in [&home, &run] {
        chown(path, Some(UID), Some(UID)).unwrap();
    }
    home
}

/// Runs a command as that user. Podman's own process, which stays for the user's next command,
/// ends with the namespace.
fn as_user(home: &PathBuf, args: &[&str]) -> Output {
    let id = UID.to_string();
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--mount-proc", "--fork", "--kill-child=KILL"])
        .args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"])
        .args(args)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", home)
        .env("XDG_RUNTIME_DIR", home.join("run"))
        .current_dir("/");
    Output::of(&mut command)
}

#[test]
fn rootless_podman_of_the_user_behind_sudo() {
    let sandbox = Sandbox::new();
    let home = home(&sandbox);
    let build = |name: &str| {
        let context = context(&sandbox, &example(name)).display().to_string();
        as_user(&home, &["podman", "build", "-t", "mine:dev", &context]).ok();
    };
    let sudo = |words: &[&str]| {
        let args = ["image", "pull", "-i", "mine:dev", "-p", "Never"];
        let args: Vec<&str> = args.iter().chain(words).copied().collect();
        let mut command = sandbox.command(args);
        command
            .env("SUDO_UID", UID.to_string())
            .env("SUDO_GID", UID.to_string())
            .env("SUDO_USER", "ann");
        Output::of(&mut command)
    };
    build("xdp_pass");
    // Without sudo these are images of somebody else.
    pull(&sandbox, &[], "mine:dev", &["-p", "Never"]).fails(1, &["neither the image store"]);
    let said = sudo(&[]).ok();
    assert!(said.contains("From podman of user ann ("), "{said}");
    build("xdp_counter");
    let answer: serde_json::Value = serde_json::from_str(&sudo(&["-o", "json"]).ok()).unwrap();
    assert_eq!(answer["from"], "podman");
    assert_eq!(answer["runtime"]["user"], "ann");
    assert_eq!(answer["image"]["file"], "xdp_counter.bpf.o");

    // What is not theirs is not read for them.
    let storage = home.join(".local/share/containers/storage");
    chown(&storage, Some(UID + 1), None).unwrap();
    sandbox.bpfman(["image", "prune", "--all"]).ok();
    sudo(&[]).fails(1, &["neither the image store"]);
}
