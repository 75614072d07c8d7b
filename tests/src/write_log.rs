//! The record of a disk's writes and flushes, in the format of the kernel's dm-log-writes, as QEMU's `blklogwrites` makes it.
//!
//! A superblock of one sector, then for each entry a header of one sector and its data, all numbers little-endian
//! (kernel documentation, device-mapper/log-writes). An entry stands in the log when the disk had answered it.

use std::io::{self, Read};

use thiserror::Error;

/// Magic number of the superblock.
const MAGIC: u64 = 0x006a_7366_7773_6872;
/// The only version.
const VERSION: u64 = 1;
/// Bytes of an entry's header that mean something.
const HEADER: usize = 32;
/// Longest single write: QEMU's largest request is far below.
const MAX_DATA: u64 = 64 << 20;
/// Most entries.
const MAX_ENTRIES: u64 = 10_000_000;

const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// What is wrong with a log.
#[derive(Debug, Error)]
pub enum LogError {
    /// It ends too early, or cannot be read.
    #[error("read the log at byte {at}")]
    Read {
        /// Bytes from its beginning.
        at: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No superblock.
    #[error("no log of writes: {0}")]
    Superblock(&'static str),
    /// An entry that means nothing.
    #[error("entry {number} of the log: {problem}")]
    Entry {
        /// From 0.
        number: u64,
        /// What is wrong.
        problem: &'static str,
    },
}

/// The superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// Entries that follow.
    pub entries: u64,
    /// Bytes of a sector, the unit of everything else.
    pub sector: u64,
}

impl Superblock {
    /// From its first bytes.
    pub fn parse(bytes: &[u8; HEADER]) -> Result<Self, LogError> {
        if u64_at(bytes, 0) != MAGIC {
            return Err(LogError::Superblock("the magic number is another"));
        }
        if u64_at(bytes, 8) != VERSION {
            return Err(LogError::Superblock("the version is not known"));
        }
        let (entries, sector) = (u64_at(bytes, 16), u64_at(bytes, 24) & 0xffff_ffff);
        if entries > MAX_ENTRIES {
            return Err(LogError::Superblock("too many entries"));
        }
        if !(512..=4096).contains(&sector) || !sector.is_power_of_two() {
            return Err(LogError::Superblock("the sector has an impossible length"));
        }
        Ok(Self { entries, sector })
    }
}

/// What happened to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Bytes were written.
    Write {
        /// Place on the disk, in bytes.
        offset: u64,
        /// The bytes, whole sectors.
        bytes: Vec<u8>,
        /// The medium has them (forced unit access).
        durable: bool,
    },
    /// The medium has everything that was written before.
    Flush,
    /// The disk was told that it may forget these bytes.
    Discard {
        /// Place on the disk, in bytes.
        offset: u64,
        /// How many.
        len: u64,
    },
}

/// Reads a log from its beginning; memory for one entry.
#[derive(Debug)]
pub struct Log<R> {
    source: R,
    superblock: Superblock,
    disk_len: u64,
    next: u64,
    at: u64,
    /// An entry is a write after a flush: the flush was told, this comes next.
    held: Option<Event>,
}

impl<R: Read> Log<R> {
    /// Of a disk of `disk_len` bytes.
    pub fn open(source: R, disk_len: u64) -> Result<Self, LogError> {
        let mut log = Self {
            source,
            superblock: Superblock {
                entries: 0,
                sector: 512,
            },
            disk_len,
            next: 0,
            at: 0,
            held: None,
        };
        let first = log.take(512)?;
        log.superblock = Superblock::parse(&header(&first))?;
        log.take(log.superblock.sector - 512)?;
        Ok(log)
    }

    /// What its beginning says.
    pub fn superblock(&self) -> Superblock {
        self.superblock
    }

    /// Bytes of the log that were read: where the next entry begins.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next event; `None` after the last.
    pub fn next_event(&mut self) -> Result<Option<Event>, LogError> {
        if let Some(event) = self.held.take() {
            return Ok(Some(event));
        }
        while self.next < self.superblock.entries {
            let number = self.next;
            self.next += 1;
            let bytes = self.take(self.superblock.sector)?;
            let entry = Entry::parse(&header(&bytes), self.superblock.sector, self.disk_len)
                .map_err(|problem| LogError::Entry { number, problem })?;
            // A mark is a word of the one who recorded, for the one who replays: nothing happened to the disk.
            if entry.flags & MARK != 0 {
                self.take(entry.mark_len.next_multiple_of(self.superblock.sector))?;
                continue;
            }
            if entry.flags & DISCARD != 0 {
                return Ok(Some(Event::Discard {
                    offset: entry.offset,
                    len: entry.len,
                }));
            }
            let write = match entry.len {
                0 => None,
                len => Some(Event::Write {
                    offset: entry.offset,
                    bytes: self.take(len)?,
                    durable: entry.flags & FUA != 0,
                }),
            };
            if entry.flags & FLUSH != 0 {
                self.held = write;
                return Ok(Some(Event::Flush));
            }
            if write.is_some() {
                return Ok(write);
            }
        }
        Ok(None)
    }

