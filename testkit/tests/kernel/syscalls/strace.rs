//! One system call of a command fails, from outside: `strace` answers it in the place of the kernel.
//!
//! So the program is the real one, and the calls of libbpf and of the standard library fail like
//! those of our own.

use std::{
    collections::{BTreeMap, HashSet},
    fs, mem,
    path::Path,
};

use testkit::{Output, Sandbox};

/// The calls that may fail. Left out is what gives something back (`close`, `munmap`), and memory
/// of the process itself, without which no program goes on.
const CALLS: &str = "bpf,perf_event_open,mount,mkdir,rmdir,open,openat,read,pread64,getdents64,\
    statfs,fstat,statx,faccessat2,write,ftruncate,fsync,rename,link,linkat,unlink,unlinkat,flock,\
    socket,setsockopt,connect,sendto,recvfrom,ioctl,setns,memfd_create,dup3,fcntl,poll";

/// What strace calls them, and what people read.
const ERRORS: [(&str, &str); 6] = [
    ("EIO", "input/output error"),
    ("ENOMEM", "cannot allocate memory"),
    ("EPERM", "operation not permitted"),
    ("ENOSPC", "no space left on device"),
    ("EAGAIN", "resource temporarily unavailable"),
    ("EINTR", "interrupted system call"),
];

/// The calls that a signal interrupts: of the others the kernel never says EINTR.
const INTERRUPTED: &str = "bpf,perf_event_open,read,write,fsync,flock,sendto,recvfrom";

/// In seconds. Emulation is slow, and the machine may be busy; without a hang it takes one.
const LIMIT: &str = "300";

/// What libbpf loads to learn what the kernel can do, program names for one.
const TRIAL_PROGRAM: &str = "BPF_PROG_TYPE_SOCKET_FILTER";

const TRACE: &str = "/run/strace";

/// One call of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    name: String,
    /// Which of the calls of that name it is, from 1.
    nth: usize,
    /// As strace shows it, without result.
    pub(crate) text: String,
    error: (&'static str, &'static str),
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.text.chars().take(150).collect();
        write!(f, "{} at {} {}: {text}", self.error.0, self.name, self.nth)
    }
}

impl Call {
    /// What the command must have said when it failed for this. A call that was interrupted is made
    /// again, so that it never fails for that.
    #[track_caller]
    pub(crate) fn explained(&self, output: &Output) {
        let question = self.asks_for_a_feature();
        assert!(question || self.error.0 != "EINTR", "{self}\n{output}");
        assert_eq!(output.status, 1, "{self}\n{output}");
        let said = output.stderr.to_lowercase();
        assert!(said.contains("error: "), "{self}\n{output}");
        // A blocking socket says EAGAIN when its time is over, socket(7).
        let timed_out = self.error.0 == "EAGAIN" && said.contains("took longer than");
        let named = timed_out || said.contains(self.error.1);
        assert!(question || named, "{self}\n{output}");
        assert!(!said.contains("panicked"), "{self}\n{output}");
    }

    /// The reason is among what the command said.
    #[track_caller]
    pub(crate) fn named(&self, output: &Output) {
        let said = output.stderr.to_lowercase();
        assert!(said.contains(self.error.1), "{self}\n{output}");
    }

    /// libbpf tries out what the kernel can do, as we do when it refused something. Whatever error
    /// comes of it, it means "cannot", and what is told in the end is what did not work without.
    fn asks_for_a_feature(&self) -> bool {
        let of_libbpf = [
            "map_name=\"libbpf_",
            TRIAL_PROGRAM,
            "BPF_PROG_TYPE_CGROUP_SOCK",
        ];
        let of_ours = "log_size=256";
        of_libbpf.iter().any(|part| self.text.contains(part))
            || self.text.contains(of_ours)
            || self.tries_types()
    }

    /// The BTF of its trials is of 43 to 146 bytes; what describes a program is longer.
    fn tries_types(&self) -> bool {
        let size = self.text.split_once("btf_size=").and_then(|(_, rest)| {
            let digits = rest.split(|char: char| !char.is_ascii_digit()).next()?;
            digits.parse::<u32>().ok()
        });
        size.is_some_and(|size| size < 200)
    }
}

/// Which calls were made to fail already: those that ask the same after the same.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    signatures: HashSet<(String, String)>,
    errors: BTreeMap<String, usize>,
}

impl Seen {
    /// The calls of a command that ends well, in their order, without those that were seen before
    /// and without those that the dynamic linker makes; one of `stride` and all trial programs, and an
    /// error for each.
    #[track_caller]
    pub(crate) fn calls(
        &mut self,
        sandbox: &Sandbox,
        args: &[String],
        stride: usize,
    ) -> (Vec<Call>, Output) {
        let output = strace(sandbox, args, None);
        assert_eq!(output.status, 0, "{output}");
        let mut counts = BTreeMap::<String, usize>::new();
        let (mut begun, mut before, mut new, mut all) = (false, String::new(), Vec::new(), 0);
        for (name, text) in calls_of(&fs::read_to_string(TRACE).unwrap()) {
            let nth = counts.entry(name.clone()).or_default();
            *nth += 1;
            // The runtime of Rust looks at descriptors 0 to 2 first of all.
            if name == "poll" {
                begun = true;
            }
            let words = pattern(&text);
            let signature = (mem::replace(&mut before, words.clone()), words);
            if !begun || name == "poll" || !self.signatures.insert(signature) {
                continue;
            }
            all += 1;
            // Few, and what libbpf makes of an error there differs between kernels.
            if all % stride == 0 || text.contains(TRIAL_PROGRAM) {
                let error = self.next_error(&name, &text);
                let nth = *nth;
                new.push(Call {
                    name,
                    nth,
                    text,
                    error,
                });
            }
        }
        eprintln!("{}: {} calls", args.join(" "), new.len());
        (new, output)
    }

