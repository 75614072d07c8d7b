//! The file of the index: its pages, and a checksum of each.
//!
//! The database compares nothing when it reads a page, and ends the program at one that makes no sense. Here a page that is not
//! what was written is an error that names the place.
//!
//! The first of 1025 pages in the file has the checksums of the 1024 that follow (CRC-32, little endian; 0: never written). It is
//! written before the file is flushed, so that it is on the disk with the pages. What a power cut does to it between two flushes
//! touches checksums of pages that were written since the last one; the database reads none of those then, because it never writes over a
//! page that its last durable commit needs. The one page that it does write over is the first, which has checksums of its own and
//! therefore none here.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::medium::MediumFile;

const PAGE_BYTES: u64 = 4096;
/// Pages whose checksums lie in one page.
const GROUP_PAGES: u64 = PAGE_BYTES / SUM_BYTES;
const SUM_BYTES: u64 = 4;

/// A file whose pages are checked when they are read. Offsets and lengths are those of the pages alone.
#[derive(Debug)]
pub struct CheckedFile {
    file: Box<dyn MediumFile>,
    groups: Mutex<BTreeMap<u64, Group>>,
}

/// The checksums of neighbouring pages: 4 KiB in memory for each 4 MiB of the index that were touched.
#[derive(Debug)]
struct Group {
    sums: Vec<u8>,
    /// Not in the file yet.
    changed: bool,
}

/// A page that is not what was written.
#[derive(Debug, thiserror::Error)]
#[error("page {page} of the index, at byte {offset} of its file, is not what was written")]
pub(super) struct DamagedPage {
    pub(super) page: u64,
    pub(super) offset: u64,
}

impl DamagedPage {
    /// The damaged page that an error is about.
    pub(super) fn of(error: &Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl CheckedFile {
    /// The pages of a file.
    pub fn new(file: Box<dyn MediumFile>) -> Self {
        Self {
            file,
            groups: Mutex::default(),
        }
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<u64, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The checksums of a page's group, read from the file when they are first asked for.
    fn group<'a>(&self, groups: &'a mut BTreeMap<u64, Group>, number: u64) -> Result<&'a mut Group> {
        use std::collections::btree_map::Entry;
        match groups.entry(number) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let mut sums = vec![0; PAGE_BYTES as usize];
                self.file.read_exact_at(&mut sums, group_offset(number))?;
                Ok(place.insert(Group { sums, changed: false }))
            }
        }
    }

    /// Compares pages with their checksums.
    fn check(&self, first: u64, bytes: &[u8]) -> Result<()> {
        let mut groups = self.groups();
        for (page, bytes) in (first..).zip(bytes.chunks(PAGE_BYTES as usize)) {
            let expected = self.group(&mut groups, page / GROUP_PAGES)?.sum(page);
            if page > 0 && expected != 0 && expected != crc32fast::hash(bytes) {
                let offset = page_offset(page);
                return Err(Error::new(ErrorKind::InvalidData, DamagedPage { page, offset }));
            }
        }
        Ok(())
    }

    fn note(&self, first: u64, bytes: &[u8]) -> Result<()> {
        let mut groups = self.groups();
        for (page, bytes) in (first..).zip(bytes.chunks(PAGE_BYTES as usize)) {
            let group = self.group(&mut groups, page / GROUP_PAGES)?;
            group.set_sum(page, crc32fast::hash(bytes));
        }
        Ok(())
    }

    /// Brings the checksums that changed into the file.
    fn write_sums(&self) -> Result<()> {
        for (number, group) in self.groups().iter_mut().filter(|(_, group)| group.changed) {
            self.file.write_all_at(&group.sums, group_offset(*number))?;
            group.changed = false;
        }
        Ok(())
    }

    /// Calls `each` with the pieces of whole pages that lie behind each other in the file: their first page, and their place in `bytes`.
    fn pieces(
        first: u64,
        length: usize,
        mut each: impl FnMut(u64, Range<usize>) -> Result<()>,
    ) -> Result<()> {
        let (mut page, mut done) = (first, 0);
        while done < length {
            let room = (GROUP_PAGES - page % GROUP_PAGES) * PAGE_BYTES;
            let end = length.min(done + room as usize);
            each(page, done..end)?;
            page += room / PAGE_BYTES;
            done = end;
        }
        Ok(())
    }

    fn read_pages(&self, first: u64, out: &mut [u8]) -> Result<()> {
        Self::pieces(first, out.len(), |page, part| {
            self.file.read_exact_at(&mut out[part], page_offset(page))
        })?;
        self.check(first, out)
    }

    /// The pages that hold these bytes, as they are now.
    fn pages_around(&self, offset: u64, length: usize) -> Result<(u64, Vec<u8>)> {
        let first = offset / PAGE_BYTES;
        let end = (offset + length as u64).div_ceil(PAGE_BYTES);
        let mut pages = vec![0; ((end - first) * PAGE_BYTES) as usize];
        self.read_pages(first, &mut pages)?;
        Ok((first, pages))
    }
}

