//! What an image of a local runtime costs. Run by `cargo xtask bench`, which reads the lines.

use std::time::{Duration, Instant};

use testkit::{
    Load, Output, Sandbox, object,
    servers::{Containerd, Dockerd, Podman},
};

use super::{Runtime, command, forget};

const RUNS: usize = 21;
const IMAGE: &str = "bench:dev";

/// From the command's start to its end: found, checked, loaded and attached.
fn load(sandbox: &Sandbox, runtime: &Runtime) -> Duration {
    let words = "load image -o id --image-url bench:dev tracepoint -t syscalls/sys_enter_openat";
    let words: Vec<&str> = words.split(' ').collect();
    let mut load = command(sandbox, &[runtime], &words);
    let start = Instant::now();
    let output = load.output().unwrap();
    let took = start.elapsed();
    assert!(output.status.success(), "{output:?}");
    let id = String::from_utf8(output.stdout).unwrap();
    Output::of(&mut command(sandbox, &[], &["unload", id.trim()])).ok();
    took
}

fn median(mut run: impl FnMut() -> Duration) -> u128 {
    let mut times: Vec<Duration> = (0..RUNS).map(|_| run()).collect();
    times.sort_unstable();
    times[RUNS / 2].as_micros()
}

#[test]
#[ignore = "a measurement: cargo xtask bench"]
fn local_images() {
    let sandbox = Sandbox::new();
    let object: Load = object("tracepoint_nobtf");
    for start in [
        |sandbox: &Sandbox| Runtime::Docker(Dockerd::start(sandbox)),
        |sandbox: &Sandbox| Runtime::Storage(Podman::new(sandbox)),
        Runtime::service,
        |sandbox: &Sandbox| Runtime::Containerd(Containerd::start(sandbox)),
    ] {
        let runtime = start(&sandbox);
        runtime.build(&sandbox, &object, IMAGE);
        let fresh = median(|| {
            forget(&sandbox);
            load(&sandbox, &runtime)
        });
        let kept = median(|| load(&sandbox, &runtime));
        forget(&sandbox);
        let name = match &runtime {
            Runtime::Storage(_) => "podman (no socket)",
            other => other.name(),
        };
        println!("\nfigure\t{name}\t{fresh}\t{kept}");
    }
}
