//! A world of its own for one test.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::{
    Details, Feature, Line, Load, Output, Veth, World,
    lane::{may_run, test_name},
    maps, ours, tool,
    world::reach,
};

/// The configuration file of every sandbox; it does not exist unless a test writes it.
const CONFIG: &str = "/run/bpfman.toml";

/// bpfman's images.
const IMAGES: &str = "/run/images";

/// The home of whoever runs bpfman.
const HOME: &str = "/run/home";

/// What else decides how bpfman speaks with registries: nothing of it comes in from outside.
const SURROUNDINGS: [&str; 23] = [
    "BPFMAN_FAULT",
    "BPFMAN_FAULT_TRACE",
    "REGISTRY_AUTH_FILE",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
    "CONTAINER_HOST",
    "CONTAINERD_ADDRESS",
    "CONTAINERS_STORAGE_CONF",
    "XDG_DATA_HOME",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "SUDO_UID",
    "SUDO_GID",
    "SUDO_USER",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
];

/// Mount and network namespace, bpffs, `/run` and with it bpfman's runtime root and its images, all
/// private to the calling thread and what it starts.
///
/// When it goes out of scope at the end of a test, every program that bpfman still lists is
/// unloaded, and the test fails when then anything is left that was not there before.
#[derive(Debug)]
pub struct Sandbox {
    before: World,
    veths: AtomicUsize,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// Takes the calling thread into it, for good.
    pub fn new() -> Self {
        Self::beside(false)
    }

    /// The same where others load programs on a kernel that is otherwise the sandbox's alone.
    pub fn beside_strangers() -> Self {
        Self::beside(true)
    }

    fn beside(strangers: bool) -> Self {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
            .expect("kernel tests need root");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        ours::begin(strangers);
        // sysfs shows the interfaces of the namespace that mounted it.
        for (kind, at) in [
            ("tmpfs", "/run"),
            ("sysfs", "/sys"),
            ("bpf", "/sys/fs/bpf"),
            ("tracefs", "/sys/kernel/tracing"),
        ] {
            mount(Some(kind), at, Some(kind), MsFlags::empty(), none)
                .unwrap_or_else(|error| panic!("cannot mount {kind} on {at}: {error}"));
        }
        fs::create_dir(HOME).unwrap();
        tool("ip", &["link", "set", "lo", "up"]).ok();
        Self {
            before: World::now(),
            veths: AtomicUsize::new(0),
        }
    }

    /// The same where the kernel has the features; None where the lane may lack them.
    pub fn requiring(features: &[Feature]) -> Option<Self> {
        may_run(features).then(Self::new)
    }