    fn next_error(&mut self, name: &str, text: &str) -> (&'static str, &'static str) {
        let interrupts = INTERRUPTED.split(',').any(|call| call == name);
        let fitting = if interrupts && !text.contains("O_DIRECTORY") {
            &ERRORS[..]
        } else {
            &ERRORS[..5]
        };
        let turn = self.errors.entry(name.to_owned()).or_default();
        *turn += 1;
        fitting[(*turn - 1) % fitting.len()]
    }
}

/// Runs a command in which this call fails. Answers which one did, if it came to any: how often the
/// kernel is asked for the next program depends on what others have loaded, and so does which call
/// is the nth.
#[track_caller]
pub(crate) fn failing(sandbox: &Sandbox, args: &[String], call: &Call) -> (Output, Option<Call>) {
    let inject = format!(
        "inject={}:error={}:when={}",
        call.name, call.error.0, call.nth
    );
    let output = strace(sandbox, args, Some(&inject));
    let trace = fs::read_to_string(TRACE).unwrap();
    let failed = trace.lines().find(|line| line.contains("(INJECTED)"));
    let failed = failed.and_then(|line| calls_of(line).next());
    let failed = failed.map(|(_, text)| Call {
        text,
        ..call.clone()
    });
    (output, failed)
}

/// Runs a command in which every call that can be interrupted is, once.
#[track_caller]
pub(crate) fn interrupted(sandbox: &Sandbox, args: &[String]) -> Output {
    // The dynamic linker does not try again: its calls come first.
    let mut first = BTreeMap::new();
    strace(sandbox, &["list".into()], None).ok();
    for (name, _) in calls_of(&fs::read_to_string(TRACE).unwrap()) {
        if name == "poll" {
            break;
        }
        *first.entry(name).or_insert(1) += 1;
    }
    // libbpf begins its load again as a whole: it would never come to an end.
    let ours = INTERRUPTED.split(',').filter(|name| *name != "bpf");
    let rules = ours.map(|name| {
        let first = first.get(name).copied().unwrap_or(1);
        format!("inject={name}:error=EINTR:when={first}+2")
    });
    let rules: Vec<_> = rules.collect();
    let output = strace(sandbox, args, Some(&rules.join("\n")));
    let trace = fs::read_to_string(TRACE).unwrap();
    let count = trace.matches("(INJECTED)").count();
    eprintln!("{count} calls were interrupted");
    assert!(count > 0, "{trace}");
    output
}

/// Runs a command with some rules of `-e inject`, one a line.
#[track_caller]
fn strace(sandbox: &Sandbox, args: &[String], rules: Option<&str>) -> Output {
    let command = sandbox.command(args);
    let mut words = vec!["-s", "KILL", LIMIT, "strace", "-f", "--seccomp-bpf", "-qq"];
    let trace = format!("trace={CALLS}");
    words.extend(["-e", "signal=none", "-e", &trace, "-o", TRACE]);
    for rule in rules.into_iter().flat_map(str::lines) {
        words.extend(["-e", rule]);
    }
    let mut command_line: Vec<_> = words.into_iter().map(std::ffi::OsStr::new).collect();
    command_line.push(command.get_program());
    command_line.extend(command.get_args());
    let output = Output::quietly(&mut sandbox.program(Path::new("timeout"), command_line));
    assert!(
        output.status < 128 && output.status != 124,
        "killed, or it hung: {output}"
    );
    output
}

/// Name and text of the calls of the first process, in their order.
fn calls_of(trace: &str) -> impl Iterator<Item = (String, String)> {
    let first = trace.split(' ').next().unwrap_or_default().to_owned();
    trace.lines().filter_map(move |line| {
        let (process, call) = line.split_once(' ')?;
        let call = call.trim_start();
        let (name, _) = call.split_once('(')?;
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let text = call.rsplit_once(" = ").map_or(call, |(text, _)| text);
        (process == first && is_name).then(|| (name.to_owned(), text.trim_end().to_owned()))
    })
}

/// A call without the numbers in it: ids, descriptors, addresses.
fn pattern(text: &str) -> String {
    let mut pattern = String::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if !char.is_ascii_digit() {
            pattern.push(char);
            continue;
        }
        while chars
            .next_if(|next| next.is_ascii_hexdigit() || *next == 'x')
            .is_some()
        {}
        pattern.push('#');
    }
    pattern
}

#[test]
fn numbers_do_not_tell_calls_apart() {
    assert_eq!(
        pattern("bpf(A_B, {fd=17, at=0x7ffdab}, 168)"),
        "bpf(A_B, {fd=#, at=#}, #)"
    );
    let trace = "7 openat(AT_FDCWD, \"/x\") = 3\n8 read(3) = 1\n7 +++ exited +++\n7 write(1) = -1 EIO (INJECTED)\n";
    let names: Vec<_> = calls_of(trace).map(|(name, _)| name).collect();
    assert_eq!(names, ["openat", "write"]);
}
