//! Images built and pushed by a container runtime, from a Containerfile.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, PipeReader, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use model::{ImageReference, is_loopback};

use super::{Arch, Bytecode, Entry, Error, hold::Hold};

/// What a runtime is to build and push.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Name of the image.
    pub tag: &'a ImageReference,
    /// How to make it. Its context is the current directory.
    pub container_file: &'a Path,
    /// What goes into it.
    pub bytecode: &'a Bytecode,
    /// Keep what the runtime says for the case that it fails; otherwise it goes to stderr.
    pub quiet: bool,
}

/// Builds with Docker and pushes. Several platforms need its buildx plugin.
pub fn docker(job: &Job<'_>) -> Result<(), Error> {
    let plan = Plan::of(job)?;
    let hold = Hold::new()?;
    let run = |args: Vec<_>| job.step(&hold, "docker", &args);
    let work = || {
        if let [arch] = *plan.platforms {
            run(plan.docker(job, arch))?;
            return run(words(&["push", &job.tag.to_string()]));
        }
        if !asks("docker", &["buildx", "version"])? {
            return Err(Error::NoBuildx);
        }
        run(plan.buildx(job))
    };
    hold.finish(work())
}

/// Builds with Podman and pushes. Of several platforms the host's image keeps the name here.
pub fn podman(job: &Job<'_>) -> Result<(), Error> {
    let plan = Plan::of(job)?;
    let hold = Hold::new()?;
    let run = |args: Vec<_>| job.step(&hold, "podman", &args);
    let work = || {
        let tag = job.tag.to_string();
        if let [arch] = *plan.platforms {
            run(plan.podman(job, arch, &["--tag", &tag]))?;
            return run(push_with_podman(job, &["push"], &tag));
        }
        let list = List::new();
        for arch in &plan.platforms {
            let own = Arch::host() == Some(*arch);
            let names = ["--manifest", &list.0, "--tag", &tag];
            let names = if own { &names[..] } else { &names[..2] };
            run(plan.podman(job, *arch, names))?;
        }
        let verb = ["manifest", "push", "--all", "--format", "oci"];
        run(push_with_podman(job, &verb, &list.0))
    };
    hold.finish(work())
}

/// A name for the images of all platforms. While Podman 4.3 has such a list it may fail to list
/// images, so this one does not stay.
struct List(String);

impl List {
    fn new() -> Self {
        Self(format!("localhost/bpfman-build:{}", std::process::id()))
    }
}

impl Drop for List {
    fn drop(&mut self) {
        let verb = |verb| asks("podman", &["manifest", verb, &self.0]);
        if matches!(verb("exists"), Ok(true)) && !matches!(verb("rm"), Ok(true)) {
            log::warn!("podman keeps the list of images {}", self.0);
        }
    }
}

fn push_with_podman(job: &Job<'_>, verb: &[&str], what: &str) -> Vec<OsString> {
    let mut args = words(verb);
    // As Docker does it: no certificate is asked of this very machine, and HTTP will do.
    if is_loopback(job.tag.registry()) {
        args.push("--tls-verify=false".into());
    }
    args.push(what.into());
    args.push(format!("docker://{}", job.tag.canonical()).into());
    args
}

/// The parts of a command line that the runtimes share.
struct Plan {
    platforms: Vec<Arch>,
    build_args: Vec<(String, OsString)>,
}

impl Plan {
    fn of(job: &Job<'_>) -> Result<Self, Error> {
        File::open(job.container_file).map_err(|source| Error::ContainerFile {
            path: job.container_file.to_owned(),
            source,
        })?;
        let entries = &job.bytecode.entries;
        let platforms: Result<_, _> = entries.iter().map(Entry::platform).collect();
        let mut build_args = Vec::with_capacity(entries.len() + 2);
        for entry in entries {
            build_args.push((entry.build_arg(), in_context(&entry.path)?.into_os_string()));
        }
        build_args.extend(job.bytecode.label_args());
        Ok(Self {
            platforms: platforms?,
            build_args,
        })
    }

    fn docker(&self, job: &Job<'_>, arch: Arch) -> Vec<OsString> {
        let mut args = words(&["build"]);
        if Arch::host() != Some(arch) {
            args.extend(["--platform".into(), platform(arch).into()]);
        }
        args.extend(self.target_arch(arch));
        for (name, value) in self.other_machines(arch) {
            build_arg(&mut args, &name, value);
        }
        args.extend(["--tag".into(), job.tag.to_string().into()]);
        self.extend(job, &mut args);
        args
    }

    /// The object once more for each machine that has none: Docker's older builder builds the
    /// stages of all of them, and copies the whole context where no file is named.
    fn other_machines(&self, own: Arch) -> impl Iterator<Item = (String, &OsString)> {
        let object = self.build_args.first();
        let object = object.filter(|(name, _)| *name == own.build_arg());
        object.into_iter().flat_map(move |(_, path)| {
            let others = Arch::ALL.into_iter().filter(move |arch| *arch != own);
            others.map(move |arch| (arch.build_arg(), path))
        })
    }

