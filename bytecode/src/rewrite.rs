//! Changes to the bytes of an object that move nothing: tables and contents that grow are written
//! behind the end of the file.

use crate::Error;

/// Changes to the bytes of an object.
#[derive(Debug)]
pub(crate) struct Rewrite {
    /// Replaced in place: offset and bytes.
    edits: Vec<(usize, Vec<u8>)>,
    /// Written behind the end of the file.
    tail: Vec<u8>,
    /// Size of the file before, in bytes.
    end: usize,
}

impl Rewrite {
    /// No change yet to a file of `end` bytes.
    pub(crate) fn of(end: usize) -> Self {
        Self {
            edits: Vec::new(),
            tail: Vec::new(),
            end,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.edits.is_empty() && self.tail.is_empty()
    }

    pub(crate) fn replace(&mut self, offset: usize, new: impl Into<Vec<u8>>) {
        self.edits.push((offset, new.into()));
    }

    /// Adds `data` behind the end of the file and tells its offset there.
    pub(crate) fn append(&mut self, data: &[u8]) -> u64 {
        let padding = (self.end + self.tail.len()).next_multiple_of(8) - self.end;
        self.tail.resize(padding, 0);
        self.tail.extend_from_slice(data);
        (self.end + padding) as u64
    }

    pub(crate) fn apply(self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        bytes.extend_from_slice(&self.tail);
        for (offset, new) in self.edits {
            bytes
                .get_mut(offset..)
                .and_then(|rest| rest.get_mut(..new.len()))
                .ok_or(Error::Damaged("a table lies outside of the file"))?
                .copy_from_slice(&new);
        }
        Ok(())
    }
}
