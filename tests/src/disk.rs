//! A test's disk: slots with other content, boot states, damage.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use board_support::Board;
use boot_payload::{HEADER_LEN, Header, PartKind, Payload};
use boot_state::{Bootstate, COPY_OFFSETS, SECTOR_LEN};
use disk_layout::Table;

/// A raw disk with the appliance's partitions.
#[derive(Debug)]
pub struct Disk {
    /// The file.
    pub path: PathBuf,
    table: Table,
    compatible: String,
}

/// The parts of a boot slot.
#[derive(Debug, Clone)]
pub struct Slot {
    version: String,
    kernel: Vec<u8>,
    kernel_unpacked: u64,
    initramfs: Vec<u8>,
    /// The kernel's command line, without what the boot manager adds.
    pub command_line: String,
}

impl Slot {
    /// Version of its system.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Gives it another version.
    pub fn set_version(&mut self, version: &str) {
        self.version = version.into();
    }
}

impl Disk {
    /// A copy of an image, `bytes` long, on a file without the image's holes.
    pub fn copy(image: &Path, path: &Path, bytes: u64, board: &Board) -> Result<Self> {
        let status = Command::new("cp")
            .arg("--sparse=always")
            .args([image, path])
            .status()?;
        ensure!(status.success(), "cp: {status}");
        let file = File::options().write(true).open(path)?;
        file.set_len(bytes.max(file.metadata()?.len()))?;
        let image = File::open(path)?;
        let sectors = u64::from(board.disk.image_mib) << 11;
        let found = disk_layout::read(sectors, |lba, into: &mut [u8]| {
            image.read_exact_at(into, lba * 512)
        })
        .map_err(|e| anyhow::anyhow!("{e:?}"))?;
        Ok(Self {
            path: path.into(),
            table: found.table,
            compatible: board.compatible.clone(),
        })
    }

    fn open(&self) -> Result<File> {
        Ok(File::options().read(true).write(true).open(&self.path)?)
    }

    fn place(&self, partition: &str) -> Result<(u64, u64)> {
        let p = self
            .table
            .by_name(partition)
            .with_context(|| format!("no partition {partition}"))?;
        Ok((p.byte_offset(), p.byte_len()))
    }

    /// Reads from a partition.
    pub fn read(&self, partition: &str, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.open()?
            .read_exact_at(&mut bytes, self.place(partition)?.0 + offset)?;
        Ok(bytes)
    }

    /// Writes to a partition.
    pub fn write(&self, partition: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        let (start, length) = self.place(partition)?;
        ensure!(offset + bytes.len() as u64 <= length, "outside of {partition}");
        Ok(self.open()?.write_all_at(bytes, start + offset)?)
    }

    /// Flips one bit of a partition.
    pub fn flip_bit(&self, partition: &str, offset: u64) -> Result<()> {
        let byte = self.read(partition, offset, 1)?[0] ^ 0x10;
        self.write(partition, offset, &[byte])
    }

    /// Takes a boot slot apart.
    pub fn slot(&self, letter: char) -> Result<Slot> {
        let name = format!("boot-{letter}");
        let (_, length) = self.place(&name)?;
        let head = self.read(&name, 0, HEADER_LEN)?;
        let head: &[u8; HEADER_LEN] = head.first_chunk().context("header")?;
        let header = Header::parse(head, length)?;
        let part = |kind: PartKind| {
            let part = header.part(kind);
            self.read(&name, part.offset(), part.stored_len() as usize)
        };
        Ok(Slot {
            version: header.version().into(),
            kernel: part(PartKind::Kernel)?,
            kernel_unpacked: header.part(PartKind::Kernel).unpacked_len(),
            initramfs: part(PartKind::Initramfs)?,
            command_line: String::from_utf8(part(PartKind::CommandLine)?)?,
        })
    }

    /// Writes a boot slot, signed with the development key.
    pub fn set_slot(&self, letter: char, slot: &Slot) -> Result<()> {
        let (key, _) = image_builder::keys::development()?;
        let bytes = Payload {
            compatible: &self.compatible,
            version: &slot.version,
            kernel_gzip: &slot.kernel,
            kernel_unpacked_len: slot.kernel_unpacked,
            initramfs: &slot.initramfs,
            command_line: &slot.command_line,
            development_keys: true,
        }
        .write(&key.key)?;
        self.write(&format!("boot-{letter}"), 0, &bytes)
    }

    /// Adds words to the command lines of both slots.
    pub fn add_to_command_lines(&self, words: &str) -> Result<()> {
        for letter in ['a', 'b'] {
            self.add_to_command_line(letter, words)?;
        }
        Ok(())
    }

    /// Adds words to the command line of a slot.
    pub fn add_to_command_line(&self, letter: char, words: &str) -> Result<()> {
        let mut slot = self.slot(letter)?;
        slot.command_line = format!("{} {words}", slot.command_line);
        self.set_slot(letter, &slot)
    }

