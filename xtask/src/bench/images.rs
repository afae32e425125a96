//! What images cost: a load from the own store beside the same load from a file, and the memory of
//! a pull from a real registry on loopback.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Figure;
use super::measure::{milliseconds, pair, peak, time};
use crate::sh;
use crate::stage::object;

const RUNS: usize = 41;
const REGISTRY: &str = "127.0.0.1:5000";
/// Just below the limit on layers and objects.
const LARGE: usize = 60 << 20;

pub(super) fn figures(bpfman: &Path) -> Result<Vec<Figure>> {
    let temp = tempfile::tempdir()?;
    let _registry = Registry::start(temp.path())?;
    let bench = Bench {
        bpfman,
        store: temp.path().join("store"),
    };
    let small = object("test/tracepoint_nobtf");
    bench.publish("small", &small)?;
    let large = temp.path().join("large.o");
    pad(Path::new(&small), &large)?;
    bench.publish("large", &large.to_string_lossy())?;
    Ok(vec![bench.load(&small)?, bench.pull()?])
}

/// Images that Docker, Podman and containerd hold. The tests of images know how to start them.
pub(super) fn of_runtimes(bpfman: &Path, tests: &Path) -> Result<Vec<Figure>> {
    let test = "runtimes::bench::local_images";
    let run = Command::new(tests)
        .env("BPFMAN_BIN", bpfman)
        .args([
            "--ignored",
            "--exact",
            test,
            "--nocapture",
            "--test-threads",
            "1",
        ])
        .output()
        .context("start the tests of images")?;
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&run.stderr).into_owned();
    ensure!(run.status.success(), "{test} failed: {said}{complaints}");
    let lines = said
        .lines()
        .filter_map(|line| line.strip_prefix("figure\t"));
    let mut figures = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split('\t').collect();
        let [runtime, fresh, kept] = fields[..] else {
            bail!("cannot read '{line}'")
        };
        for (micros, what, floor, limit) in [
            (fresh, "not in the store", "100 ms", 100),
            (kept, "in the store, asked for a newer one", "15 ms", 15),
        ] {
            let took = Duration::from_micros(micros.parse()?);
            let what = format!("load image, {runtime}, {what}");
            let kept = took <= Duration::from_millis(limit);
            figures.push(Figure::new(what, milliseconds(took), floor, kept));
        }
    }
    ensure!(figures.len() == 8, "figures are missing: {said}");
    Ok(figures)
}

struct Bench<'a> {
    bpfman: &'a Path,
    store: std::path::PathBuf,
}

impl Bench<'_> {
    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(self.bpfman);
        command.env("BPFMAN_IMAGE_DIR", &self.store);
        command.args(words.split_whitespace());
        command
    }

    fn publish(&self, name: &str, object: &str) -> Result<()> {
        let words = format!("image build -r none -t {REGISTRY}/{name}:bench -b {object}");
        sh::output(&mut self.command(&words)).map(drop)
    }

    fn load(&self, object: &str) -> Result<Figure> {
        let at = "tracepoint -t syscalls/sys_enter_openat";
        let run = |from: &str| {
            let load = format!("load {from} -o id {at}");
            let (took, id) = time(&mut self.command(&load))?;
            sh::output(&mut self.command(&format!("unload {id}")))?;
            Ok(took)
        };
        let image = format!("image -i {REGISTRY}/small:bench");
        let file = format!("file -p {object}");
        // The first one fetches it.
        let both = pair(RUNS, || run(&image), || run(&file))?;
        let more = both.ours.saturating_sub(both.theirs);
        let value = format!(
            "{} : {}, {} more",
            milliseconds(both.ours),
            milliseconds(both.theirs),
            milliseconds(more)
        );
        let kept = more <= Duration::from_millis(3);
        let what = "load image from the own store : load file, tracepoint";
        Ok(Figure::new(what, value, "3 ms more", kept))
    }

    fn pull(&self) -> Result<Figure> {
        let kib = peak(&mut self.command(&format!("image pull -i {REGISTRY}/large:bench")))?;
        let value = format!("{}.{} MB", kib / 1000, kib / 100 % 10);
        let what = format!("peak memory of a pull of {} MiB", LARGE >> 20);
        Ok(Figure::new(what, value, "40 MB", kib <= 40_000))
    }
}

/// The object with bytes behind it that do not compress. They belong to no section.
fn pad(small: &Path, large: &Path) -> Result<()> {
    let mut bytes = std::fs::read(small).context("read an object")?;
    let mut state = 1_u64;
    while bytes.len() < LARGE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    std::fs::write(large, bytes).context("write a large object")
}

/// Debian's docker-registry, stopped when it goes out of scope.
struct Registry(Child);

impl Registry {
    fn start(folder: &Path) -> Result<Self> {
        let config = folder.join("registry.yml");
        let data = folder.join("registry");
        let mut file = std::fs::File::create(&config)?;
        writeln!(
            file,
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '{REGISTRY}'}}",
            data.display()
        )?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start docker-registry")?;
        let registry = Self(child);
        let start = Instant::now();
        while TcpStream::connect(REGISTRY).is_err() {
            ensure!(
                start.elapsed() < Duration::from_secs(20),
                "docker-registry does not answer"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
