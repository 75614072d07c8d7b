//! Pages of the index that need not be in its file yet.
//!
//! Between two checkpoints the database writes pages out whenever it needs room to read others, though most of them are written anew with the
//! next change, and none counts before the checkpoint. They wait here, in memory, until the file is flushed or there are too many.

use std::collections::BTreeMap;
use std::io::Result;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::checked_file::CheckedFile;

const PAGE_BYTES: usize = 4096;

/// The most pages that wait: one MiB.
const MOST_PAGES: usize = 256;

/// The file of the index, but for its last writes.
#[derive(Debug)]
pub(super) struct LateFile {
    file: CheckedFile,
    waiting: Mutex<Pages>,
}

/// Pages by their number.
type Pages = BTreeMap<u64, Box<[u8; PAGE_BYTES]>>;

/// A part of one page: its number, where the part begins in it, and how many bytes it has.
type Part = (u64, usize, usize);

/// The parts of pages that so many bytes from an offset on are.
fn parts(offset: u64, bytes: usize) -> impl Iterator<Item = Part> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let (at, left) = (offset + done as u64, bytes - done);
        let start = (at % PAGE_BYTES as u64) as usize;
        let count = left.min(PAGE_BYTES - start);
        done += count;
        (count > 0).then_some((at / PAGE_BYTES as u64, start, count))
    })
}

impl LateFile {
    pub(super) fn new(file: CheckedFile) -> Self {
        Self {
            file,
            waiting: Mutex::default(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Pages> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What could not be written still waits.
    fn write_out(&self, waiting: &mut Pages) -> Result<()> {
        while let Some(page) = waiting.first_entry() {
            self.file.write(page.key() * PAGE_BYTES as u64, &page.get()[..])?;
            page.remove();
        }
        Ok(())
    }
}

impl StorageBackend for LateFile {
    fn len(&self) -> Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let waiting = self.waiting();
        if !parts(offset, out.len()).any(|(page, ..)| waiting.contains_key(&page)) {
            drop(waiting);
            return self.file.read(offset, out);
        }
        let mut done = 0;
        for (page, start, count) in parts(offset, out.len()) {
            let part = &mut out[done..done + count];
            match waiting.get(&page) {
                Some(bytes) => part.copy_from_slice(&bytes[start..start + count]),
                None => self.file.read(offset + done as u64, part)?,
            }
            done += count;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.write_out(&mut self.waiting())?;
        self.file.set_len(length)
    }

    fn sync_data(&self) -> Result<()> {
        self.write_out(&mut self.waiting())?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let (mut waiting, mut done) = (self.waiting(), 0);
        if offset < PAGE_BYTES as u64 {
            // The header: it may lead to all that was written before.
            self.write_out(&mut waiting)?;
            return self.file.write(offset, bytes);
        }
        for (page, start, count) in parts(offset, bytes.len()) {
            let part = &bytes[done..done + count];
            match (waiting.get_mut(&page), <&[u8; PAGE_BYTES]>::try_from(part)) {
                (Some(known), _) => known[start..start + count].copy_from_slice(part),
                (None, Ok(whole)) => drop(waiting.insert(page, Box::new(*whole))),
                (None, Err(_)) => self.file.write(offset + done as u64, part)?,
            }
            done += count;
        }
        match waiting.len() > MOST_PAGES {
            true => self.write_out(&mut waiting),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::medium::Medium;
    use crate::store::memory::Memory;

    fn file(medium: &Memory) -> CheckedFile {
        CheckedFile::new(medium.open("file").unwrap().unwrap())
    }

    proptest! {
        #[test]
        fn what_waits_is_read_as_if_it_were_written_and_a_flush_writes_it(
            writes in prop::collection::vec((0..40u64, 0..3usize, 0..3u64, any::<u8>()), 1..400),
        ) {
            let medium = Memory::default();
            medium.create("file").unwrap();
            let late = LateFile::new(file(&medium));
            late.set_len(1 << 18).unwrap();
            let mut expected = vec![0; 1 << 18];
            for (page, pages, shift, byte) in writes {
                let offset = page * PAGE_BYTES as u64 + shift * 100;
                let bytes = vec![byte; pages * PAGE_BYTES + 512 * shift as usize];
                late.write(offset, &bytes).unwrap();
                expected[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
                let mut read = vec![0; 3 * PAGE_BYTES];
                late.read(offset, &mut read).unwrap();
                prop_assert!(read == expected[offset as usize..][..read.len()]);
                prop_assert!(late.waiting().len() <= MOST_PAGES);
            }
            late.sync_data().unwrap();
            let mut read = vec![0; expected.len()];
            file(&medium).read(0, &mut read).unwrap();
            prop_assert!(read == expected);
        }
    }
}
