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
//! Each record also says what was flushed when it was written: bytes of block files up to there need not be checked again, and if a
//! record that was flushed is not there any more, it is not the power cut that took it (see [`Log::lost`]).

use std::io::Result;
use std::sync::Arc;

use super::medium::MediumFile;

/// Checksum of all that follows (32 bits), length of the record (32 bits), generation, session, sequence (64 bits each, the
/// sequence's highest bit says that the session begins), and the sequence of the first record whose bytes in block files may not
/// be flushed yet (its highest bit says that the records before that one are flushed too); all little endian.
pub(super) const HEADER_BYTES: usize = 40;

const FIRST_OF_SESSION: u64 = 1 << 63;
const RECORDS_FLUSHED: u64 = 1 << 63;

/// Changes that were durable and are not there any more: the disk damaged the log, or never kept what it said it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostChanges {
    /// Where in the log, in bytes from its start, the first of them was.
    pub offset: u64,
    /// How many there were, at least.
    pub at_least: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Log {
    file: Arc<dyn MediumFile>,
    generation: u64,
    session: u64,
    /// Whether the log is flushed with the block files.
    flushes: bool,
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

/// Where a header has the generation.
const GENERATION_AT: u64 = 8;
/// Bytes that are looked through at a time.
const SCAN_BYTES: usize = 64 << 10;

struct Header {
    bytes: [u8; HEADER_BYTES],
    checksum: u32,
    /// Bytes of the record without its header.
    length: u64,
    generation: u64,
    session: u64,
    sequence: u64,
    first_of_session: bool,
    /// Bytes in block files of records before this one are flushed.
    flushed: u64,
    /// Records before this one are flushed themselves.
    records_flushed: u64,
}

impl Header {
    fn decode(bytes: [u8; HEADER_BYTES]) -> Self {
        let word = |number: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[8 * number..8 * number + 8]);
            u64::from_le_bytes(word)
        };
        let flushed = word(4) & !RECORDS_FLUSHED;
        Self {
            checksum: word(0) as u32,
            length: word(0) >> 32,
            generation: word(1),
            session: word(2),
            sequence: word(3) & !FIRST_OF_SESSION,
            first_of_session: word(3) & FIRST_OF_SESSION != 0,
            flushed,
            records_flushed: if word(4) & RECORDS_FLUSHED != 0 {
                flushed
            } else {
                0
            },
            bytes,
        }
    }
}

impl Log {
    /// The log of a generation, at its start. Read all of [`Log::next`] before anything is appended. `session` is random. With `flushes`,
    /// what is said to be flushed is so in the log too.
    pub(super) fn new(file: Arc<dyn MediumFile>, generation: u64, session: u64, flushes: bool) -> Self {
        Self {
            file,
            generation,
            session,
            flushes,
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
        let with_records = if self.flushes { RECORDS_FLUSHED } else { 0 };
        let numbers = [
            self.generation,
            self.session,
            self.sequence | first,
            flushed | with_records,
        ];
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
        let Some(header) = self.header(self.position)? else {
            return Ok(None);
        };
        let continues = header.sequence == self.sequence
            && (header.first_of_session || self.last_session == Some(header.session));
        if !continues {
            return Ok(None);
        }
        Ok(self.record(self.position, &header)?.map(|record| Entry {
            record,
            session: header.session,
            flushed: header.flushed,
        }))
    }

    /// What lies there, if it may be a record of this generation.
    fn header(&self, position: u64) -> Result<Option<Header>> {
        let left = self.file.size()?.saturating_sub(position);
        let mut bytes = [0; HEADER_BYTES];
        if left < bytes.len() as u64 {
            return Ok(None);
        }
        self.file.read_exact_at(&mut bytes, position)?;
        let header = Header::decode(bytes);
        let counts = header.generation == self.generation && header.length <= left - HEADER_BYTES as u64;
        Ok(counts.then_some(header))
    }

    /// The record with this header, if it is whole.
    fn record(&self, position: u64, header: &Header) -> Result<Option<Vec<u8>>> {
        let mut record = vec![0; usize::try_from(header.length).unwrap_or(0)];
        self.file
            .read_exact_at(&mut record, position + HEADER_BYTES as u64)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&header.bytes[4..]);
        hasher.update(&record);
        Ok((hasher.finalize() == header.checksum).then_some(record))
    }

    /// Whether a change was durable that should come next and does not: a record behind it says so. A record that was the last one to
    /// be flushed leaves no trace, and cannot be told from one that a power cut tore.
    pub(super) fn lost(&self) -> Result<Option<LostChanges>> {
        let mut position = self.position;
        let mut end = None;
        while let Some(start) = self.find(position)? {
            position = start + 1;
            let Some(header) = self.header(start)? else {
                continue;
            };
            if header.records_flushed <= self.sequence || self.record(start, &header)?.is_none() {
                continue;
            }
            position = start + HEADER_BYTES as u64 + header.length;
            end = end.max(Some(header.records_flushed));
        }
        Ok(end.map(|end| LostChanges {
            offset: self.position,
            at_least: end - self.sequence,
        }))
    }

    /// The first place from here on where a record of this generation may lie. Where the log was begun anew in order, it is not read.
    fn find(&self, from: u64) -> Result<Option<u64>> {
        let wanted = self.generation.to_le_bytes();
        let mut window = vec![0; SCAN_BYTES];
        let mut at = from + GENERATION_AT;
        loop {
            let left = self.file.size()?.saturating_sub(at);
            let bytes = usize::try_from(left).map_or(SCAN_BYTES, |left| left.min(SCAN_BYTES));
            let window = &mut window[..bytes];
            if bytes < wanted.len() {
                return Ok(None);
            }
            self.file.read_exact_at(window, at)?;
            if at == GENERATION_AT && window.iter().take(wanted.len()).all(|byte| *byte == 0) {
                return Ok(None);
            }
            if let Some(found) = window.windows(wanted.len()).position(|bytes| bytes == wanted) {
                return Ok(Some(at + found as u64 - GENERATION_AT));
            }
            at += (bytes - wanted.len() + 1) as u64;
        }
    }

    /// Says that the generation has no record: [`Log::lost`] need not look for any.
    pub(super) fn mark_empty(&self) -> Result<()> {
        let mut header = [0; HEADER_BYTES];
        if self.file.size()? < header.len() as u64 {
            return Ok(());
        }
        self.file.read_exact_at(&mut header, 0)?;
        if header != [0; HEADER_BYTES] {
            self.file.write_all_at(&[0; HEADER_BYTES], 0)?;
        }
        Ok(())
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
