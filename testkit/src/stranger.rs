//! Somebody else on the machine, who has nothing to do with any test and never rests.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use libbpf_rs::{Link, Object, ObjectBuilder, ProgramType, TracepointCategory};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount, umount},
    sched::{CloneFlags, unshare},
};

use crate::object;

/// Fifty loads a second, where the machine can.
const EVERY: Duration = Duration::from_millis(20);
/// One that tests use.
const EVENT: &str = "sys_enter_unlink";
/// So many stay loaded for a while.
const KEPT: usize = 16;

/// Loads and unloads programs all the time, of the very objects and names that tests use, and
/// attaches, pins and keeps some of them. It ends when it goes out of scope.
#[derive(Debug)]
pub struct Stranger {
    place: PathBuf,
    loads: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Stranger {
    /// Begins, in the namespaces of the calling thread, which goes into a mount namespace of its
    /// own first: whatever happens, nothing stays mounted on the machine. A sandbox comes
    /// afterwards, and finds the stranger's bpffs mounted, as it finds those of the machine.
    pub fn start() -> Self {
        unshare(CloneFlags::CLONE_NEWNS).expect("a stranger needs root");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let name = format!("bpfman-stranger-{}", std::process::id());
        let place = std::env::temp_dir().join(name);
        fs::create_dir_all(&place).unwrap();
        mount(Some("bpf"), &place, Some("bpf"), MsFlags::empty(), none).unwrap();
        let (kind, at) = ("tracefs", "/sys/kernel/tracing");
        // EBUSY: the machine has it there.
        let mounted = mount(Some(kind), at, Some(kind), MsFlags::empty(), none);
        assert!(matches!(mounted, Ok(()) | Err(Errno::EBUSY)), "{mounted:?}");
        let (loads, done) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let worker = {
            let (place, loads, done) = (place.clone(), loads.clone(), done.clone());
            let (ready, begun) = mpsc::channel();
            let worker = thread::spawn(move || {
                apart();
                drop(ready);
                work(&place, &loads, &done);
            });
            // What the caller opens later must not be open there as well: a pipe would never end.
            let _: Result<(), _> = begun.recv();
            worker
        };
        Self {
            place,
            loads,
            done,
            worker: Some(worker),
        }
    }

    /// How many programs it has loaded so far.
    pub fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// Ends it. It must have worked until then.
    #[track_caller]
    pub fn end(mut self) {
        self.done.store(true, Ordering::Relaxed);
        let worker = self.worker.take().unwrap();
        worker.join().expect("the stranger gave up");
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
        // It may be mounted in the namespace of the caller, too, or gone already.
        let _ = umount(&self.place);
        let _ = fs::remove_dir(&self.place);
    }
}

/// A process has one table of descriptors for all its threads, unless one wants its own: whoever
/// looks at what the test holds does not find the stranger's there. Its network namespace is its
/// own as well, so that it can attach to the interface in it.
fn apart() {
    unshare(CloneFlags::CLONE_FILES | CloneFlags::CLONE_NEWNET).unwrap();
}

fn work(place: &Path, loads: &AtomicU64, done: &AtomicBool) {
    // libbpf tells on standard error what older kernels lack.
    libbpf_rs::set_print(None);
    let names = ["tracepoint_nobtf", "xdp_verdict", "tc_verdict", "probes"];
    let objects = names.map(|name| object(name).path);
    let mut kept = VecDeque::new();
    let mut next = Instant::now();
    for (turn, path) in objects.iter().cycle().enumerate() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        // Every second round is gone at once: to detach takes the kernel longer than the rest.
        let stays = turn / objects.len() % 2 == 0;
        let loaded = Loaded::new(path, &place.join(turn.to_string()), stays);
        loads.fetch_add(1, Ordering::Relaxed);
        if stays {
            kept.push_back(loaded);
        }
        if kept.len() > KEPT {
            kept.pop_front();
        }
        next = (next + EVERY).max(Instant::now());
        sleep(next.saturating_duration_since(Instant::now()));
    }
    drop(kept);
    umount(place).unwrap();
}

/// One object in the kernel, pinned and perhaps attached.
struct Loaded {
    pin: PathBuf,
    _links: Vec<Link>,
    _object: Object,
}

impl Loaded {
    fn new(path: &Path, pin: &Path, attached: bool) -> Self {
        let mut open = ObjectBuilder::default().open_file(path).unwrap();
        for mut program in open.progs_mut() {
            // The others of `probes` want what not every kernel has.
            let is_probe = program.section().to_string_lossy().contains("probe");
            let is_traced = program.prog_type() == ProgramType::Tracing;
            program.set_autoload(!is_probe && !is_traced);
        }
        let object = open.load().unwrap();
        let mut links = Vec::new();
        for mut program in object.progs_mut().filter(|program| program.autoload()) {
            match program.prog_type() {
                // An event takes 64 programs, of all who are there together.
                ProgramType::Tracepoint if attached => {
                    links.extend(program.attach_tracepoint(TracepointCategory::Syscalls, EVENT));
                }
                // The one interface of the namespace takes one program at a time.
                ProgramType::Xdp if attached => links.extend(program.attach_xdp(1)),
                _ => {}
            }
            if !pin.exists() {
                program.pin(pin).unwrap();
            }
        }
        Self {
            pin: pin.to_owned(),
            _links: links,
            _object: object,
        }
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        fs::remove_file(&self.pin).unwrap();
    }
}
