//! The boot partition, whatever a boot medium made of it.

use std::collections::BTreeMap;
use std::io;

use fat_replace::{Fat, Timestamp, Volume, check_image};
use sha2::{Digest, Sha256};

use crate::accept;

const SECTOR: usize = 512;
/// Largest volume that is made of an input: FAT16 begins at 2 MiB.
const MAX_SECTORS: usize = 5000;
/// The new content of a file.
const CONTENT: [u8; 1300] = [0x5a; 1300];

/// A FAT volume; zeros behind the input up to the size in its boot sector.
///
/// It opens or is refused. A file that is added or replaced has the new content, every other one the old, and the boot sector
/// is never written.
pub fn fat_image(bytes: &[u8]) {
    let image = grown(bytes);
    let Ok(files) = check_image(&image) else {
        return;
    };
    accept();
    let before = contents(&image);
    let existing = files.iter().find(|file| !file.folder).map(|file| &*file.path);
    let new = ["EFI/BOOT/BOOTAA64.EFI", "a new file.bin"];
    for path in new.into_iter().chain(existing) {
        let after = changed(&image, |fat| {
            let len = CONTENT.len() as u32;
            let hash = Sha256::digest(CONTENT).into();
            let time = Timestamp::from_unix(1_780_000_000);
            fat.put(path, len, &hash, &mut &CONTENT[..], time)
        });
        expect(&before, after, path, Some(CONTENT.to_vec()));
    }
    if let Some(path) = existing {
        let after = changed(&image, |fat| {
            fat.remove(path).map(|there| assert!(there, "{path} was listed"))
        });
        expect(&before, after, path, None);
    }
}

/// The whole volume.
fn grown(bytes: &[u8]) -> Vec<u8> {
    let byte = |at: usize| bytes.get(at).copied().map_or(0, usize::from);
    let small = byte(19) | byte(20) << 8;
    let large = byte(32) | byte(33) << 8 | byte(34) << 16 | byte(35) << 24;
    let sectors = if small == 0 { large } else { small };
    let mut image = bytes.to_vec();
    image.resize(bytes.len().max(sectors.min(MAX_SECTORS) * SECTOR), 0);
    image
}

type Contents = BTreeMap<String, Vec<u8>>;

fn contents(image: &[u8]) -> Contents {
    let mut disk = Disk(image.to_vec());
    let fat = Fat::open(&mut disk).expect("a volume that was changed or checked can be opened");
    let files = fat.files().into_iter().filter(|file| !file.folder);
    files
        .map(|file| {
            let mut bytes = vec![];
            fat.read(&file.path, &mut bytes).expect("a file can be read");
            (file.path, bytes)
        })
        .collect()
}

/// The volume after a change that was made.
fn changed(
    image: &[u8],
    change: impl FnOnce(&mut Fat<'_, Disk>) -> fat_replace::Result<()>,
) -> Option<Vec<u8>> {
    let mut disk = Disk(image.to_vec());
    let made = Fat::open(&mut disk).and_then(|mut fat| change(&mut fat));
    made.ok().map(|()| disk.0)
}

fn expect(before: &Contents, after: Option<Vec<u8>>, path: &str, content: Option<Vec<u8>>) {
    let Some(image) = after else {
        return;
    };
    // The name of an existing file may differ in case only.
    let is_it = |known: &str| known.to_lowercase() == path.to_lowercase();
    let others = |of: &Contents| -> Contents {
        let others = of.iter().filter(|(known, _)| !is_it(known));
        others
            .map(|(known, bytes)| (known.clone(), bytes.clone()))
            .collect()
    };
    let after = contents(&image);
    assert!(
        others(before) == others(&after),
        "another file than {path:?} changed"
    );
    let now = after
        .iter()
        .find(|(known, _)| is_it(known))
        .map(|(_, bytes)| bytes);
    assert!(now == content.as_ref(), "{path:?} is not what it shall be");
}

/// A disk that knows its bounds.
struct Disk(Vec<u8>);

impl Disk {
    fn range(&self, sector: u64, len: usize) -> std::ops::Range<usize> {
        let start = usize::try_from(sector)
            .ok()
            .and_then(|sector| sector.checked_mul(SECTOR));
        let range = start.and_then(|start| Some(start..start.checked_add(len)?));
        range
            .filter(|range| range.end <= self.0.len() && len.is_multiple_of(SECTOR))
            .expect("sectors outside of the volume")
    }
}

impl Volume for Disk {
    fn sector_size(&self) -> usize {
        SECTOR
    }

    fn sector_count(&self) -> u64 {
        (self.0.len() / SECTOR) as u64
    }

    fn read(&self, sector: u64, buf: &mut [u8]) -> io::Result<()> {
        buf.copy_from_slice(&self.0[self.range(sector, buf.len())]);
        Ok(())
    }

    fn write(&mut self, sector: u64, buf: &[u8]) -> io::Result<()> {
        assert!(sector > 0, "the boot sector is written");
        let range = self.range(sector, buf.len());
        self.0[range].copy_from_slice(buf);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
