//! What the guest's first process and the host say to each other, over one virtio serial port.
//!
//! One port for everything keeps the order: when the exit status arrives, all output that came
//! before it has arrived too. A frame is its kind (one byte), the length of its payload (four
//! bytes, little endian) and the payload.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// Name of the virtio serial port that carries the frames.
pub(crate) const PORT: &str = "xtask";
/// Where the guest finds its [`Job`].
pub(crate) const JOB: &str = "/xtask-job.json";
/// Larger frames are a broken stream, not data.
const MAX_PAYLOAD: u32 = 64 << 20;

/// What the guest has to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Kernel modules below `/lib/modules`, in an order in which they can be loaded.
    pub(crate) modules: Vec<String>,
    /// The command and its arguments.
    pub(crate) argv: Vec<String>,
    /// The whole environment of the command.
    pub(crate) env: BTreeMap<String, String>,
    /// Files to send to the host after the command has ended; a missing one is left out.
    pub(crate) fetch: Vec<String>,
    /// Start the system on the first disk; its service `xtask guest-agent` runs the command.
    pub(crate) from_disk: bool,
}

/// One message from the guest to the host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The modules are loaded and the command starts now.
    Ready,
    /// Bytes that the command wrote to its standard output.
    Stdout(Vec<u8>),
    /// Bytes that the command wrote to its standard error.
    Stderr(Vec<u8>),
    /// A file of the guest.
    File {
        /// Path in the guest.
        path: String,
        /// Its whole content.
        content: Vec<u8>,
    },
    /// The guest could not do its job; nothing follows.
    Failed(String),
    /// The command has ended with this status (128 + N for signal N); nothing follows.
    Exit(u8),
}

impl Frame {
    fn kind(&self) -> u8 {
        match self {
            Self::Ready => 0,
            Self::Stdout(_) => 1,
            Self::Stderr(_) => 2,
            Self::File { .. } => 3,
            Self::Failed(_) => 4,
            Self::Exit(_) => 5,
        }
    }

    /// Writes the frame in one piece, so that frames of several threads do not mix when the
    /// caller holds a lock on `out`.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let payload = match self {
            Self::Ready => Vec::new(),
            Self::Stdout(bytes) | Self::Stderr(bytes) => bytes.clone(),
            Self::File { path, content } => [path.as_bytes(), b"\0", content].concat(),
            Self::Failed(reason) => reason.clone().into_bytes(),
            Self::Exit(status) => vec![*status],
        };
        let length = u32::try_from(payload.len())
            .ok()
            .filter(|length| *length <= MAX_PAYLOAD)
            .ok_or_else(|| io::Error::other("a frame longer than 64 MiB"))?;
        let mut frame = vec![self.kind()];
        frame.extend(length.to_le_bytes());
        frame.extend(payload);
        out.write_all(&frame)?;
        out.flush()
    }

    /// Reads the next frame; `None` at a clean end of the stream.
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut kind = [0];
        if from.read(&mut kind)? == 0 {
            return Ok(None);
        }
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length > MAX_PAYLOAD {
            return Err(broken("a frame longer than 64 MiB"));
        }
        let mut payload = vec![0; length as usize];
        from.read_exact(&mut payload)?;
        match kind[0] {
            0 => Ok(Self::Ready),
            1 => Ok(Self::Stdout(payload)),
            2 => Ok(Self::Stderr(payload)),
            3 => Self::file(&payload),
            4 => Ok(Self::Failed(String::from_utf8_lossy(&payload).into_owned())),
            5 => payload
                .first()
                .map(|status| Self::Exit(*status))
                .ok_or_else(|| broken("an exit frame without status")),
            _ => Err(broken("a frame of unknown kind")),
        }
        .map(Some)
    }

    fn file(payload: &[u8]) -> io::Result<Self> {
        let split = payload.iter().position(|byte| *byte == 0);
        let split = split.ok_or_else(|| broken("a file frame without path"))?;
        Ok(Self::File {
            path: String::from_utf8_lossy(&payload[..split]).into_owned(),
            content: payload[split + 1..].to_vec(),
        })
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_wire() {
        let frames = [
            Frame::Ready,
            Frame::Stdout(b"one\r\ntwo\0".to_vec()),
            Frame::Stderr(Vec::new()),
            Frame::File {
                path: "/tmp/result".into(),
                content: b"\0\xff".to_vec(),
            },
            Frame::Failed("no such module".into()),
            Frame::Exit(3),
        ];
        let mut stream = Vec::new();
        for frame in &frames {
            frame.write(&mut stream).unwrap();
        }
        let mut from = stream.as_slice();
        for frame in frames {
            assert_eq!(Frame::read(&mut from).unwrap(), Some(frame));
        }
        assert_eq!(Frame::read(&mut from).unwrap(), None);
    }

    #[test]
    fn a_torn_frame_is_an_error() {
        let mut stream = Vec::new();
        Frame::Stdout(b"output".to_vec())
            .write(&mut stream)
            .unwrap();
        stream.truncate(8);
        assert!(Frame::read(&mut stream.as_slice()).is_err());
    }

    #[test]
    fn nonsense_is_refused_before_memory_is_taken() {
        let stream = [1, 0xff, 0xff, 0xff, 0xff];
        assert!(Frame::read(&mut stream.as_slice()).is_err());
        let stream = [99, 0, 0, 0, 0];
        assert!(Frame::read(&mut stream.as_slice()).is_err());
    }
}
