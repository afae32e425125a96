//! A layer as it was before it was unpacked. containers/storage keeps all bytes of its tar that are
//! not content of files (github.com/vbatts/tar-split): a JSON document a line, each with such bytes
//! or with the name of a file.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::super::layer::decompress;

/// The longest line, in bytes: headers and padding of one file.
const MAX_LINE: u64 = 1 << 20;

/// Kinds of lines.
const FILE: u8 = 1;
const SEGMENT: u8 = 2;

#[derive(Deserialize)]
struct Line {
    r#type: u8,
    #[serde(default)]
    name: Option<String>,
    /// Where the name is not UTF-8.
    #[serde(default)]
    name_raw: Option<String>,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    payload: Option<String>,
}

/// The tar, put together again while it is read.
pub(super) struct TarSplit<F> {
    lines: Box<dyn BufRead>,
    open: F,
    current: Box<dyn Read>,
    left: u64,
    too_large: bool,
}

impl<F: Fn(&Path) -> io::Result<File>> TarSplit<F> {
    /// `open` opens a file of the unpacked layer.
    pub(super) fn new(recipe: File, limit: u64, open: F) -> io::Result<Self> {
        let lines = decompress(BufReader::new(recipe))?;
        Ok(Self {
            lines: Box::new(BufReader::new(lines)),
            open,
            current: Box::new(io::empty()),
            left: limit,
            too_large: false,
        })
    }

    /// Whether reading ended because of the limit.
    pub(super) const fn is_too_large(&self) -> bool {
        self.too_large
    }

    /// The next piece; false at the end.
    fn advance(&mut self) -> io::Result<bool> {
        let malformed = |what: &str| io::Error::other(format!("its tar-split {what}"));
        let mut line = Vec::new();
        let read = (&mut self.lines)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(false);
        }
        if read as u64 == MAX_LINE {
            return Err(malformed("has an endless line"));
        }
        let line: Line = serde_json::from_slice(&line)?;
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| malformed("is no base64"));
        match line.r#type {
            SEGMENT => {
                let bytes = decode(line.payload.as_deref().unwrap_or_default())?;
                self.current = Box::new(io::Cursor::new(bytes));
            }
            FILE if line.size > 0 => {
                let name = match (line.name, line.name_raw) {
                    (_, Some(raw)) => std::ffi::OsString::from_vec(decode(&raw)?),
                    (Some(name), None) => name.into(),
                    (None, None) => return Err(malformed("has a file without a name")),
                };
                let name = PathBuf::from(name);
                let file = (self.open)(name.strip_prefix("/").unwrap_or(&name))?;
                if file.metadata()?.len() != line.size {
                    return Err(malformed("has a file of another size"));
                }
                self.current = Box::new(file.take(line.size));
            }
            FILE => {}
            _ => return Err(malformed("has lines of an unknown kind")),
        }
        Ok(true)
    }
}

impl<F: Fn(&Path) -> io::Result<File>> Read for TarSplit<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.current.read(buffer)?;
            if read > 0 {
                let Some(left) = self.left.checked_sub(read as u64) else {
                    self.too_large = true;
                    return Err(io::Error::other("too much data"));
                };
                self.left = left;
                return Ok(read);
            }
            if !self.advance()? {
                return Ok(0);
            }
        }
    }
}
