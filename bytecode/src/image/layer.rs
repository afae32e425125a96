//! The one object file of a layer. Everything in a layer is a claim of strangers: nothing of it
//! becomes a path, and nothing of it decides how much is read.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    mem,
};

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

use super::{ImageError, zstd};

/// What the object may be wrapped in beyond its own size, in bytes: headers, padding, folders.
pub(super) const ENVELOPE: u64 = 1 << 20;

/// The longest name or set of extended headers that is read, in bytes.
const LONGEST_NAME: u64 = 4096;
const LONGEST_PAX: u64 = 64 << 10;

/// Media types of layers, without what they say of compression: the bytes know that better.
const LAYERS: [&str; 2] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
];

/// Refuses what is no layer.
pub(crate) fn check_type(media_type: &str) -> Result<(), ImageError> {
    let known = LAYERS.iter().any(|layer| {
        media_type
            .strip_prefix(layer)
            .is_some_and(|rest| matches!(rest, "" | "+gzip" | "+zstd" | ".gzip" | ".zstd" | ".zst"))
    });
    if known {
        return Ok(());
    }
    Err(ImageError::LayerType {
        media_type: media_type.to_owned(),
    })
}

/// Copies the object of a layer to `out` and says its name in the layer.
pub(crate) fn extract(
    layer: impl Read,
    max_object: u64,
    out: &mut impl Write,
) -> Result<String, ImageError> {
    let limit = max_object.saturating_add(ENVELOPE);
    let mut tar = Bounded {
        inner: decompress(BufReader::new(Steady(layer))).map_err(damaged)?,
        left: limit,
        exceeded: false,
    };
    let found = walk(&mut tar, max_object, out);
    // The rest holds the checksum of the compression.
    let found = found.and_then(|name| match io::copy(&mut tar, &mut io::sink()) {
        Ok(_) => Ok(name),
        Err(source) => Err(damaged(source)),
    });
    if tar.exceeded {
        return Err(ImageError::Bomb { limit });
    }
    found?.ok_or(ImageError::NoObject)
}

fn damaged(source: io::Error) -> ImageError {
    use io::ErrorKind as Kind;
    match source.kind() {
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge | Kind::ReadOnlyFilesystem => {
            let what = "object";
            ImageError::Write { what, source }
        }
        _ => ImageError::Layer { source },
    }
}

/// Takes the compression off. The first bytes say which it is.
pub(crate) fn decompress<'a>(mut layer: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let start = layer.fill_buf()?;
    Ok(if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(layer))
    } else if zstd::is_frame(start) {
        Box::new(zstd::Frames::new(layer))
    } else {
        Box::new(layer)
    })
}

/// Reads again where a signal interrupted it: not all that reads from it does so.
struct Steady<R>(R);

impl<R: Read> Read for Steady<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// Ends with an error, not with an end, after so many bytes.
struct Bounded<R> {
    inner: R,
    left: u64,
    exceeded: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let Some(left) = self.left.checked_sub(read as u64) else {
            self.exceeded = true;
            return Err(io::Error::other("too much data"));
        };
        self.left = left;
        Ok(read)
    }
}

/// Goes through all entries and copies the only file.
fn walk(
    tar: &mut impl Read,
    max_object: u64,
    out: &mut impl Write,
) -> Result<Option<String>, ImageError> {
    let mut archive = Archive::new(tar);
    let mut found: Option<String> = None;
    // Names that do not fit into a header come in an entry before it. The archive's own way to put
    // them together reads them whole, however long they are.
    let mut next = Extended::default();
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        if next.take(&mut entry)? {
            continue;
        }
        let extended = mem::take(&mut next);
        let header = entry.header();
        let kind = header.entry_type();
        let size = header.entry_size().map_err(damaged)?;
        let name = extended
            .name
            .unwrap_or_else(|| text(&entry.header().path_bytes()));
        let Some(file) = root_file(&name, kind)? else {
            continue;
        };
        if extended.size.is_some_and(|other| other != size) || extended.sparse {
            return Err(ImageError::EntryKind {
                name,
                kind: "a file of a form that is not supported",
            });
        }
        if let Some(first) = found.take() {
            let second = file.to_owned();
            return Err(ImageError::SeveralObjects { first, second });
        }
        if size > max_object {
            let limit = max_object;
            return Err(ImageError::ObjectTooLarge { size, limit });
        }
        let copied = io::copy(&mut entry, out).map_err(damaged)?;
        if copied != size {
            return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
        }
        found = Some(file.to_owned());
    }
    Ok(found)
}