impl Group {
    fn sum(&self, page: u64) -> u32 {
        let mut sum = [0; SUM_BYTES as usize];
        sum.copy_from_slice(&self.sums[sum_place(page)]);
        u32::from_le_bytes(sum)
    }

    fn set_sum(&mut self, page: u64, sum: u32) {
        self.sums[sum_place(page)].copy_from_slice(&sum.to_le_bytes());
        self.changed = true;
    }
}

fn sum_place(page: u64) -> Range<usize> {
    let at = (page % GROUP_PAGES * SUM_BYTES) as usize;
    at..at + SUM_BYTES as usize
}

fn group_offset(group: u64) -> u64 {
    group * (GROUP_PAGES + 1) * PAGE_BYTES
}

fn page_offset(page: u64) -> u64 {
    (page + page / GROUP_PAGES + 1) * PAGE_BYTES
}

fn are_pages(offset: u64, length: usize) -> bool {
    offset.is_multiple_of(PAGE_BYTES) && (length as u64).is_multiple_of(PAGE_BYTES)
}

impl StorageBackend for CheckedFile {
    fn len(&self) -> Result<u64> {
        let bytes = self.file.size()?;
        if !bytes.is_multiple_of(PAGE_BYTES) {
            return Err(ErrorKind::InvalidData.into());
        }
        let pages = bytes / PAGE_BYTES;
        Ok((pages - pages.div_ceil(GROUP_PAGES + 1)) * PAGE_BYTES)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        if are_pages(offset, out.len()) {
            return self.read_pages(offset / PAGE_BYTES, out);
        }
        let (first, pages) = self.pages_around(offset, out.len())?;
        let start = (offset - first * PAGE_BYTES) as usize;
        out.copy_from_slice(&pages[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let pages = length.div_ceil(PAGE_BYTES);
        let mut groups = self.groups();
        let before = self.len()? / PAGE_BYTES;
        self.file
            .set_size((pages + pages.div_ceil(GROUP_PAGES)) * PAGE_BYTES)?;
        groups.split_off(&pages.div_ceil(GROUP_PAGES));
        // Pages that come there again later are new ones.
        for page in (pages..before).take_while(|page| page / GROUP_PAGES < pages.div_ceil(GROUP_PAGES)) {
            self.group(&mut groups, page / GROUP_PAGES)?.set_sum(page, 0);
        }
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        self.write_sums()?;
        self.file.flush()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        if !are_pages(offset, data.len()) {
            let (first, mut pages) = self.pages_around(offset, data.len())?;
            let start = (offset - first * PAGE_BYTES) as usize;
            pages[start..start + data.len()].copy_from_slice(data);
            return self.write(first * PAGE_BYTES, &pages);
        }
        let first = offset / PAGE_BYTES;
        if first == 0 {
            // The header: it may lead to all that was written before.
            self.write_sums()?;
        }
        Self::pieces(first, data.len(), |page, part| {
            self.file.write_all_at(&data[part], page_offset(page))
        })?;
        self.note(first, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::medium::Medium;
    use crate::store::memory::Memory;
    use proptest::prelude::*;

    const PAGES: u64 = 2 * GROUP_PAGES + 40;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, Vec<u8>),
        Resize(u64),
        Reopen,
    }

    /// Pages near the borders of groups, where places are computed.
    fn page() -> impl Strategy<Value = u64> {
        let near = |border: u64| border.saturating_sub(3)..border + 3;
        prop_oneof![near(0), near(GROUP_PAGES), near(2 * GROUP_PAGES)]
    }

    fn step() -> impl Strategy<Value = Step> {
        let pages = (page(), 1..4usize, any::<u8>()).prop_map(|(page, count, fill)| {
            let data = (0..count * PAGE_BYTES as usize).map(|i| fill.wrapping_add((i / 100) as u8));
            Step::Write(page * PAGE_BYTES, data.collect())
        });
        let part = (page(), 0..PAGE_BYTES, prop::collection::vec(any::<u8>(), 1..5000))
            .prop_map(|(page, at, data)| Step::Write(page * PAGE_BYTES + at, data));
        prop_oneof![4 => pages, 1 => part, 1 => page().prop_map(Step::Resize), 1 => Just(Step::Reopen)]
    }

    fn open(medium: &Memory) -> CheckedFile {
        CheckedFile::new(medium.open("index").unwrap().unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn it_is_a_file_like_any_other(steps in prop::collection::vec(step(), 1..30)) {
            let medium = Memory::default();
            let mut file = CheckedFile::new(medium.create("index").unwrap());
            let mut model = vec![0; (PAGES * PAGE_BYTES) as usize];
            file.set_len(model.len() as u64).unwrap();
            for step in steps {
                match step {
                    Step::Write(at, data) => {
                        let end = at as usize + data.len();
                        if end > model.len() {
                            continue;
                        }
                        file.write(at, &data).unwrap();
                        model[at as usize..end].copy_from_slice(&data);
                    }
                    Step::Resize(pages) => {
                        let bytes = (pages * PAGE_BYTES).max(PAGE_BYTES);
                        for bytes in [bytes, PAGES * PAGE_BYTES] {
                            model.resize(bytes as usize, 0);
                            file.set_len(bytes).unwrap();
                            assert_eq!(file.len().unwrap(), bytes);
                        }
                    }
                    Step::Reopen => {
                        file.sync_data().unwrap();
                        file = open(&medium);
                    }
                }
            }
            for border in [0, GROUP_PAGES - 4, 2 * GROUP_PAGES - 4] {
                let start = (border * PAGE_BYTES) as usize;
                let mut out = vec![1; 8 * PAGE_BYTES as usize];
                file.read(start as u64, &mut out).unwrap();
                assert!(out == model[start..start + out.len()], "from page {border} on");
            }
        }
    }

    #[test]
    fn a_bit_that_flips_is_found_wherever_it_is() {
        let medium = Memory::default();
        let file = CheckedFile::new(medium.create("index").unwrap());
        file.set_len(3 * PAGE_BYTES).unwrap();
        for page in 0..3 {
            file.write(page * PAGE_BYTES, &[7; PAGE_BYTES as usize]).unwrap();
        }
        file.sync_data().unwrap();
        let raw = medium.open("index").unwrap().unwrap();
        for at in (2 * PAGE_BYTES..4 * PAGE_BYTES).step_by(97) {
            let mut byte = [0];
            raw.read_exact_at(&mut byte, at).unwrap();
            raw.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
            let page = at / PAGE_BYTES - 1;
            let mut out = [0; PAGE_BYTES as usize];
            let error = open(&medium).read(page * PAGE_BYTES, &mut out).unwrap_err();
            let found = DamagedPage::of(&error).unwrap();
            assert_eq!((found.page, found.offset), (page, (page + 1) * PAGE_BYTES));
            raw.write_all_at(&byte, at).unwrap();
        }
        let mut out = [0; 3 * PAGE_BYTES as usize];
        open(&medium).read(0, &mut out).unwrap();
    }
}
