//! The lane of the Debian package: it is made, installed into a Debian 12 of its own, looked at
//! there, upgraded, and purged.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::build::Built;
use super::tally::Tally;
use crate::package::root::Root;
use crate::package::{self, Binaries, UNITS};
use crate::{screen, sh};

/// What `systemd-analyze security` may find, in tenths.
const EXPOSURE: u32 = 40;

/// Units that start by themselves, and what wants them.
const ENABLED: [&str; 4] = [
    "sockets.target.wants/bpfman-rpc.socket",
    "multi-user.target.wants/bpfman-restore.service",
    "multi-user.target.wants/bpfman-watch.service",
    "multi-user.target.wants/bpfman-watch.path",
];

/// Places whose content is none of a package's: dpkg's own notes, logs, caches of others that have
/// seen it, and what the checks leave: shells and systemd-analyze keep something.
const NOT_OURS: [&str; 8] = [
    "var/lib/dpkg/",
    "var/log/",
    "var/cache/",
    "proc/",
    "root/.config",
    "root/.local",
    // What a newer mount(8) keeps for itself.
    "run/mount",
    "run/systemd/",
];

type Check = fn(&Place) -> Result<()>;

/// In this order: each begins with what the one before it left.
const CHECKS: [(&str, Check); 10] = [
    ("package::is_the_same_twice", is_the_same_twice),
    ("package::installs", installs),
    ("package::programs_run", programs_run),
    ("package::units_are_right", units_are_right),
    ("package::units_are_hardened", units_are_hardened),
    ("package::manual_pages_render", manual_pages_render),
    ("package::shells_complete", shells_complete),
    (
        "package::upgrade_keeps_what_was_set",
        upgrade_keeps_what_was_set,
    ),
    (
        "package::remove_keeps_what_was_set",
        remove_keeps_what_was_set,
    ),
    ("package::purge_leaves_nothing", purge_leaves_nothing),
];

/// Runs the lane and counts. The checks follow each other, so that a filter chooses all or none.
pub(super) fn run(built: &Built, filter: &[String]) -> Tally {
    let chosen = |(name, _): &(&str, Check)| {
        filter.is_empty() || filter.iter().any(|part| name.contains(part.as_str()))
    };
    let mut tally = Tally::new("package");
    if !CHECKS.iter().any(|check| chosen(check)) {
        return tally;
    }
    let place = match sh::step("make the package and a root for it", || Place::make(built)) {
        Ok(place) => place,
        Err(error) => return Tally::failure("package", &format!("{error:#}")),
    };
    for (name, check) in CHECKS {
        match sh::step(name, || check(&place)) {
            Ok(()) => tally.passed += 1,
            // They follow each other: a filter chooses one, and with it all.
            Err(error) => tally.fail_test(name, &format!("{error:#}")),
        }
    }
    tally
}

/// Where it is tried.
struct Place {
    binaries: Binaries,
    temp: tempfile::TempDir,
    root: Root,
    /// Two packages, the second one newer.
    debs: [PathBuf; 2],
    /// What was there before.
    before: BTreeSet<String>,
}

impl Place {
    fn make(built: &Built) -> Result<Self> {
        let temp = tempfile::tempdir()?;
        let binaries = package::for_tests(&Binaries {
            bpfman: built.bpfman.clone(),
            daemon: built.daemon.clone(),
        })?;
        let debs = [
            package::make_quickly(&binaries, 1, temp.path())?,
            package::make_quickly(&binaries, 2, temp.path())?,
        ];
        let root = Root::create(&temp.path().join("root"))?;
        let before = listing(root.path())?;
        Ok(Self {
            binaries,
            temp,
            root,
            debs,
            before,
        })
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        sh::output(self.root.command(program).args(args))
    }

    /// Runs a program that shall not say anything.
    fn silent(&self, program: &str, args: &[&str]) -> Result<()> {
        let output = self.root.command(program).args(args).output()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        ensure!(
            output.status.success() && said.trim().is_empty(),
            "{program} {}: {}: {said}",
            args.join(" "),
            output.status
        );
        Ok(())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.path(path)).with_context(|| format!("read /{path}"))
    }

    /// Files of the package.
    fn files(&self) -> Result<Vec<String>> {
        let files = self.run("dpkg", &["--listfiles", "bpfman"])?;
        Ok(files.lines().map(ToOwned::to_owned).collect())
    }

    fn has_group(&self) -> Result<bool> {
        let groups = self.read("etc/group")?;
        Ok(groups.lines().any(|line| line.starts_with("bpfman:")))
    }
}

/// Everything below a folder with mode, owner and target of links; and the lines of `/etc/group`.
fn listing(root: &Path) -> Result<BTreeSet<String>> {
    let mut find = std::process::Command::new("find");
    find.current_dir(root)
        .args([".", "-mindepth", "1", "-printf", "%P %M %U:%G %l\\n"]);
    let found = sh::output(&mut find)?;
    let is_ours = |line: &&str| !NOT_OURS.iter().any(|place| line.starts_with(place));
    let mut all: BTreeSet<String> = found.lines().filter(is_ours).map(Into::into).collect();
    for file in ["etc/group", "etc/gshadow"] {
        let text = fs::read_to_string(root.join(file))?;
        all.extend(text.lines().map(|line| format!("{file}: {line}")));
    }
    Ok(all)
}