/// The name of a file at the root; None for a folder.
fn root_file(name: &str, kind: EntryType) -> Result<Option<&str>, ImageError> {
    if name.starts_with('/') || name.split('/').any(|part| part == "..") {
        return Err(ImageError::Traversal {
            name: name.to_owned(),
        });
    }
    let what = match kind {
        EntryType::Regular | EntryType::Continuous => None,
        EntryType::Directory => return Ok(None),
        EntryType::Symlink => Some("a symbolic link"),
        EntryType::Link => Some("a hard link"),
        EntryType::Char | EntryType::Block => Some("a device"),
        EntryType::Fifo => Some("a pipe"),
        EntryType::GNUSparse => Some("a sparse file"),
        _ => Some("neither a file nor a folder"),
    };
    if let Some(kind) = what {
        return Err(ImageError::EntryKind {
            name: name.to_owned(),
            kind,
        });
    }
    let mut parts = name.split('/').filter(|part| !matches!(*part, "" | "."));
    match (parts.next(), parts.next()) {
        (Some(_), None) if name.ends_with('/') => Ok(None),
        (Some(file), None) if file.chars().any(char::is_control) => Err(ImageError::EntryKind {
            name: name.to_owned(),
            kind: "a name with control characters",
        }),
        (Some(file), None) if file.starts_with(".wh.") => Err(ImageError::EntryKind {
            name: name.to_owned(),
            kind: "a mark that removes a file of another layer",
        }),
        (Some(file), None) => Ok(Some(file)),
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(ImageError::NotAtRoot {
            name: name.to_owned(),
        }),
    }
}

/// What entries before an entry say of it.
#[derive(Default)]
struct Extended {
    name: Option<String>,
    size: Option<u64>,
    sparse: bool,
}

impl Extended {
    /// Takes in an entry that describes the next one; false: it is one of its own.
    fn take<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<bool, ImageError> {
        match entry.header().entry_type() {
            EntryType::GNULongName => {
                let name = read(entry, LONGEST_NAME)?;
                let end = name.iter().position(|byte| *byte == 0);
                self.name = Some(text(&name[..end.unwrap_or(name.len())]));
            }
            EntryType::XHeader => {
                let headers = read(entry, LONGEST_PAX)?;
                let mut rest = &headers[..];
                while !rest.is_empty() {
                    let malformed = || damaged(io::Error::other("malformed extended header"));
                    let (key, value, left) = record(rest).ok_or_else(malformed)?;
                    match key {
                        b"path" => self.name = Some(text(value)),
                        b"size" => self.size = Some(text(value).parse().unwrap_or(u64::MAX)),
                        key if key.starts_with(b"GNU.sparse") => self.sparse = true,
                        _ => {}
                    }
                    rest = left;
                }
            }
            EntryType::GNULongLink | EntryType::XGlobalHeader => {}
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Key and value of an extended header (pax(1): `LENGTH KEY=VALUE\n`), and what comes after it. The
/// archive's own reader splits at line feeds, which values may hold.
fn record(headers: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = headers.iter().position(|byte| *byte == b' ')?;
    let length: usize = str::from_utf8(&headers[..blank]).ok()?.parse().ok()?;
    let (record, rest) = headers.split_at_checked(length)?;
    let pair = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    Some((&pair[..equals], &pair[equals + 1..], rest))
}

fn read<R: Read>(entry: &mut Entry<'_, R>, limit: u64) -> Result<Vec<u8>, ImageError> {
    let size = entry.header().entry_size().map_err(damaged)?;
    if size > limit {
        return Err(damaged(io::Error::other("a name of unlikely length")));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(damaged)?;
    Ok(bytes)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests;
