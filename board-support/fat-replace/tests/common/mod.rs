//! Volumes by dosfstools and mtools, and a disk that loses what was not flushed.
#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use fat_replace::{Change, Fat, FatError, Timestamp, Volume, Wanted, Wish, reconcile};
use sha2::{Digest, Sha256};

pub const SECTOR: usize = 512;
pub const TIME: u64 = 1_790_000_000;

/// A format, its size, and the options of mkfs.vfat.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    pub name: &'static str,
    pub kib: u32,
    pub options: &'static [&'static str],
}

/// FAT12 with a table entry across two sectors, FAT16, and FAT32 with the options of the image's firmware partition.
pub const FORMATS: [Format; 4] = [
    Format {
        name: "fat12",
        kib: 720,
        options: &["-F", "12", "-s", "1", "-r", "64"],
    },
    Format {
        name: "fat12-one-table",
        kib: 512,
        options: &["-F", "12", "-s", "2", "-f", "1", "-r", "32"],
    },
    Format {
        name: "fat16",
        kib: 2560,
        options: &["-F", "16", "-s", "1", "-r", "64"],
    },
    Format {
        name: "fat32",
        kib: 34 * 1024,
        options: &["-F", "32", "-s", "1"],
    },
];

pub type Files = BTreeMap<String, Vec<u8>>;

/// Content that differs for every seed.
pub fn content(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

pub fn tool(program: &str) -> PathBuf {
    let places = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    let found = places
        .iter()
        .map(|p| Path::new(p).join(program))
        .find(|p| p.exists());
    found.unwrap_or_else(|| panic!("{program} is not installed: `cargo xtask doctor` says how to get it"))
}

pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    said
}

/// Makes a volume as image/src/fat.rs does, with these files.
pub fn make(format: &Format, files: &Files) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("volume.img");
    run(Command::new(tool("mkfs.vfat"))
        .args(format.options)
        .args(["-i", "48454152", "--invariant", "-n", "FIRMWARE", "-C"])
        .arg(&image)
        .arg(format.kib.to_string()));
    let tree = folder.path().join("tree");
    let mut tops = Vec::new();
    for (path, bytes) in files {
        let target = tree.join(path);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(&target, bytes).unwrap();
        let top = path.split('/').next().unwrap().to_string();
        if !tops.contains(&top) {
            tops.push(top);
        }
    }
    if !tops.is_empty() {
        run(Command::new(tool("mcopy"))
            .args(["-s", "-m", "-Q", "-i"])
            .arg(&image)
            .args(&tops)
            .arg("::")
            .current_dir(&tree)
            .env("MTOOLS_SKIP_CHECK", "1"));
    }
    let mut bytes = std::fs::read(&image).unwrap();
    soil(&mut bytes);
    bytes
}

/// Fills free clusters with what would be seen if a folder or a file showed it: a disk is rarely new.
fn soil(image: &mut [u8]) {
    let u16_at = |image: &[u8], at: usize| usize::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let (sector, per_cluster) = (u16_at(image, 11), usize::from(image[13]));
    let (reserved, tables) = (u16_at(image, 14), usize::from(image[16]));
    let wide = u16_at(image, 22) == 0;
    let of_table = u16_at(image, if wide { 36 } else { 22 });
    let small = u16_at(image, 19);
    let total = if small == 0 {
        u16_at(image, 32) | u16_at(image, 34) << 16
    } else {
        small
    };
    let data = reserved + tables * of_table + u16_at(image, 17) * 32 / sector;
    let clusters = (total - data) / per_cluster;
    let table = image[reserved * sector..][..of_table * sector].to_vec();
    for cluster in 2..clusters + 2 {
        let entry = match (wide, clusters < 4085) {
            (true, _) => u16_at(&table, cluster * 4) | u16_at(&table, cluster * 4 + 2) << 16,
            (false, false) => u16_at(&table, cluster * 2),
            (false, true) => u16_at(&table, cluster + cluster / 2) >> (cluster % 2 * 4) & 0xfff,
        };
        if entry == 0 {
            let at = (data + (cluster - 2) * per_cluster) * sector;
            image[at..at + per_cluster * sector].fill(b'A');
        }
    }
}

/// fsck.fat finds nothing to say.
pub fn fsck(image: &[u8], what: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), image).unwrap();
    let output = Command::new(tool("fsck.fat"))
        .arg("-n")
        .arg(file.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // A heading and a closing line.
    assert!(
        output.status.success() && said.lines().count() == 2,
        "{what}: {said}"
    );
}