fn is_the_same_twice(place: &Place) -> Result<()> {
    let again = place.temp.path().join("again");
    let again = package::make_quickly(&place.binaries, 1, &again)?;
    ensure!(
        fs::read(&again)? == fs::read(&place.debs[0])?,
        "{} differs from {}",
        again.display(),
        place.debs[0].display()
    );
    Ok(())
}

fn installs(place: &Place) -> Result<()> {
    place.root.install(&place.debs[0])?;
    place.silent("dpkg", &["--verify", "bpfman"])?;
    place.silent("dpkg", &["--audit"])?;
    ensure!(place.has_group()?, "there is no group bpfman");
    for unit in ENABLED {
        let link = place.path("etc/systemd/system").join(unit);
        ensure!(link.is_symlink(), "{} is missing", link.display());
    }
    let files = place.files()?;
    for file in [
        "/etc/bpfman/bpfman.toml",
        "/etc/bpfman/programs.d",
        "/usr/bin/bpfman",
        "/usr/sbin/bpfman-rpc",
        "/usr/share/bash-completion/completions/bpfman",
        "/usr/share/doc/bpfman/changelog.gz",
        "/usr/share/doc/bpfman/copyright",
        "/usr/share/doc/bpfman/libraries.gz",
        "/usr/share/doc/bpfman/manifest.schema.json",
        "/usr/share/doc/bpfman/service.md",
        "/usr/share/fish/vendor_completions.d/bpfman.fish",
        "/usr/share/man/man8/bpfman-load-file-xdp.8.gz",
        "/usr/share/man/man8/bpfman-rpc.8.gz",
        "/usr/share/man/man8/bpfman.8.gz",
        "/usr/share/zsh/vendor-completions/_bpfman",
    ] {
        ensure!(files.iter().any(|own| own == file), "{file} is missing");
    }
    let mut find = std::process::Command::new("find");
    find.current_dir(place.root.path())
        .args(files.iter().filter_map(|file| file.strip_prefix('/')))
        .args([
            "-maxdepth",
            "0",
            "(",
            "-perm",
            "/022",
            "-o",
            "!",
            "-user",
            "0",
        ])
        .args(["-o", "!", "-group", "0", ")", "!", "-type", "l"]);
    let odd = sh::output(&mut find)?;
    ensure!(odd.is_empty(), "others may write to, or own:\n{odd}");
    Ok(())
}

fn programs_run(place: &Place) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    for (program, in_help) in [("bpfman", "Commands:"), ("bpfman-rpc", "--idle-timeout")] {
        let said = place.run(program, &["--version"])?;
        ensure!(said == format!("{program} {version}\n"), "{said}");
        let help = place.run(program, &["--help"])?;
        ensure!(help.contains(in_help), "{help}");
    }
    // The configuration that comes with it can be read, and the comments in it are right.
    let target = place.path("var/tmp/all.toml");
    let all = place.read("etc/bpfman/bpfman.toml")?;
    let all = all.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting,
        _ => line,
    });
    fs::write(&target, all.collect::<Vec<_>>().join("\n"))?;
    for file in ["/etc/bpfman/bpfman.toml", "/var/tmp/all.toml"] {
        let config = format!("BPFMAN_CONFIG={file}");
        let apply = [
            "bpfman",
            "apply",
            "--dry-run",
            "-f",
            "/etc/bpfman/programs.d",
        ];
        place.run("env", &[&[config.as_str()][..], &apply[..]].concat())?;
    }
    fs::remove_file(target)?;
    Ok(())
}

fn units_are_right(place: &Place) -> Result<()> {
    let mut args = vec!["verify", "--man=yes"];
    args.extend(UNITS);
    place.silent("systemd-analyze", &args)
}

fn units_are_hardened(place: &Place) -> Result<()> {
    let threshold = format!("--threshold={EXPOSURE}");
    for unit in UNITS.iter().filter(|unit| unit.ends_with(".service")) {
        let path = format!("/usr/lib/systemd/system/{unit}");
        let args = ["security", "--offline=true", &threshold, &path];
        let said = place.run("systemd-analyze", &args)?;
        let verdict = said.lines().find(|line| line.contains("exposure"));
        screen::say(verdict.unwrap_or_default().trim());
    }
    Ok(())
}

/// Both programs that show manual pages, with all they have to say about each of the arguments.
const LINT: &str = "\
for page; do
    zcat $page >/var/tmp/page
    mandoc -T lint -W warning /var/tmp/page && groff -k -t -man -Tutf8 -ww -z /var/tmp/page || echo $page
done
rm /var/tmp/page
";

