//! What a pull shows while it lasts, what it leaves when it is stopped, and what it takes.

use std::{
    fs,
    io::Read as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use testkit::{
    Output, Sandbox, example,
    oci::{Image, write_layout},
    servers::{Gate, Options, Registry},
    tool, wait_until,
};

use crate::support::{json, pull, stored, under, with_environment};

/// Bytes that no compression makes smaller, behind an object: an image of that size.
fn large(sandbox: &Sandbox, megabytes: u32) -> Image {
    let dir = sandbox.tmp().join("large");
    fs::create_dir_all(&dir).unwrap();
    let file = dir.join("large.bpf.o");
    let object = example("xdp_pass").path;
    let line = format!("(cat \"$0\"; head -c {megabytes}M /dev/urandom) >\"$1\"");
    let (from, to) = (object.to_string_lossy(), file.to_string_lossy());
    tool("sh", &["-c", &line, &from, &to]).ok();
    let mut image = Image::of_file(&file);
    image.layer = testkit::oci::filter(&image.layer, "gzip -1 -c");
    image.layer_type += "+gzip";
    image
}

/// A registry with the image `a`, and a gate that stops in the middle of its layer.
fn slow(sandbox: &Sandbox) -> (Registry, Gate, String) {
    let registry = Registry::start(sandbox, &Options::default());
    let layout = write_layout(&sandbox.tmp().join("layout"), &[large(sandbox, 2)]);
    registry.push(&layout, "a", &["--preserve-digests"]);
    let gate = Gate::new(registry.port(), 1 << 20);
    let url = format!("{}/a", gate.host());
    (registry, gate, url)
}

#[test]
fn one_line_where_there_is_no_terminal() {
    let sandbox = Sandbox::new();
    let (_registry, gate, url) = slow(&sandbox);
    gate.open();
    let output = pull(&sandbox, &url, &[]);
    assert_eq!(output.stderr, format!("downloading {url} (2.00 MiB)\n"));
    assert_eq!(output.ok(), "Successfully downloaded bytecode\n");
    // Nothing is downloaded, nothing is said of it.
    let output = pull(&sandbox, &url, &["-p", "Always"]);
    assert_eq!(output.stderr, "");
    sandbox.bpfman(["image", "prune", "--all"]).ok();
    let output = sandbox.bpfman(["--quiet", "image", "pull", "-i", &url, "-o", "id"]);
    assert_eq!(output.stderr, "");
    assert!(output.ok().starts_with("sha256:"));
}

/// A command on a terminal of its own, whose output is in a file.
fn on_terminal(command: &Command, transcript: &Path) -> Child {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let line = format!("stty cols 120; exec {}", line.join(" "));
    let mut script = Command::new("script");
    script.args(["-qefc", &line]).arg(transcript);
    with_environment(&mut script, command);
    script.env("TERM", "xterm");
    script.stdin(Stdio::null()).stdout(Stdio::null());
    script.spawn().unwrap()
}

fn read(transcript: &Path) -> String {
    let bytes = fs::read(transcript).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_bar_on_a_terminal() {
    let sandbox = Sandbox::new();
    let (_registry, gate, url) = slow(&sandbox);
    let transcript = sandbox.tmp().join("transcript");
    let command = sandbox.command(["image", "pull", "-i", &url]);
    let mut child = on_terminal(&command, &transcript);
    gate.wait_held();
    let bar = || {
        let text = read(&transcript);
        let parts = [&url, "[", "/2.00 MiB", "/s", "left"];
        parts.iter().all(|part| text.contains(*part))
    };
    assert!(wait_until(bar), "{}", read(&transcript));
    gate.open();
    assert!(child.wait().unwrap().success());
    // The bar is gone in the end, and the result stands on a line of its own.
    let text = read(&transcript);
    let last = text.rsplit_once("\x1b[2K").unwrap().1;
    assert!(
        last.contains("Successfully downloaded bytecode\r\n"),
        "{text:?}"
    );
    assert!(!last.contains("left"), "{text:?}");

    sandbox.bpfman(["image", "prune", "--all"]).ok();
    let command = sandbox.command(["--quiet", "image", "pull", "-i", &url]);
    assert!(on_terminal(&command, &transcript).wait().unwrap().success());
    let text = read(&transcript);
    assert!(!text.contains("MiB") && !text.contains('\x1b'), "{text:?}");
}

/// `^C` in the middle of a download.
#[test]
fn an_interrupt_leaves_nothing() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let (_registry, gate, url) = slow(&sandbox);
    for args in [
        &["image", "pull", "-i", &url][..],
        &["load", "image", "-i", &url, "xdp", "-i", &veth.name],
    ] {
        let gate_before = stored(&sandbox);
        assert_eq!(gate_before, [""; 0]);
        sandbox.unchanged(|| {
            let mut command = sandbox.command(args);
            let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
            // It says so once the download runs.
            let mut said = [0; 11];
            child
                .stderr
                .as_mut()
                .unwrap()
                .read_exact(&mut said)
                .unwrap();
            assert_eq!(&said, b"downloading");
            gate.wait_held();
            tool("kill", &["-INT", &child.id().to_string()]).ok();
            let status = child.wait().unwrap();
            assert!(!status.success());
        });
        assert_eq!(stored(&sandbox), [""; 0]);
        assert_eq!(json(&sandbox, &["image", "list"]), serde_json::json!([]));
    }
    // What was held up does not hold up the next one.
    gate.open();
    pull(&sandbox, &url, &[]).ok();
}

/// However large the layer is, little of it is in memory at any time.
#[test]
fn memory_of_a_large_layer() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    let layout = write_layout(&sandbox.tmp().join("layout"), &[large(&sandbox, 60)]);
    registry.push(&layout, "a", &["--preserve-digests"]);
    fs::remove_dir_all(layout).unwrap();
    let bpfman = sandbox.command(["image", "pull", "-i", &registry.image("a"), "-o", "id"]);
    let time = ["time", "-f", "%M", "-o", "/run/test/peak"];
    Output::of(&mut under(&time, &bpfman)).ok();
    let text = fs::read_to_string("/run/test/peak").unwrap();
    let peak: u64 = text.trim().parse().unwrap();
    println!("peak of a pull of 60 MB: {peak} KiB");
    assert!(peak < 40 << 10, "{peak} KiB");
    let images = json(&sandbox, &["image", "list"]);
    assert!(images[0]["object_size_bytes"].as_u64().unwrap() > 60 << 20);
}
