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
//!
//! Each record also says which bytes of block files were flushed when it was written, so that those need not be checked again.

use std::io::Result;
use std::sync::Arc;

use super::medium::MediumFile;

/// Checksum of all that follows (32 bits), length of the record (32 bits), generation, session, sequence (64 bits each, the
/// sequence's highest bit says that the session begins), and the sequence of the first record whose bytes in block files may not
/// be flushed yet; all little endian.
pub(super) const HEADER_BYTES: usize = 40;

const FIRST_OF_SESSION: u64 = 1 << 63;

#[derive(Debug, Clone)]
pub(super) struct Log {
    file: Arc<dyn MediumFile>,
    generation: u64,
    session: u64,
    /// Whether a record of this session was written or read last.
    begun: bool,
    /// The session of the record that was read last.
    last_session: Option<u64>,
    sequence: u64,
    position: u64,
}

/// A record that counts, as far as the log can tell.
#[derive(Debug)]
pub(super) struct Entry {
    /// The record without its header.
    pub(super) record: Vec<u8>,
    session: u64,
    /// Bytes in block files of records before this one were flushed when the record was written.
    pub(super) flushed: u64,
}

impl Log {
    /// The log of a generation, at its start. Read all of [`Log::next`] before anything is appended. `session` is random.
    pub(super) fn new(file: Arc<dyn MediumFile>, generation: u64, session: u64) -> Self {
        Self {
            file,
            generation,
            session,
            begun: false,
            last_session: None,
            sequence: 0,
            position: 0,
        }
    }

    /// Bytes of the generation's records.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The generation, and how many records it has.
    pub(super) fn place(&self) -> (u64, u64) {
        (self.generation, self.sequence)
    }

    /// Starts over with another generation, which the index has as of now.
    pub(super) fn restart(&mut self, generation: u64) {
        (self.generation, self.sequence, self.position, self.begun) = (generation, 0, 0, false);
        self.last_session = None;
    }

    /// Gives room back that one large record took.
    pub(super) fn shrink(&self, bytes: u64) -> Result<()> {
        if self.file.size()? > bytes {
            self.file.set_size(bytes)?;
        }
        Ok(())
    }

    /// Writes a record, which has [`HEADER_BYTES`] free at its start. If this fails, nothing was written that counts. `flushed` is the
    /// first record whose bytes in block files may not be flushed.
    pub(super) fn append(&mut self, record: &mut [u8], flushed: u64) -> Result<()> {
        let length = record.len().saturating_sub(HEADER_BYTES);
        let length = u32::try_from(length).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
        let first = if self.begun { 0 } else { FIRST_OF_SESSION };
        let numbers = [self.generation, self.session, self.sequence | first, flushed];
        record[4..8].copy_from_slice(&length.to_le_bytes());
        for (bytes, number) in record[8..HEADER_BYTES].chunks_exact_mut(8).zip(numbers) {
            bytes.copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32fast::hash(&record[4..]);
        record[..4].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_all_at(record, self.position)?;
        self.position += record.len() as u64;
        self.sequence += 1;
        self.begun = true;
        Ok(())
    }

    /// The next record, if it counts. [`Log::accept`] goes on behind it.
    pub(super) fn next(&self) -> Result<Option<Entry>> {
        let left = self.file.size()?.saturating_sub(self.position);
        let mut header = [0; HEADER_BYTES];
        if left < header.len() as u64 {
            return Ok(None);
        }
        self.file.read_exact_at(&mut header, self.position)?;
        let word = |number: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&header[8 * number..8 * number + 8]);
            u64::from_le_bytes(word)
        };
        let (checksum, length) = (word(0) & u64::from(u32::MAX), word(0) >> 32);
        let (generation, session, sequence, flushed) = (word(1), word(2), word(3), word(4));
        let continues = self.last_session == Some(session) && sequence == self.sequence
            || sequence == self.sequence | FIRST_OF_SESSION;
        if generation != self.generation || !continues || length > left - header.len() as u64 {
            return Ok(None);
        }
        let mut record = vec![0; usize::try_from(length).unwrap_or(0)];
        let start = self.position + header.len() as u64;
        self.file.read_exact_at(&mut record, start)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&header[4..]);
        hasher.update(&record);
        Ok((u64::from(hasher.finalize()) == checksum).then_some(Entry {
            record,
            session,
            flushed,
        }))
    }

    /// A record that was read counts.
    pub(super) fn accept(&mut self, entry: &Entry) {
        self.position += (HEADER_BYTES + entry.record.len()) as u64;
        self.sequence += 1;
        self.last_session = Some(entry.session);
    }

    /// The first record from here on whose bytes in block files may not be flushed, by what the records say.
    pub(super) fn flushed(&self) -> Result<u64> {
        let (mut ahead, mut flushed) = (self.clone(), 0);
        while let Some(entry) = ahead.next()? {
            flushed = flushed.max(entry.flushed);
            ahead.accept(&entry);
        }
        Ok(flushed)
    }
}
