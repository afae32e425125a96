//! Streams of Zstandard frames (RFC 8878).

use std::io::{self, BufRead, Read};

use ruzstd::decoding::FrameDecoder;

/// The largest window that is given to a stream, in bytes: what every decoder must be able to
/// offer (RFC 8878, 3.1.1.1.2), and more than tools use without being asked to.
const MAX_WINDOW: u64 = 8 << 20;

/// What is decoded at once, in bytes.
const STEP: usize = 128 << 10;

/// Whether a stream begins with a frame, be it one to skip.
pub(crate) fn is_frame(start: &[u8]) -> bool {
    start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || is_skippable(start)
}

fn is_skippable(start: &[u8]) -> bool {
    matches!(start, [first, 0x2a, 0x4d, 0x18, ..] if first & 0xf0 == 0x50)
}

/// Reads frame after frame to the end of the stream.
pub(crate) struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    active: bool,
}

impl<R: BufRead> Frames<R> {
    pub(crate) fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Self {
            source,
            decoder,
            active: false,
        }
    }

    /// Goes to the next frame; false at the end.
    fn advance(&mut self) -> io::Result<bool> {
        loop {
            let mut magic = [0; 4];
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            self.source.read_exact(&mut magic)?;
            if is_skippable(&magic) {
                let mut size = [0; 4];
                self.source.read_exact(&mut size)?;
                let size = u64::from(u32::from_le_bytes(size));
                let skipped = io::copy(&mut (&mut self.source).take(size), &mut io::sink())?;
                if skipped != size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            let frame = (&magic[..]).chain(&mut self.source);
            self.decoder.reset(frame).map_err(io::Error::other)?;
            self.active = true;
            return Ok(true);
        }
    }

    /// The frame's own checksum, where it has one.
    fn check(&self) -> io::Result<()> {
        let wanted = self.decoder.get_checksum_from_data();
        if wanted.is_some() && wanted != self.decoder.get_calculated_checksum() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the checksum of a zstd frame is wrong",
            ));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.active && !self.advance()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let step = ruzstd::decoding::BlockDecodingStrategy::UptoBytes(STEP);
                self.decoder
                    .decode_blocks(&mut self.source, step)
                    .map_err(io::Error::other)?;
            }
            let read = self.decoder.read(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            self.check()?;
            self.active = false;
        }
    }
}