    fn take(&mut self, len: u64) -> Result<Vec<u8>, LogError> {
        // At most MAX_DATA.
        let mut bytes = vec![0; len as usize];
        let at = self.at;
        self.source
            .read_exact(&mut bytes)
            .map_err(|source| LogError::Read { at, source })?;
        self.at += len;
        Ok(bytes)
    }
}

/// A checked header.
struct Entry {
    offset: u64,
    len: u64,
    flags: u64,
    mark_len: u64,
}

impl Entry {
    fn parse(bytes: &[u8; HEADER], sector: u64, disk_len: u64) -> Result<Self, &'static str> {
        let (first, sectors) = (u64_at(bytes, 0), u64_at(bytes, 8));
        let (flags, data_len) = (u64_at(bytes, 16), u64_at(bytes, 24));
        if flags & !(FLUSH | FUA | DISCARD | MARK) != 0 {
            return Err("an unknown flag");
        }
        if data_len > 0 && flags & MARK == 0 || data_len > MAX_DATA {
            return Err("data of an impossible length");
        }
        let (Some(offset), Some(len)) = (first.checked_mul(sector), sectors.checked_mul(sector)) else {
            return Err("a place that no disk has");
        };
        if offset.checked_add(len).is_none_or(|end| end > disk_len) {
            return Err("a place behind the end of the disk");
        }
        if len > MAX_DATA && flags & DISCARD == 0 {
            return Err("a write that is too long");
        }
        Ok(Self {
            offset,
            len,
            flags,
            mark_len: data_len,
        })
    }
}

fn header(bytes: &[u8]) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out.copy_from_slice(&bytes[..HEADER]);
    out
}

fn u64_at(bytes: &[u8; HEADER], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: [u64; 4]) -> Vec<u8> {
        let mut sector: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        sector.resize(512, 0);
        sector
    }

    fn log(entries: &[([u64; 4], Vec<u8>)]) -> Vec<u8> {
        let mut bytes = words([MAGIC, VERSION, entries.len() as u64, 512]);
        for (entry, data) in entries {
            bytes.extend(words(*entry));
            bytes.extend(data);
        }
        bytes
    }

    fn events(bytes: &[u8]) -> Result<Vec<Event>, LogError> {
        let mut log = Log::open(bytes, 1 << 20)?;
        let mut events = vec![];
        while let Some(event) = log.next_event()? {
            events.push(event);
        }
        Ok(events)
    }

    fn write(offset: u64, byte: u8, durable: bool) -> Event {
        Event::Write {
            offset,
            bytes: vec![byte; 1024],
            durable,
        }
    }

    #[test]
    fn every_kind_of_entry_is_read_in_order() {
        let bytes = log(&[
            ([4, 2, 0, 0], vec![1; 1024]),
            ([0, 0, FLUSH, 0], vec![]),
            ([0, 0, MARK, 5], vec![9; 512]),
            ([8, 100, DISCARD, 0], vec![]),
            ([6, 2, FLUSH | FUA, 0], vec![2; 1024]),
        ]);
        assert_eq!(
            events(&bytes).unwrap(),
            [
                write(2048, 1, false),
                Event::Flush,
                Event::Discard {
                    offset: 4096,
                    len: 51200
                },
                Event::Flush,
                write(3072, 2, true)
            ]
        );
    }

    #[test]
    fn a_log_that_ends_early_or_means_nothing_is_refused() {
        let good = log(&[([4, 2, 0, 0], vec![1; 1024])]);
        for end in [0, 31, 511, 512, 1000, 1024, good.len() - 1] {
            assert!(
                matches!(events(&good[..end]), Err(LogError::Read { .. })),
                "{end}"
            );
        }
        for (at, says) in [(0, "magic"), (8, "version"), (23, "entries"), (25, "sector")] {
            let mut bad = good.clone();
            bad[at] ^= 0x7f;
            assert!(events(&bad).unwrap_err().to_string().contains(says), "{at}");
        }
        for (entry, says) in [
            ([4, 2, 16, 0], "flag"),
            ([4, 2, 0, 1], "length"),
            ([2047, 2, 0, 0], "behind"),
            ([u64::MAX, 2, 0, 0], "no disk has"),
            ([0, u64::MAX, DISCARD, 0], "no disk has"),
            ([0, 0, MARK, u64::MAX], "length"),
        ] {
            let error = events(&log(&[(entry, vec![])])).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