    /// Where bpfman keeps its state, lock and bpffs: the documented place, in a private `/run`.
    pub fn runtime_dir(&self) -> &'static Path {
        Path::new("/run/bpfman")
    }

    /// Where bpfman keeps images; it makes this folder itself.
    pub fn images(&self) -> &'static Path {
        Path::new(IMAGES)
    }

    /// `HOME` of bpfman, empty at first.
    pub fn home(&self) -> &'static Path {
        Path::new(HOME)
    }

    /// From here on `/etc` is a copy that goes with the sandbox. Answers its path.
    pub fn own_etc(&self) -> &'static Path {
        let (etc, copy) = (Path::new("/etc"), "/run/etc");
        tool("cp", &["-a", "/etc", copy]).ok();
        let none = None::<&str>;
        mount(Some(copy), etc, none, MsFlags::MS_BIND, none).unwrap();
        etc
    }

    /// An empty directory that goes with the sandbox.
    pub fn tmp(&self) -> PathBuf {
        let path = PathBuf::from("/run/test");
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// bpfman with these arguments, not started yet.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        self.program(&bpfman(), args)
    }

    /// Any program with these arguments and the surroundings of bpfman.
    pub fn program<S: AsRef<OsStr>>(
        &self,
        program: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program);
        for name in SURROUNDINGS {
            command.env_remove(name);
        }
        command
            .args(args)
            .env("BPFMAN_CONFIG", CONFIG)
            .env("BPFMAN_IMAGE_DIR", IMAGES)
            .env("HOME", HOME)
            // What podman 5 says of every machine with the older cgroups.
            .env("PODMAN_IGNORE_CGROUPSV1_WARNING", "1")
            .env("TZ", "UTC");
        command
    }

    /// Runs bpfman.
    pub fn bpfman<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        Output::of(&mut self.command(args))
    }

    /// Runs bpfman with one environment variable, such as `BPFMAN_FAULT`.
    pub fn bpfman_env<S: AsRef<OsStr>>(
        &self,
        name: &str,
        value: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Output {
        eprintln!("{name}={value}");
        Output::of(self.command(args).env(name, value))
    }

    /// Loads a program; it must succeed. Answers its id.
    #[track_caller]
    pub fn load(&self, load: &Load) -> u32 {
        id(&self.try_load(load).ok())
    }

    /// Loads a program, or finds out why not.
    pub fn try_load(&self, load: &Load) -> Output {
        self.bpfman(load.args())
    }

    /// Unloads a program; it must succeed without a word.
    #[track_caller]
    pub fn unload(&self, id: u32) {
        let output = self.bpfman(["unload", &id.to_string()]);
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str()),
            ("", ""),
            "{output}"
        );
        output.ok();
    }

    /// The tables of `get`.
    #[track_caller]
    pub fn get(&self, id: u32) -> Details {
        Details::parse(&self.bpfman(["get", &id.to_string()]).ok())
    }

    /// The lines of `list`.
    #[track_caller]
    pub fn list(&self, options: &[&str]) -> Vec<Line> {
        Line::parse(&self.bpfman(["list"].iter().chain(options)).ok())
    }

    /// The ids of `list`.
    #[track_caller]
    pub fn ids(&self) -> Vec<u32> {
        self.list(&[]).iter().map(|line| line.id).collect()
    }

    /// The file of a map below the program's `Map Pin Path`.
    #[track_caller]
    pub fn map(&self, id: u32, map: &str) -> PathBuf {
        Path::new(&self.get(id).bpfman("Map Pin Path")).join(map)
    }

    /// The counter below key 0 of a program's map.
    #[track_caller]
    pub fn count(&self, id: u32, map: &str) -> u64 {
        maps::count(&self.map(id, map), 0)
    }

    /// A veth pair, `bm<k>` here and its peer in the namespace `peer<k>`, with addresses, and with
    /// no packet on it that the test does not send.
    pub fn veth(&self) -> Veth {
        Veth::new(None, self.veths.fetch_add(1, Ordering::Relaxed))
    }

    /// The same, but with the near side in a named namespace that exists.
    pub fn veth_in(&self, netns: &str) -> Veth {
        Veth::new(Some(netns), self.veths.fetch_add(1, Ordering::Relaxed))
    }

    /// A named network namespace.
    pub fn netns(&self, name: &str) {
        tool("ip", &["netns", "add", name]).ok();
    }

    /// Writes the configuration file of this sandbox.
    pub fn config(&self, text: &str) {
        fs::write(CONFIG, text).unwrap();
    }

    /// The closure must leave programs, maps, links, pins and interfaces as they are.
    #[track_caller]
    pub fn unchanged<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = World::now();
        let answer = work();
        before.assert_same("after what should change nothing");
        answer
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "{} failed; what differs from its start{}:",
                test_name(),
                reach()
            );
            for line in self.before.diff(&World::now()) {
                eprintln!("{line}");
            }
            return;
        }
        let ids: Vec<String> = self.ids().iter().map(ToString::to_string).collect();
        if !ids.is_empty() {
            self.bpfman(std::iter::once("unload").chain(ids.iter().map(String::as_str)))
                .ok();
        }
        self.before
            .assert_same("at the end of the test, with everything unloaded");
    }
}

/// The id that `load -o id` prints.
#[track_caller]
pub(crate) fn id(stdout: &str) -> u32 {
    stdout
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("no id: {stdout:?}"))
}

/// A program under test, built with the feature `fault`.
/// The program that is tested, for those who start it by way of another one.
pub fn bpfman() -> PathBuf {
    binary("BPFMAN_BIN", "bpfman")
}

pub(crate) fn binary(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join(name);
    assert!(
        path.exists(),
        "no {}: build it with `cargo build --workspace --all-features` or set {variable}",
        path.display()
    );
    path
}
