//! What registries and container runtimes send.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise ends the run"
)]

use std::io::{Cursor, Read, Write as _};

use flate2::{Compression, write::GzEncoder};
use tar::Header;

use super::{
    Labels,
    keep::{Blob, Found, Wanted},
    labels::ImageConfig,
    layer::extract,
    manifest::ACCEPTED,
};

pub use super::registry::fuzz::registry_headers;
pub use super::runtime::fuzz::{docker_archive, tar_split};

/// The largest object that is taken here, in bytes.
const MAX_OBJECT: u64 = 64 << 10;
const MAX_LAYER: u64 = 1 << 20;

/// Counts what an extraction writes.
#[derive(Default)]
struct Object(Vec<u8>);

impl std::io::Write for Object {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        assert!(self.0.len() as u64 <= MAX_OBJECT, "more than one object");
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a layer gives, however it comes.
fn extracted(layer: impl Read) -> Option<(String, Vec<u8>)> {
    let mut object = Object::default();
    match extract(layer, MAX_OBJECT, &mut object) {
        Ok(name) => Some((name, object.0)),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

/// Takes few bytes at a time, as a connection may.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(7);
        self.0.read(&mut buffer[..count])
    }
}

/// One byte that says how the rest is dressed up, and the layer. The object is one file with a
/// plain name and not too large, and the same in whatever compression and pieces it comes.
pub fn layer(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else {
        return;
    };
    let mut layer = rest.to_vec();
    if how & 1 != 0 {
        repair(&mut layer);
    }
    let found = extracted(&layer[..]);
    if let Some((name, _)) = &found {
        let bad = |c: char| c == '/' || c.is_control();
        let hidden = name.is_empty() || name == "." || name == ".." || name.starts_with(".wh.");
        assert!(!hidden && !name.contains(bad), "{name:?}");
    }
    assert_eq!(extracted(Slow(&layer)), found);
    let wrapped = match how >> 1 & 3 {
        1 => gzip(&layer),
        2 => zstd(&layer),
        _ => return,
    };
    let again = extracted(&wrapped[..]);
    // What is compressed twice is no tar.
    let compressed = layer.starts_with(&[0x1f, 0x8b]) || super::zstd::is_frame(&layer);
    assert_eq!(again, found.filter(|_| !compressed));
}

/// Makes the checksums of a tar's headers right: no fuzzer guesses them.
pub(super) fn repair(tar: &mut [u8]) {
    let mut rest = tar;
    while let Some((block, after)) = rest.split_at_mut_checked(512) {
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        if block.iter().any(|byte| *byte != 0) {
            block.copy_from_slice(header.as_bytes());
        }
        let size = header.entry_size().unwrap_or(0).min(after.len() as u64);
        let content = usize::try_from(size).unwrap().next_multiple_of(512);
        rest = after.get_mut(content..).unwrap_or_default();
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// A frame of blocks that are not compressed (RFC 8878, 3.1.1).
fn zstd(bytes: &[u8]) -> Vec<u8> {
    // A window of 1 MB, no size, no checksum.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 10 << 3];
    let mut blocks = bytes.chunks(64 << 10).peekable();
    if blocks.peek().is_none() {
        frame.extend([1, 0, 0]);
    }
    while let Some(block) = blocks.next() {
        let last = u32::from(blocks.peek().is_none());
        let head = u32::try_from(block.len()).unwrap() << 3 | last;
        frame.extend(&head.to_le_bytes()[..3]);
        frame.extend(block);
    }
    frame
}

/// The document that an image begins with, and those that it is led to, with a zero between them;
/// the first byte says what the registry calls it. Digests are those of what comes: this is what
/// lies behind the check.
pub fn oci_manifest(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else {
        return;
    };
    let media_type = ACCEPTED.get(usize::from(*how % 8)).copied();
    let mut documents = rest.split(|byte| *byte == 0);
    let mut next = || Blob::new(documents.next().unwrap_or_default().to_vec());
    let top = next();
    let mut asked = Vec::new();
    let found = Found::begin(top, media_type, MAX_LAYER, |wanted| {
        asked.push(wanted);
        Ok::<_, super::ImageError>((next(), None))
    });
    match found {
        Ok(found) => {
            assert!(found.layer.size.is_some_and(|size| size <= MAX_LAYER));
            assert!(matches!(
                asked[..],
                [Wanted::Config(..)] | [Wanted::Manifest(_), Wanted::Config(..)]
            ));
            assert_eq!(found.is_bytecode(), *found.labels() != Labels::default());
        }
        Err(error) => {
            assert!(asked.len() <= 2 && !error.to_string().is_empty());
            error.hint();
        }
    }
}

/// The configuration of an image. What its labels say can be written and read again.
pub fn image_config(data: &[u8]) {
    let config = match ImageConfig::parse(data) {
        Ok(config) => config,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    if let Some(layers) = config.layers() {
        assert_eq!(layers.first.is_some(), layers.count > 0);
    }
    if let Ok(labels) = config.labels() {
        for kind in model::Kind::ALL {
            assert!(
                labels
                    .only(kind)
                    .is_none_or(|program| labels.programs.contains_key(program))
            );
        }
        let written = serde_json::json!({"config": {"Labels": {
            super::PROGRAMS: serde_json::to_string(&labels.programs).unwrap(),
            super::MAPS: serde_json::to_string(&labels.maps).unwrap(),
            "io.ebpf.filename": labels.file.clone().unwrap_or_default(),
        }}});
        let again = ImageConfig::parse(written.to_string().as_bytes()).unwrap();
        // A long table may be longer still with its escapes.
        assert!(again.labels().is_ok_and(|again| again == labels) || data.len() > 64 << 10);
    }
    if let Ok(found) = Found::of_config(Blob::new(data.to_vec())) {
        assert_eq!(found.layer.size, None);
    }
}

/// A file of these bytes.
pub(super) fn file(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile_in("/dev/shm")
        .or_else(|_| tempfile::tempfile())
        .unwrap();
    std::io::copy(&mut Cursor::new(bytes), &mut file).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file
}