    /// Both copies of the boot state.
    pub fn boot_state(&self) -> Result<Bootstate> {
        let copies = [self.boot_state_copy(0)?, self.boot_state_copy(1)?];
        Ok(Bootstate::load([&copies[0], &copies[1]]))
    }

    /// One copy of the boot state.
    pub fn boot_state_copy(&self, copy: usize) -> Result<[u8; SECTOR_LEN]> {
        let bytes = self.read("bootstate", COPY_OFFSETS[copy], SECTOR_LEN)?;
        Ok(*bytes.first_chunk().context("sector")?)
    }

    /// Replaces one copy of the boot state.
    pub fn set_boot_state_copy(&self, copy: usize, bytes: &[u8]) -> Result<()> {
        self.write("bootstate", COPY_OFFSETS[copy], bytes)
    }

    /// Copies a file from the FAT partition.
    pub fn copy_from_firmware(&self, inside: &str, to: &Path) -> Result<()> {
        let (start, _) = self.place("firmware")?;
        let _ = std::fs::remove_file(to);
        let output = Command::new("mcopy")
            .arg("-i")
            .arg(format!("{}@@{start}", self.path.display()))
            .arg(format!("::{inside}"))
            .arg(to)
            .output()?;
        if !output.status.success() {
            bail!("mcopy {inside}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// A read-only check of the file system on `data`, by e2fsck; what it says when it is not clean.
    pub fn check_data(&self) -> Result<()> {
        let table = File::open(&self.path)?;
        let sectors = table.metadata()?.len() / 512;
        // After growing, the table says where data ends now.
        let found = disk_layout::read(sectors, |lba, into: &mut [u8]| {
            table.read_exact_at(into, lba * 512)
        })
        .map_err(|e| anyhow::anyhow!("{e:?}"))?;
        let data = found.table.by_name("data").context("no partition data")?;
        // In a file of its own: e2fsck forgets an offset when it opens the file system again after the journal.
        let copy = self.path.with_extension("data");
        let to = File::create(&copy)?;
        to.set_len(data.byte_len())?;
        let mut buffer = vec![0; 1 << 20];
        for at in (0..data.byte_len()).step_by(buffer.len()) {
            let n = (data.byte_len() - at).min(buffer.len() as u64) as usize;
            table.read_exact_at(&mut buffer[..n], data.byte_offset() + at)?;
            if buffer[..n].iter().any(|b| *b != 0) {
                to.write_all_at(&buffer[..n], at)?;
            }
        }
        let checked = check_ext4(&copy);
        std::fs::remove_file(&copy)?;
        checked
    }
}

impl Slot {
    /// Renames a file inside the initramfs, so that it is missing under its own name. Same length, last letter changed.
    pub fn lose_module(&mut self, file: &str) -> Result<()> {
        let mut archive = zstd::decode_all(&self.initramfs[..])?;
        let name = file.as_bytes();
        let at = archive
            .windows(name.len())
            .rposition(|w| w == name)
            .with_context(|| format!("no {file}"))?;
        archive[at + name.len() - 1] ^= 1;
        self.initramfs = zstd::encode_all(&archive[..], 3)?;
        Ok(())
    }

    /// Replaces a word of the command line that begins with `key`.
    pub fn set_argument(&mut self, key: &str, value: &str) -> Result<()> {
        let words: Vec<String> = self
            .command_line
            .split(' ')
            .map(|w| {
                if w.starts_with(&format!("{key}=")) {
                    format!("{key}={value}")
                } else {
                    w.into()
                }
            })
            .collect();
        let changed = words.join(" ");
        ensure!(changed != self.command_line, "no {key} on the command line");
        self.command_line = changed;
        Ok(())
    }
}

impl Disk {
    /// Reads from the whole disk.
    pub fn read_raw(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.open()?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Writes to the whole disk.
    pub fn write_raw(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        Ok(self.open()?.write_all_at(bytes, offset)?)
    }
}

/// Checks an ext4 file system in a file of its own, after its journal was replayed there.
pub fn check_ext4(file: &Path) -> Result<()> {
    // The journal is replayed as at the next boot; only what then remains would be damage.
    let output = Command::new("e2fsck")
        .args(["-fy"])
        .arg(file)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // The superblock's totals are brought up to date lazily and belong to every replay; anything else would be damage.
    let lines: Vec<&str> = said.lines().filter(|l| !l.trim().is_empty()).collect();
    let mended = lines.windows(2).find(|pair| {
        pair[1].contains("? yes")
            && !pair[0].starts_with("Free blocks count wrong (")
            && !pair[0].starts_with("Free inodes count wrong (")
    });
    if output.status.code().is_none_or(|c| c > 1) || mended.is_some() {
        bail!("data is damaged: {said}");
    }
    Ok(())
}