    /// Docker's older builder does not tell a Containerfile the machine; Buildah does, and decides
    /// without it which stages are needed. A Containerfile for one object has no stages.
    fn target_arch(&self, arch: Arch) -> Vec<OsString> {
        let mut args = Vec::new();
        if self
            .build_args
            .iter()
            .any(|(name, _)| *name == arch.build_arg())
        {
            build_arg(&mut args, "TARGETARCH", arch.name());
        }
        args
    }

    fn buildx(&self, job: &Job<'_>) -> Vec<OsString> {
        let platforms: Vec<_> = self.platforms.iter().map(|arch| platform(*arch)).collect();
        let mut args = words(&["buildx", "build", "--push", "--platform"]);
        args.push(platforms.join(",").into());
        args.extend(["--tag".into(), job.tag.to_string().into()]);
        self.extend(job, &mut args);
        args
    }

    fn podman(&self, job: &Job<'_>, arch: Arch, names: &[&str]) -> Vec<OsString> {
        // Without Buildah's own label the labels are the same, whatever builds the image.
        let mut args = words(&["build", "--identity-label=false"]);
        if Arch::host() != Some(arch) {
            args.extend(["--platform".into(), platform(arch).into()]);
        }
        args.extend(words(names));
        args.extend(self.target_arch(arch));
        self.extend(job, &mut args);
        args
    }

    fn extend(&self, job: &Job<'_>, args: &mut Vec<OsString>) {
        for (name, value) in &self.build_args {
            build_arg(args, name, value);
        }
        args.extend(["-f".into(), job.container_file.into(), ".".into()]);
    }
}

fn build_arg(args: &mut Vec<OsString>, name: &str, value: impl AsRef<OsStr>) {
    let mut pair = OsString::from(name);
    pair.push("=");
    pair.push(value);
    args.extend(["--build-arg".into(), pair]);
}

fn platform(arch: Arch) -> String {
    format!("linux/{arch}")
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// The path as the context has it, with nothing in it that leads out.
fn in_context(path: &Path) -> Result<PathBuf, Error> {
    let file = path.canonicalize();
    let context = Path::new(".").canonicalize();
    file.ok()
        .zip(context.ok())
        .and_then(|(file, context)| Some(file.strip_prefix(context).ok()?.to_owned()))
        .ok_or_else(|| Error::OutsideContext {
            path: path.to_owned(),
        })
}

fn command(runtime: &'static str) -> Command {
    let mut command = Command::new(runtime);
    command.stdin(Stdio::null());
    // Attestations would be one more image in the index, for a platform named 'unknown'.
    command.env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1");
    command
}

fn failed_to_start(runtime: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| match source.kind() {
        io::ErrorKind::NotFound => Error::NoRuntime { runtime },
        _ => Error::Spawn { runtime, source },
    }
}

/// Whether a command that changes nothing succeeds.
fn asks(runtime: &'static str, args: &[&str]) -> Result<bool, Error> {
    let mut command = command(runtime);
    command
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = command.status().map_err(failed_to_start(runtime))?;
    Ok(status.success())
}

impl Job<'_> {
    /// Runs one command to its end.
    fn step(&self, hold: &Hold, runtime: &'static str, args: &[OsString]) -> Result<(), Error> {
        hold.check()?;
        let mut command = command(runtime);
        command.args(args);
        // The older builder does not build for other machines.
        if args.iter().any(|arg| arg == "--platform") && env::var_os("DOCKER_BUILDKIT").is_none() {
            command.env("DOCKER_BUILDKIT", "1");
        }
        log::debug!("{command:?}");
        let start = failed_to_start(runtime);
        let kept = if self.quiet {
            Some(keep(&mut command).map_err(&start)?)
        } else {
            command.stdout(io::stderr()).stderr(Stdio::inherit());
            None
        };
        let mut child = command.spawn().map_err(&start)?;
        // Its ends of the pipe are held by the command as well, and would keep it open.
        drop(command);
        hold.watch(&child).map_err(&start)?;
        let mut output = Vec::new();
        if let Some(mut reader) = kept {
            reader.read_to_end(&mut output).map_err(&start)?;
        }
        let status = hold.wait(&mut child).map_err(&start)?;
        // Podman succeeds when SIGTERM ends its push.
        hold.check()?;
        if status.success() {
            return Ok(());
        }
        let verb = args.iter().take_while(|arg| is_verb(arg));
        let verb = verb.filter_map(|arg| arg.to_str());
        Err(Error::Step {
            step: [runtime]
                .into_iter()
                .chain(verb)
                .collect::<Vec<_>>()
                .join(" "),
            status,
            output: String::from_utf8_lossy(&output).into_owned(),
        })
    }
}

fn is_verb(arg: &OsString) -> bool {
    arg.as_encoded_bytes().iter().all(u8::is_ascii_lowercase)
}

/// Both streams of a command, in the order in which it writes.
fn keep(command: &mut Command) -> io::Result<PipeReader> {
    let (reader, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    Ok(reader)
}
