//! Images built and pushed by a container runtime, from a Containerfile.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, PipeReader, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use model::{ImageReference, is_loopback};

use super::{Arch, Bytecode, Entry, Error};

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
    let push = ["push".into(), job.tag.to_string().into()];
    if let [arch] = *plan.platforms {
        job.step("docker", plan.docker(job, arch))?;
        return job.step("docker", push);
    }
    if !asks("docker", &["buildx", "version"])? {
        return Err(Error::NoBuildx);
    }
    let platforms: Vec<_> = plan.platforms.iter().map(|arch| platform(*arch)).collect();
    let mut args = words(&["buildx", "build", "--push", "--platform"]);
    args.push(platforms.join(",").into());
    plan.extend(job, &mut args, Some(job.tag));
    job.step("docker", args)
}

/// Builds with Podman and pushes. Of several platforms the host's image keeps the name here.
pub fn podman(job: &Job<'_>) -> Result<(), Error> {
    let plan = Plan::of(job)?;
    let tag = job.tag.to_string();
    if let [arch] = *plan.platforms {
        job.step("podman", plan.podman(job, arch, None))?;
        return job.step("podman", push_with_podman(job, &["push"], &tag));
    }
    let dir = tempfile::tempdir().map_err(|source| Error::Write {
        path: env::temp_dir(),
        source,
    })?;
    // While there is a list, Podman 4.3 may fail to list images: this one does not stay.
    let list = format!("localhost/bpfman-build:{}", std::process::id());
    let mut create = words(&["manifest", "create", &list]);
    let mut own = None;
    for arch in &plan.platforms {
        let id_file = dir.path().join(arch.name());
        job.step("podman", plan.podman(job, *arch, Some(&id_file)))?;
        let id = fs::read_to_string(&id_file).map_err(|_| Error::NoImageId {
            step: "podman build".to_owned(),
        })?;
        let id = id.trim().trim_start_matches("sha256:");
        create.push(format!("containers-storage:{id}").into());
        if Arch::host() == Some(*arch) {
            own = Some(words(&["tag", id, &tag]));
        }
    }
    let verb = ["manifest", "push", "--all", "--format", "oci"];
    let pushed = job
        .step("podman", create)
        .and_then(|()| job.step("podman", push_with_podman(job, &verb, &list)));
    let removed = asks("podman", &["manifest", "rm", &list]);
    pushed?;
    if !removed? {
        log::warn!("podman keeps the list of images {list}");
    }
    own.map_or(Ok(()), |tag| job.step("podman", tag))
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
        args.extend(target_arch(arch));
        self.extend(job, &mut args, Some(job.tag));
        args
    }

    fn podman(&self, job: &Job<'_>, arch: Arch, id_file: Option<&Path>) -> Vec<OsString> {
        // Without Buildah's own label the labels are the same, whatever builds the image.
        let mut args = words(&["build", "--identity-label=false"]);
        if Arch::host() != Some(arch) {
            args.extend(["--platform".into(), platform(arch).into()]);
        }
        if let Some(id_file) = id_file {
            args.extend(["--iidfile".into(), id_file.into()]);
        }
        args.extend(target_arch(arch));
        self.extend(job, &mut args, id_file.is_none().then_some(job.tag));
        args
    }

    fn extend(&self, job: &Job<'_>, args: &mut Vec<OsString>, tag: Option<&ImageReference>) {
        for (name, value) in &self.build_args {
            args.push("--build-arg".into());
            let mut pair = OsString::from(name);
            pair.push("=");
            pair.push(value);
            args.push(pair);
        }
        if let Some(tag) = tag {
            args.extend(["-t".into(), tag.to_string().into()]);
        }
        args.extend(["-f".into(), job.container_file.into(), ".".into()]);
    }
}

/// Docker's older builder does not tell a Containerfile the machine; Buildah does, and decides
/// without it which stages are needed.
fn target_arch(arch: Arch) -> [OsString; 2] {
    let pair = format!("TARGETARCH={arch}");
    ["--build-arg".into(), pair.into()]
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
    fn step(
        &self,
        runtime: &'static str,
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<(), Error> {
        let args: Vec<_> = args.into_iter().collect();
        let mut command = command(runtime);
        command.args(&args);
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
        let mut output = Vec::new();
        if let Some(mut reader) = kept {
            reader.read_to_end(&mut output).map_err(&start)?;
        }
        let status = child.wait().map_err(&start)?;
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