fn manual_pages_render(place: &Place) -> Result<()> {
    let files = place.files()?;
    let pages: Vec<&str> = files
        .iter()
        .map(String::as_str)
        .filter(|file| file.ends_with(".8.gz"))
        .collect();
    ensure!(pages.len() > 20, "there are only {} pages", pages.len());
    let mut args = vec!["-c", LINT, "sh"];
    args.extend(&pages);
    place.silent("sh", &args)?;

    // Written by hand: it must not lag behind.
    let help = place.run("bpfman-rpc", &["--help"])?;
    let render = "zcat /usr/share/man/man8/bpfman-rpc.8.gz | mandoc -T ascii";
    let page = place.run("sh", &["-c", render])?;
    let page = without_overstrikes(&page);
    let options = help
        .split_whitespace()
        .filter(|word| word.starts_with("--"));
    for option in options {
        let option = option.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        ensure!(page.contains(option), "bpfman-rpc.8 lacks {option}");
    }
    Ok(())
}

/// mandoc writes bold and underlined letters twice, for printers.
fn without_overstrikes(page: &str) -> String {
    let mut plain = String::new();
    for letter in page.chars() {
        if letter == '\u{8}' {
            plain.pop();
        } else {
            plain.push(letter);
        }
    }
    plain
}

/// What is typed, and some of what is offered then.
const COMPLETIONS: [(&str, &[&str]); 5] = [
    ("bpfman un", &["unload"]),
    ("bpfman load file xdp --pr", &["--priority", "--proceed-on"]),
    ("bpfman load file xdp --iface ", &["lo"]),
    ("bpfman completions ", &["bash", "zsh", "fish"]),
    ("bpfman unload ", &["4711"]),
];

/// No program can be loaded here: its id is said by this one, everything else by the real program.
const WITH_A_PROGRAM: &str = "\
#!/bin/sh
[ \"$*\" = '__complete programs' ] || exec /usr/bin/bpfman \"$@\"
printf '4711\\txdp pass\\n'
";

fn shells_complete(place: &Place) -> Result<()> {
    let first = place.path("usr/local/bin/bpfman");
    fs::write(&first, WITH_A_PROGRAM)?;
    fs::set_permissions(&first, fs::Permissions::from_mode(0o755))?;
    for (shell, script) in [
        ("bash", include_str!("complete.bash")),
        ("zsh", include_str!("complete.zsh")),
        ("fish", include_str!("complete.fish")),
    ] {
        let inside = "/var/tmp/complete";
        let outside = place.path("var/tmp/complete");
        fs::write(&outside, script)?;
        for (typed, offered) in COMPLETIONS {
            let said = place.run(shell, &[inside, typed])?;
            let words: Vec<_> = said.split_whitespace().collect();
            for word in offered {
                if !words.contains(word) {
                    bail!("{shell}: '{typed}' offers no {word}, but: {said}");
                }
            }
        }
        fs::remove_file(outside)?;
    }
    fs::remove_file(first).context("remove the program in front of bpfman")
}

fn upgrade_keeps_what_was_set(place: &Place) -> Result<()> {
    let config = "etc/bpfman/bpfman.toml";
    let changed = place.read(config)? + "\n[host]\nlabels = { role = \"edge\" }\n";
    fs::write(place.path(config), &changed)?;
    fs::write(
        place.path("etc/bpfman/programs.d/mine.yaml"),
        "# none yet\n",
    )?;
    place.run("systemctl", &["disable", "bpfman-watch.path"])?;
    place.root.install(&place.debs[1])?;

    let version = place.run(
        "dpkg-query",
        &["--show", "--showformat=${Version}", "bpfman"],
    )?;
    ensure!(version.ends_with("-2"), "{version} is installed");
    ensure!(place.read(config)? == changed, "/{config} was changed");
    ensure!(
        !place
            .path("etc/systemd/system/multi-user.target.wants/bpfman-watch.path")
            .is_symlink(),
        "a disabled unit was enabled"
    );
    ensure!(place.has_group()?, "the group is gone");
    Ok(())
}

fn remove_keeps_what_was_set(place: &Place) -> Result<()> {
    let store = place.path("var/lib/bpfman/images");
    fs::create_dir_all(&store)?;
    fs::write(store.join("one"), "an image")?;
    place.run("dpkg", &["--remove", "bpfman"])?;
    for kept in [
        "etc/bpfman/bpfman.toml",
        "etc/bpfman/programs.d/mine.yaml",
        "var/lib/bpfman/images/one",
    ] {
        ensure!(place.path(kept).exists(), "/{kept} is gone");
    }
    ensure!(
        !place.path("usr/bin/bpfman").exists(),
        "the program is still there"
    );
    ensure!(place.has_group()?, "the group is gone");
    Ok(())
}

fn purge_leaves_nothing(place: &Place) -> Result<()> {
    place.run("dpkg", &["--purge", "bpfman"])?;
    let after = listing(place.root.path())?;
    let left: Vec<_> = after.difference(&place.before).collect();
    let lost: Vec<_> = place.before.difference(&after).collect();
    ensure!(
        left.is_empty() && lost.is_empty(),
        "left: {left:#?}, lost: {lost:#?}"
    );
    Ok(())
}
