//! Layers that are no honest tar with one object.

use serde_json::json;
use testkit::{example, object, oci};

use super::{Parts, Trial};

const FILE: u8 = b'0';
const FOLDER: u8 = b'5';

/// The end of an archive.
const END: [u8; 1024] = [0; 1024];

/// A header that says this size, whatever follows.
fn header(name: &[u8], kind: u8, size: u64) -> Vec<u8> {
    let mut header = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(100, b"0000644\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, b"/etc/passwd");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// An entry as a tar has it.
fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut entry = header(name.as_bytes(), kind, content.len() as u64);
    entry.extend_from_slice(content);
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

/// A tar of entries.
fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut tar = entries.concat();
    tar.extend_from_slice(&END);
    tar
}

fn elf() -> Vec<u8> {
    std::fs::read(example("xdp_counter").path).unwrap()
}

fn refused(trial: &Trial, layer: Vec<u8>, fragments: &[&str]) {
    trial.refused(&Parts::of_layer(layer), fragments);
}

#[test]
fn paths_that_lead_elsewhere() {
    let trial = Trial::new();
    let out = "a path that leads out of it";
    for name in ["../x.o", "/etc/x.o", "a/../../x.o", "..", "./../x.o"] {
        refused(&trial, tar(&[entry(name, FILE, &elf())]), &[out, name]);
    }
    // Folders as well, and behind a good file.
    let good = entry("x.o", FILE, &elf());
    let layer = tar(&[good.clone(), entry("../evil/", FOLDER, b"")]);
    refused(&trial, layer, &[out, "../evil/"]);
    // Names that do not fit into a header, in both forms.
    let long = tar(&[entry("././@LongLink", b'L', b"../long.o\0"), good.clone()]);
    refused(&trial, long, &[out, "../long.o"]);
    let pax = tar(&[entry("pax", b'x', b"17 path=../pax.o\n"), good]);
    refused(&trial, pax, &[out, "../pax.o"]);
}

#[test]
fn entries_that_are_no_files() {
    let trial = Trial::new();
    for (kind, said) in [
        (b'1', "a hard link"),
        (b'2', "a symbolic link"),
        (b'3', "a device"),
        (b'4', "a device"),
        (b'6', "a pipe"),
        (b'S', "a sparse file"),
        (b'M', "neither a file nor a folder"),
        (b'V', "neither a file nor a folder"),
    ] {
        refused(&trial, tar(&[entry("x.o", kind, b"")]), &["'x.o'", said]);
        let behind = tar(&[entry("x.o", FILE, &elf()), entry("y", kind, b"")]);
        refused(&trial, behind, &["'y'", said]);
    }
    let sparse = entry("pax", b'x', b"22 GNU.sparse.major=1\n");
    let layer = tar(&[sparse, entry("x.o", FILE, &elf())]);
    refused(&trial, layer, &["a form that is not supported"]);
    let whiteout = tar(&[entry(".wh.x.o", FILE, &elf())]);
    refused(&trial, whiteout, &["'.wh.x.o'", "removes a file"]);
    let opaque = tar(&[entry("x.o", FILE, &elf()), entry(".wh..wh..opq", FILE, b"")]);
    refused(&trial, opaque, &["removes a file"]);
}

#[test]
fn not_one_object_at_the_root() {
    let trial = Trial::new();
    refused(&trial, tar(&[]), &["no object file"]);
    refused(
        &trial,
        tar(&[entry("d/", FOLDER, b"")]),
        &["no object file"],
    );
    let nested = tar(&[entry("a/b/c/x.o", FILE, &elf())]);
    refused(&trial, nested, &["'a/b/c/x.o'", "must be at the root"]);
    let two = tar(&[entry("x.o", FILE, &elf()), entry("y.o", FILE, &elf())]);
    refused(&trial, two, &["several files", "'x.o'", "'y.o'"]);
    let same = tar(&[entry("x.o", FILE, &elf()), entry("./x.o", FILE, &elf())]);
    refused(&trial, same, &["several files"]);
}

#[test]
fn names_do_not_speak_to_the_terminal() {
    let trial = Trial::new();
    let name = "\x1b]0;evil\x07\x1b[2Jx.o";
    let two = tar(&[entry(name, FILE, &elf()), entry("\r\ny", FILE, b"")]);
    refused(&trial, two, &["control characters"]);
    refused(
        &trial,
        tar(&[entry(name, FILE, &elf())]),
        &["control characters"],
    );
}

#[test]
fn files_that_are_no_object_for_this_machine() {
    let trial = Trial::new();
    for (content, said) in [
        (&b""[..], "empty"),
        (b"#!/bin/sh\n", "ELF"),
        (b"\x7fELF", "ELF"),
        (&elf()[..100], "truncated"),
    ] {
        refused(&trial, tar(&[entry("x.o", FILE, content)]), &[said]);
    }
    let machine = std::fs::read("/bin/true").unwrap();
    refused(&trial, tar(&[entry("x.o", FILE, &machine)]), &["eBPF"]);
    let foreign = oci::tar(&object("old_maps_bpfeb").path);
    refused(&trial, foreign, &["big-endian"]);
    // Larger than what is parsed as soon as it comes.
    let mut large = std::fs::read(object("old_maps_bpfeb").path).unwrap();
    large.resize(5 << 20, 0);
    refused(&trial, tar(&[entry("x.o", FILE, &large)]), &["big-endian"]);
}

#[test]
fn damaged_archives() {
    let trial = Trial::new();
    let damaged = "its layer is damaged";
    let plain = oci::tar(&example("xdp_counter").path);
    for layer in [
        plain[..300].to_vec(),
        plain[..2000].to_vec(),
        b"this is no tar, whatever its type says; it only has to be longer than a header".repeat(9),
        [header(b"x.o", FILE, 1 << 20), elf()].concat(),
        header(b"x.o", FILE, u64::from(u32::MAX)),
        tar(&[
            entry("././@LongLink", b'L', &[b'a'; 5000]),
            entry("x", FILE, &elf()),
        ]),
        tar(&[
            entry("pax", b'x', &b"a".repeat(70_000)),
            entry("x.o", FILE, &elf()),
        ]),
        tar(&[
            entry("pax", b'x', b"99 path=x\n"),
            entry("x.o", FILE, &elf()),
        ]),
    ] {
        let kind = if layer.len() == 512 {
            "are allowed"
        } else {
            damaged
        };
        refused(&trial, layer, &[kind]);
    }
    let mut checksum = plain.clone();
    checksum[0] ^= 1;
    refused(&trial, checksum, &[damaged]);
    for packer in ["gzip -c", "zstd -c --check"] {
        let packed = oci::filter(&plain, packer);
        let cut = packed.len();
        for end in [cut / 2, cut - 1, cut - 4, 20, 5] {
            refused(&trial, packed[..end].to_vec(), &[damaged]);
        }
        let mut flipped = packed.clone();
        flipped[cut / 2] ^= 0xff;
        refused(&trial, flipped, &[damaged]);
        let mut checksum = packed.clone();
        checksum[cut - if packer.starts_with("gzip") { 8 } else { 1 }] ^= 0xff;
        refused(&trial, checksum, &[damaged]);
        refused(&trial, oci::filter(&packed, packer), &[damaged]);
        refused(&trial, [&packed[..], b"rubbish"].concat(), &[damaged]);
    }
}

#[test]
fn bombs() {
    let trial = Trial::new();
    let plain = oci::tar(&example("xdp_counter").path);
    // 100 MB of nothing: behind the archive, in an object, and in an object that says so.
    let tail = |packer: &str| format!("((cat; head -c 100000000 /dev/zero) | {packer})");
    let inside = header(b"x.o", FILE, 60 << 20);
    let beyond = header(b"x.o", FILE, 100_000_000);
    let unlimited = header(b"y.o", b'x', 100_000_000);
    for packer in [
        "gzip -9c",
        "zstd -19c",
        "zstd --ultra -22 -c",
        "zstd -c --long=31",
    ] {
        let command = tail(packer);
        // The last two ask for more memory than any decoder has to offer.
        let wide = packer.contains("--");
        let window = wide.then_some("window_size is too big");
        let said = |other| window.unwrap_or(other);
        let limit = "its layer unpacks to more than";
        refused(&trial, oci::filter(&plain, &command), &[said(limit)]);
        refused(&trial, oci::filter(&inside, &command), &[said(limit)]);
        let allowed = said("its object has 100000000 bytes, and 67108864 are allowed");
        refused(&trial, oci::filter(&beyond, &command), &[allowed]);
        let name = "its layer is damaged";
        refused(&trial, oci::filter(&unlimited, &command), &[name]);
    }
    // As many folders as fit, and as many frames without content.
    let folders = entry("a/", FOLDER, b"").repeat(200_000);
    refused(
        &trial,
        oci::filter(&folders, "gzip -c"),
        &["unpacks to more"],
    );
    let empty = oci::filter(b"", "gzip -c").repeat(100_000);
    refused(&trial, empty, &["no object file"]);
    let skipped = b"\x50\x2a\x4d\x18\0\0\0\0".repeat(100_000);
    refused(&trial, skipped, &["no object file"]);
}

#[test]
fn an_object_may_have_its_limit_and_not_a_byte_more() {
    let size = elf().len();
    let trial = Trial::with(&format!("max_object_size = {}", size - 1));
    let allowed = format!("its object has {size} bytes, and {} are allowed", size - 1);
    trial.refused(&Parts::good(), &[&allowed, "max_object_size"]);
    trial
        .sandbox
        .config(&format!("[registry]\nmax_object_size = {size}\n"));
    let image = trial.image(&trial.offer(&Parts::good()));
    trial
        .sandbox
        .bpfman(["image", "pull", "--image-url", &image])
        .ok();
}

#[test]
fn the_label_names_another_file() {
    let trial = Trial::new();
    let parts = Parts::of_labels(&json!({"io.ebpf.filename": "../../etc/shadow"}));
    trial.refused(&parts, &["io.ebpf.filename", "xdp_counter.bpf.o"]);
}
