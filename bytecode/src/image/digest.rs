//! Content is named by its SHA-256, and checked against it.

use std::io::{self, Read, Write};

use model::Digest;
use sha2::{Digest as _, Sha256};

/// The digest of some bytes.
pub(crate) fn of(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

/// The digest and the size of what is left of a stream.
pub(crate) fn of_stream(mut stream: impl Read) -> io::Result<(Digest, u64)> {
    let mut tee = Tee::new(io::sink());
    io::copy(&mut stream, &mut tee)?;
    Ok(tee.finish())
}

/// A writer that hashes what passes through it.
pub(crate) struct Tee<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Tee<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            size: 0,
        }
    }

    /// Bytes so far.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn finish(self) -> (Digest, u64) {
        (Digest::new(self.hash.finalize().into()), self.size)
    }
}

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
