//! The log: a record of each change since the last checkpoint, written behind each other into a file that is used again from its
//! start after the next one.
//!
//! A record counts if it is whole and continues those before it. After a power cut the last ones may be torn, or lack one in
//! their midst; behind the first that does not count, none does. Three numbers keep records apart that lie in the file from before:
//!
//! - the *generation* is drawn anew with each checkpoint, and stored with it. Nobody who sends us blocks can guess it, so that bytes of a
//!   block are never taken for a record.
//! - the *session* is drawn anew whenever the store is opened. A record continues one of the same session, or is the first of its own.
//!   Without it, a record that a power cut spared, behind one that it tore, would count when the torn one is written again.
//! - the *sequence* counts the records of a generation.

use std::io::Result;
use std::sync::Arc;

use super::medium::MediumFile;

/// Checksum of all that follows (32 bits), length of the record (32 bits), generation, session, sequence (64 bits each, the
/// sequence's highest bit says that the session begins); all little endian.
pub(super) const HEADER_BYTES: usize = 32;

const FIRST_OF_SESSION: u64 = 1 << 63;

#[derive(Debug)]
pub(super) struct Log {
    file: Arc<dyn MediumFile>,
    generation: u64,
    session: u64,
    /// Whether a record of this session was written or read last.
    begun: bool,
    sequence: u64,
    position: u64,
}

fn header(generation: u64, session: u64, sequence: u64) -> [u8; 24] {
    let mut out = [0; 24];
    for (bytes, number) in out.chunks_exact_mut(8).zip([generation, session, sequence]) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    out
}

impl Log {
    /// The log of a generation, at its start. Read all of [`Log::next`] before anything is appended. `session` is random.
    pub(super) fn new(file: Arc<dyn MediumFile>, generation: u64, session: u64) -> Self {
        Self {
            file,
            generation,
            session,
            begun: false,
            sequence: 0,
            position: 0,
        }
    }

    /// Bytes of the generation's records.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Starts over with another generation, which the index has as of now.
    pub(super) fn restart(&mut self, generation: u64) {
        (self.generation, self.sequence, self.position, self.begun) = (generation, 0, 0, false);
    }

    /// Gives room back that one large record took.
    pub(super) fn shrink(&self, bytes: u64) -> Result<()> {
        if self.file.size()? > bytes {
            self.file.set_size(bytes)?;
        }
        Ok(())
    }

    /// Writes a record, which has [`HEADER_BYTES`] free at its start. If this fails, nothing was written that counts.
    pub(super) fn append(&mut self, record: &mut [u8]) -> Result<()> {
        let first = if self.begun { 0 } else { FIRST_OF_SESSION };
        let length = record.len().saturating_sub(HEADER_BYTES);
        let length = u32::try_from(length).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
        record[4..8].copy_from_slice(&length.to_le_bytes());
        record[8..HEADER_BYTES].copy_from_slice(&header(
            self.generation,
            self.session,
            self.sequence | first,
        ));
        let checksum = crc32fast::hash(&record[4..]);
        record[..4].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_all_at(record, self.position)?;
        self.position += record.len() as u64;
        self.sequence += 1;
        self.begun = true;
        Ok(())
    }

    /// The next record that counts, without its header. [`Log::accept`] goes on behind it.
    pub(super) fn next(&self, session: &mut Option<u64>) -> Result<Option<Vec<u8>>> {
        let left = self.file.size()?.saturating_sub(self.position);
        if left < HEADER_BYTES as u64 {
            return Ok(None);
        }
        let mut header_bytes = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut header_bytes, self.position)?;
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&header_bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let length = word(0) >> 32;
        let (theirs, sequence) = (word(16), word(24));
        let continues = *session == Some(theirs) && sequence == self.sequence
            || sequence == self.sequence | FIRST_OF_SESSION;
        if word(8) != self.generation || !continues || length > left - HEADER_BYTES as u64 {
            return Ok(None);
        }
        let mut record = vec![0; usize::try_from(length).unwrap_or(0)];
        self.file
            .read_exact_at(&mut record, self.position + HEADER_BYTES as u64)?;
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&header_bytes[4..]);
        checksum.update(&record);
        if u64::from(checksum.finalize()) != word(0) & u64::from(u32::MAX) {
            return Ok(None);
        }
        *session = Some(theirs);
        Ok(Some(record))
    }

    /// The record that was read last counts.
    pub(super) fn accept(&mut self, record: &[u8]) {
        self.position += (HEADER_BYTES + record.len()) as u64;
        self.sequence += 1;
    }
}
