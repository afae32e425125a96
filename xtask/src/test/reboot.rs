//! The lane that starts a machine twice: the package in a Debian of its own, with systemd, on a
//! disk that stays.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::build::Built;
use super::lanes::{SILENCE, TEST_LIMIT, Watch, merge};
use super::tally::Tally;
use crate::disk::{AGENT, Tree};
use crate::kernels::Version;
use crate::package::{self, Binaries, root::Root};
use crate::sh;
use crate::vm::Run;

/// The name of the lane.
const LANE: &str = "reboot";
/// For one start, its tests, and its end, without the time in which the machine let it wait.
const LIMIT: Duration = Duration::from_mins(12);
/// Where the tests lie on the disk.
const TESTS: &str = "/usr/local/bin/reboot-tests";
/// The machine's own interfaces, before anything of bpfman starts.
const LAB: &str = "\
[Unit]
Description=Interfaces of the machine
DefaultDependencies=no
After=local-fs.target
Before=network-pre.target network.target
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/bin/lab-interface 0
";

/// Starts it twice and counts.
pub(crate) fn run(built: &Built, filter: &[String]) -> Tally {
    let tally = || {
        let temp = tempfile::tempdir().context("make a directory for the disk")?;
        let disk = temp.path().join("disk");
        sh::step("make a disk with the package", || {
            make_disk(temp.path(), &disk, built)
        })?;
        let start = |module: &str| {
            let what = format!("{module} start of a machine with the package");
            sh::step(&what, || boot(&disk, module, filter))
                .unwrap_or_else(|error| Tally::failure(LANE, &format!("{what}: {error:#}")))
        };
        Ok::<_, anyhow::Error>([start("first"), start("second")])
    };
    match tally() {
        Ok(both) => merge(LANE, both.iter()),
        Err(error) => Tally::failure(LANE, &format!("{error:#}")),
    }
}

fn make_disk(temp: &Path, disk: &Path, built: &Built) -> Result<()> {
    let root = Root::create(&temp.join("tree"))?;
    let binaries = package::for_tests(&Binaries {
        bpfman: built.bpfman.clone(),
        daemon: built.daemon.clone(),
    })?;
    root.install(&package::make_quickly(&binaries, 1, temp)?)?;
    let tree = Tree(root.path());
    tree.add_agent()?;
    tree.add_unit("lab.service", LAB)?;
    let folder = sh::repo().join("testkit/tests/reboot");
    let script = std::fs::read_to_string(folder.join("lab-interface"))?;
    tree.add_text("/usr/local/bin/lab-interface", &script, 0o755)?;
    tree.add_program(&built.reboot, TESTS)?;
    let registry = sh::which("docker-registry").context("docker-registry is not installed")?;
    tree.add_program(&registry, "/usr/local/bin/docker-registry")?;
    let bpftool = sh::which("bpftool").context("bpftool is not installed")?;
    tree.add_program(&bpftool, "/usr/local/sbin/bpftool")?;
    // Where the tests look for them.
    for name in ["probes", "tc_verdict", "tracepoint_nobtf", "xdp_verdict"] {
        let object = sh::repo().join(format!("bpf/test/{name}.bpf.o"));
        tree.add_file(&object, &object.to_string_lossy())?;
    }
    let testkit = sh::repo().join("testkit/.here");
    tree.add_text(&testkit.to_string_lossy(), "", 0o644)?;
    for file in ["boot.yaml", "late.yaml"] {
        let text = std::fs::read_to_string(folder.join(file))?;
        let text = text.replace("@OBJECTS@", &sh::repo().join("bpf/test").to_string_lossy());
        tree.add_text(&format!("/etc/bpfman/programs.d/{file}"), &text, 0o644)?;
    }
    tree.write(disk)?;
    std::fs::remove_dir_all(root.path()).context("remove the tree of the disk")
}

fn boot(disk: &Path, module: &str, filter: &[String]) -> Result<Tally> {
    let mut watch = Watch::new(LANE);
    let of_module = format!("{module}::");
    let limit = TEST_LIMIT.as_secs().to_string();
    let mut run = Run::new(
        Version::V6_1,
        &[
            AGENT,
            "guest-tests",
            "--limit",
            &limit,
            "--module",
            &of_module,
            TESTS,
        ],
    );
    run.argv.extend(filter.iter().cloned());
    run.env.insert("RUST_BACKTRACE".into(), "1".into());
    run.limit = LIMIT;
    run.silence = SILENCE;
    run.disk = Some(disk.to_owned());
    let end = run.boot(|frame| watch.frame(frame))?;
    Ok(watch.finish(&end))
}