/// A file's content as mtools reads it.
pub fn mtype(image: &Path, path: &str) -> Vec<u8> {
    let output = Command::new(tool("mtype"))
        .arg("-i")
        .arg(image)
        .arg(format!("::{path}"))
        .env("MTOOLS_SKIP_CHECK", "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "mtype {path}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Every file is read by mtools with this content.
pub fn mtools_agree(image: &[u8], files: &Files) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), image).unwrap();
    for (path, bytes) in files {
        assert!(mtype(file.path(), path) == *bytes, "mtools read another {path}");
    }
}

#[derive(Debug, Clone)]
pub enum Event {
    Write(u64, Rc<[u8]>),
    Flush,
}

/// Records every sector write and every flush over a base image that it does not change.
#[derive(Debug, Clone)]
pub struct Disk {
    pub base: Rc<Vec<u8>>,
    pub over: HashMap<u64, Rc<[u8]>>,
    pub events: Vec<Event>,
}

impl Disk {
    pub fn new(base: Vec<u8>) -> Self {
        Self {
            base: Rc::new(base),
            over: HashMap::new(),
            events: Vec::new(),
        }
    }

    pub fn image(&self) -> Vec<u8> {
        let mut image = (*self.base).clone();
        for (sector, bytes) in &self.over {
            image[*sector as usize * SECTOR..][..SECTOR].copy_from_slice(bytes);
        }
        image
    }

    /// The same disk with nothing recorded.
    pub fn fresh(&self) -> Self {
        Self {
            events: Vec::new(),
            ..self.clone()
        }
    }

    pub fn apply(&mut self, sector: u64, bytes: &Rc<[u8]>) {
        self.over.insert(sector, bytes.clone());
    }
}

impl Volume for Disk {
    fn sector_size(&self) -> usize {
        SECTOR
    }

    fn sector_count(&self) -> u64 {
        (self.base.len() / SECTOR) as u64
    }

    fn read(&self, sector: u64, buf: &mut [u8]) -> io::Result<()> {
        for (number, part) in (sector..).zip(buf.chunks_mut(SECTOR)) {
            match self.over.get(&number) {
                Some(bytes) => part.copy_from_slice(bytes),
                None => part.copy_from_slice(&self.base[number as usize * SECTOR..][..SECTOR]),
            }
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, buf: &[u8]) -> io::Result<()> {
        for (number, part) in (sector..).zip(buf.chunks(SECTOR)) {
            assert!(number > 0, "the boot sector is never written");
            let bytes: Rc<[u8]> = part.into();
            self.apply(number, &bytes);
            self.events.push(Event::Write(number, bytes));
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.events.push(Event::Flush);
        Ok(())
    }
}

/// Reads every file of a volume.
pub fn files_of(disk: &mut Disk) -> Result<Files, FatError> {
    let fat = Fat::open(disk)?;
    let mut files = Files::new();
    for file in fat.files().into_iter().filter(|f| !f.folder) {
        let mut bytes = Vec::new();
        fat.read(&file.path, &mut bytes)?;
        files.insert(file.path, bytes);
    }
    Ok(files)
}

/// Paths with their new content, `None` to remove it, in their order.
pub type Target = Vec<(String, Option<Vec<u8>>)>;

pub fn target(list: &[(&str, Option<Vec<u8>>)]) -> Target {
    list.iter().map(|(p, c)| (p.to_string(), c.clone())).collect()
}

pub fn bring<V: Volume>(volume: &mut V, target: &Target) -> Result<Vec<Change>, FatError> {
    let mut readers: Vec<&[u8]> = target
        .iter()
        .map(|(_, c)| c.as_deref().unwrap_or_default())
        .collect();
    let mut wanted: Vec<Wanted<'_>> = Vec::new();
    for ((path, content), reader) in target.iter().zip(&mut readers) {
        let wish = match content {
            Some(bytes) => Wish::Present {
                len: bytes.len() as u32,
                sha256: Sha256::digest(bytes).into(),
                content: reader,
            },
            None => Wish::Absent,
        };
        wanted.push(Wanted { path, wish });
    }
    reconcile(volume, &mut wanted, Timestamp::from_unix(TIME))
}

/// What the files are when the target is reached.
pub fn after(before: &Files, target: &Target) -> Files {
    let mut files = before.clone();
    for (path, content) in target {
        match content {
            Some(bytes) => files.insert(path.clone(), bytes.clone()),
            None => files.remove(path),
        };
    }
    files
}

/// A small generator, so that a failing run can be run again.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}
