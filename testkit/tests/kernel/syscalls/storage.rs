//! The disk: full for real, or failing in the middle of a pull.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use testkit::{
    Lane, Load, Sandbox,
    servers::{Options, Registry},
    tool,
};

use super::{
    strace::{Seen, failing, interrupted},
    stride,
};
use crate::support::{ingress, tc, xdp};

/// A disk of this size at `at`.
fn disk(at: &str, size: &str) {
    fs::create_dir_all(at).unwrap();
    let options = format!("size={size},mode=700");
    tool("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", at]).ok();
}

/// Takes all that is left of a disk. Answers the file that holds it.
fn fill(disk: &str) -> String {
    let filler = format!("{disk}/filler");
    // It stops where the disk is full.
    let error = fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    filler
}

#[test]
fn a_runtime_root_that_is_full() {
    let sandbox = Sandbox::new();
    let (one, two) = (sandbox.veth(), sandbox.veth());
    disk("/run/bpfman", "64k");
    let id = sandbox.load(&xdp("pass").xdp(&one.name));
    let more = tc("ok").tc("ingress", &two.name);
    let filler = fill("/run/bpfman");
    sandbox.unchanged(|| {
        let output = sandbox.try_load(&more);
        output.fails(1, &["/run/bpfman/", "no space left on device"]);
        let unload = sandbox.bpfman(["unload", &id.to_string()]);
        unload.fails(1, &["/run/bpfman/", "no space left on device"]);
    });
    assert_eq!(sandbox.ids(), [id]);
    sandbox.get(id);
    assert_eq!(ingress(&sandbox, &one, 3, &[id]), (vec![3], 3));
    fs::remove_file(filler).unwrap();
    sandbox.unload(sandbox.load(&more));
    sandbox.unload(id);
    tool("umount", &["-l", "/run/bpfman"]).ok();
}

/// An image of an object in a registry.
fn pushed(sandbox: &Sandbox, registry: &Registry) -> (String, Load) {
    let from = xdp("pass");
    let url = registry.build(sandbox, "xdp/pass:1", &from.path);
    let load = from.of_image(&url);
    (url, load)
}

/// Files that are being written.
fn unfinished() -> usize {
    fs::read_dir("/run/images/tmp").map_or(0, Iterator::count)
}

#[test]
fn an_image_store_that_is_full() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let registry = Registry::start(&sandbox, &Options::default());
    let (url, load) = pushed(&sandbox, &registry);
    let load = load.xdp(&veth.name);
    let _ = fs::remove_dir_all("/run/images");
    disk("/run/images", "16k");
    let filler = fill("/run/images");
    sandbox.unchanged(|| {
        sandbox
            .bpfman(["image", "pull", "-i", &url])
            .fails(1, &["no space left on device"]);
        sandbox
            .try_load(&load)
            .fails(1, &["no space left on device"]);
    });
    assert_eq!(unfinished(), 0);
    assert_eq!(sandbox.bpfman(["image", "list", "-o", "id"]).ok(), "");
    // Enough for a beginning.
    fs::remove_file(filler).unwrap();
    sandbox
        .bpfman(["image", "pull", "-i", &url])
        .fails(1, &["no space left on device"]);
    assert_eq!(unfinished(), 0);
    // What got its place before is whole, but has no name.
    sandbox
        .bpfman(["image", "pull", "-p", "Never", "-i", &url])
        .fails(
            1,
            &["neither the image store nor a container runtime has it"],
        );
    sandbox.bpfman(["image", "list"]).ok();
    tool("mount", &["-o", "remount,size=1m", "/run/images"]).ok();
    sandbox.unload(sandbox.load(&load));
}

/// The file system fails while an image is fetched: it is in the store as a whole or not at all.
#[test]
fn a_pull() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    let (url, _) = pushed(&sandbox, &registry);
    let pull = ["image", "pull", "-o", "id", "-i", &url].map(ToOwned::to_owned);
    let list = || sandbox.bpfman(["image", "list", "-o", "id"]).ok();
    let fresh = || {
        if Path::new("/run/images").exists() {
            fs::remove_dir_all("/run/images").unwrap();
        }
    };
    fresh();
    let (calls, output) = Seen::default().calls(&sandbox, &pull, 2 * stride(Lane::Host));
    let image = output.ok();
    let mut wrong = Vec::new();
    for call in &calls {
        fresh();
        let (output, failed) = failing(&sandbox, &pull, call);
        let call = failed.as_ref().unwrap_or(call);
        eprintln!("--- {call}\n{output}");
        let judge = || {
            if output.status == 0 {
                assert_eq!(output.stdout, image);
            } else {
                call.explained(&output);
            }
            let listed = list();
            assert!(
                listed == image || listed.is_empty() && output.status == 1,
                "{listed}"
            );
            assert_eq!(unfinished(), 0);
            assert_eq!(sandbox.bpfman(&pull).ok(), image);
        };
        if catch_unwind(AssertUnwindSafe(judge)).is_err() {
            wrong.push(call.to_string());
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        calls.len(),
        wrong.join("\n")
    );
    fresh();
    assert_eq!(interrupted(&sandbox, &pull).ok(), image);
}
