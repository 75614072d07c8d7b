//! Whole boots on a disk in memory that tears, drops and refuses.

use boot_manager::{Disk, DiskError, Kernel, Key, Platform, Stuck, run};
use boot_payload::{Payload, SigningKey};
use boot_state::{Bootstate, COPY_OFFSETS, SECTOR_LEN, Slot};
use disk_layout::{Guid, Mbr, Partition, SECTOR, Table, types};
use proptest::prelude::*;
use std::fmt;
use std::io::Write;

const DISK_GUID: &str = "11223344-5566-4788-99aa-bbccddeeff00";

/// What the disk does with writes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Writes {
    Kept,
    /// Says yes and keeps nothing, as worn cards do.
    Dropped,
    Refused,
    /// The power goes: this many bytes of the n-th write arrive, nothing after it.
    Cut {
        write: usize,
        bytes: usize,
    },
}

struct FakeDisk {
    bytes: Vec<u8>,
    writes: Writes,
    written: usize,
    unreadable: Vec<u64>,
}

impl Disk for FakeDisk {
    fn sectors(&self) -> u64 {
        (self.bytes.len() / SECTOR) as u64
    }

    fn read(&mut self, lba: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let range = lba..lba + (into.len() / SECTOR) as u64;
        assert!(
            range.end <= self.sectors() && into.len().is_multiple_of(SECTOR),
            "read outside of the disk"
        );
        assert!(
            into.as_ptr().align_offset(4096) == 0,
            "firmware wants aligned buffers"
        );
        if self.unreadable.iter().any(|bad| range.contains(bad)) {
            return Err(DiskError { lba });
        }
        into.copy_from_slice(&self.bytes[lba as usize * SECTOR..][..into.len()]);
        Ok(())
    }

    fn write(&mut self, lba: u64, from: &[u8]) -> Result<(), DiskError> {
        let bytes = match self.writes {
            Writes::Kept => from.len(),
            Writes::Dropped => 0,
            Writes::Refused => return Err(DiskError { lba }),
            Writes::Cut { write, .. } if self.written < write => from.len(),
            Writes::Cut { write, bytes } if self.written == write => bytes,
            Writes::Cut { .. } => 0,
        };
        self.written += 1;
        self.bytes[lba as usize * SECTOR..][..bytes].copy_from_slice(&from[..bytes]);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}

/// A firmware that starts any kernel that begins with `MZ`, and remembers what it was given.
#[derive(Default)]
struct FakePlatform {
    lines: Vec<String>,
    started: Option<Kernel>,
}

impl Platform for FakePlatform {
    type StartError = &'static str;

    fn say(&mut self, line: fmt::Arguments<'_>) {
        self.lines.push(line.to_string());
    }

    fn start(&mut self, kernel: Kernel) -> Result<(), &'static str> {
        if !kernel.image.as_slice().starts_with(b"MZ") {
            return Err("LOAD_ERROR");
        }
        self.started = Some(kernel);
        Ok(())
    }
}

fn signing_key() -> SigningKey {
    SigningKey::from_slice(&[3; 32]).expect("a scalar")
}

fn key() -> Key {
    Key::from_sec1(signing_key().verifying_key().to_sec1_point(false).as_bytes())
}

fn kernel(first: &[u8]) -> Vec<u8> {
    first
        .iter()
        .copied()
        .chain((0..300_000_u32).flat_map(|n| (n / 7).to_le_bytes()))
        .collect()
}

fn payload(kernel: &[u8], command_line: &str) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(kernel).expect("memory");
    Payload {
        compatible: "qemu-arm64",
        version: "1.2.3",
        kernel_gzip: &gzip.finish().expect("memory"),
        kernel_unpacked_len: kernel.len() as u64,
        initramfs: b"a small initramfs",
        command_line,
        development_keys: false,
    }
    .write(&signing_key())
    .expect("a payload")
}

fn table() -> Table {
    let partition = |number: u32, name: &str, first_lba, sectors| Partition {
        number,
        name: name.into(),
        type_guid: types::LINUX_DATA,
        unique_guid: Guid::from_u128(u128::from(number)),
        first_lba,
        last_lba: first_lba + sectors - 1,
        attributes: 0,
    };
    let partitions = vec![
        partition(1, "firmware", 40, 8),
        partition(2, "bootstate", 48, 2048),
        partition(3, "boot-a", 2104, 2400),
        partition(4, "boot-b", 4504, 2400),
    ];
    Table::new(Guid::parse(DISK_GUID).expect("a GUID"), 7000, partitions).expect("a table")
}

fn at(partition: &str) -> usize {
    table().by_name(partition).expect("a partition").byte_offset() as usize
}

fn disk() -> FakeDisk {
    let table = table();
    let mut disk = FakeDisk {
        bytes: vec![0; 7000 * SECTOR],
        writes: Writes::Kept,
        written: 0,
        unreadable: Vec::new(),
    };
    let (primary, backup) = (
        table.primary(Mbr::Hybrid { firmware: 1 }).expect("room"),
        table.backup(),
    );
    disk.bytes[..primary.len()].copy_from_slice(&primary);
    let end = disk.bytes.len() - backup.len();
    disk.bytes[end..].copy_from_slice(&backup);
    for (copy, offset) in Bootstate::initial().iter().zip(COPY_OFFSETS) {
        disk.bytes[at("bootstate") + offset as usize..][..SECTOR_LEN].copy_from_slice(copy);
    }
    for slot in ["boot-a", "boot-b"] {
        install(&mut disk, slot, &payload(&kernel(b"MZ"), "quiet gpt"));
    }
    disk
}

fn install(disk: &mut FakeDisk, slot: &str, payload: &[u8]) {
    disk.bytes[at(slot)..][..payload.len()].copy_from_slice(payload);
}

fn state(disk: &FakeDisk) -> Bootstate {
    let copies = COPY_OFFSETS.map(|offset| {
        let mut copy = [0; SECTOR_LEN];
        copy.copy_from_slice(&disk.bytes[at("bootstate") + offset as usize..][..SECTOR_LEN]);
        copy
    });
    Bootstate::load([&copies[0], &copies[1]])
}

fn boot(disk: &mut FakeDisk) -> (Result<Slot, Stuck>, FakePlatform) {
    let mut platform = FakePlatform::default();
    (run(disk, &mut platform, &key()), platform)
}

#[test]
fn a_healthy_disk_starts_slot_a_with_all_that_the_system_must_know() {
    let mut disk = disk();
    let (result, platform) = boot(&mut disk);
    assert_eq!(result, Ok(Slot::A));
    let started = platform.started.unwrap();
    assert_eq!(started.image.as_slice(), kernel(b"MZ"));
    assert_eq!(started.initramfs.as_slice(), b"a small initramfs");
    assert_eq!(
        started.command_line,
        format!("quiet gpt hearth.slot=a hearth.disk={DISK_GUID} hearth.state-seq=3 hearth.healed=0")
    );
    assert_eq!(
        (
            state(&disk).sequence(),
            state(&disk).state().slot(Slot::A).tries_left()
        ),
        (3, 2)
    );
    assert_eq!(
        platform.lines[0],
        "Hearth boot manager: slot a (2 tries left after this one)"
    );
}

#[test]
fn a_flipped_bit_anywhere_in_slot_a_starts_slot_b_in_the_same_boot() {
    let len = payload(&kernel(b"MZ"), "quiet gpt").len();
    let parts_begin = [0, 16, 120, 312, 320, 4096, len - 1];
    for place in parts_begin.into_iter().chain((4096..len).step_by(9973)) {
        let mut disk = disk();
        disk.bytes[at("boot-a") + place] ^= 4;
        let (result, platform) = boot(&mut disk);
        // Behind a part, up to the next multiple of 4096, nothing is used.
        let unused = platform.lines.len() == 2;
        assert_eq!(result, Ok(if unused { Slot::A } else { Slot::B }), "byte {place}");
        assert!(
            !unused || !parts_begin.contains(&place),
            "byte {place} was not checked"
        );
        assert_eq!(platform.started.unwrap().image.as_slice(), kernel(b"MZ"));
    }
}

#[test]
fn a_kernel_that_the_firmware_refuses_leads_to_the_other_slot() {
    let mut disk = disk();
    install(&mut disk, "boot-a", &payload(&kernel(b"xx"), "quiet gpt"));
    let (result, platform) = boot(&mut disk);
    assert_eq!(result, Ok(Slot::B));
    assert!(
        platform.lines.iter().any(|line| line.contains("LOAD_ERROR")),
        "{:?}",
        platform.lines
    );
    assert!(platform.started.unwrap().command_line.contains("hearth.slot=b"));
    assert_eq!(state(&disk).sequence(), 4);
}

#[test]
fn boots_that_never_become_good_go_a_a_a_b_b_b_and_heal() {
    let mut disk = disk();
    let mut seen = String::new();
    for _ in 0..7 {
        let (result, platform) = boot(&mut disk);
        seen.push_str(result.unwrap().letter());
        seen.push_str(if platform.started.unwrap().command_line.ends_with("healed=1") {
            "!"
        } else {
            ""
        });
    }
    assert_eq!(seen, "aaabbbb!");
}

#[test]
fn both_slots_damaged_is_said_and_nothing_is_started() {
    let mut disk = disk();
    for slot in ["boot-a", "boot-b"] {
        disk.bytes[at(slot) + 4096] ^= 1;
    }
    for _ in 0..10 {
        let (result, platform) = boot(&mut disk);
        assert_eq!(result, Err(Stuck::Slots));
        assert!(platform.started.is_none());
        let damaged = platform
            .lines
            .iter()
            .filter(|line| line.contains("SHA-256 differs"))
            .count();
        assert!(damaged == 2 || damaged == 1, "{:?}", platform.lines);
    }
    // Once a payload is whole again (a card that was read badly), it starts.
    install(&mut disk, "boot-b", &payload(&kernel(b"MZ"), "quiet gpt"));
    assert_eq!(boot(&mut disk).0, Ok(Slot::B));
}

#[test]
fn a_program_without_a_key_accepts_nothing_and_says_so() {
    let mut platform = FakePlatform::default();
    let result = run(&mut disk(), &mut platform, &Key::from_sec1(&[0; 65]));
    assert_eq!(result, Err(Stuck::Slots));
    assert!(
        platform.lines[0].contains("without a public key"),
        "{:?}",
        platform.lines
    );
}

#[test]
fn a_disk_that_does_not_keep_writes_still_boots_and_says_so() {
    for writes in [Writes::Dropped, Writes::Refused] {
        let mut disk = disk();
        disk.writes = writes;
        let (result, platform) = boot(&mut disk);
        assert_eq!(result, Ok(Slot::A));
        assert!(
            platform
                .lines
                .iter()
                .any(|line| line.contains("could not be counted")),
            "{:?}",
            platform.lines
        );
        // What is on the disk, not what should be: early-boot looks for it.
        assert!(platform.started.unwrap().command_line.contains("state-seq=2 "));
    }
}

#[test]
fn unreadable_sectors_are_damage_and_not_the_end() {
    let (header_a, copy) = (at("boot-a") / SECTOR, at("bootstate") / SECTOR);
    let mut disk = disk();
    disk.unreadable = vec![header_a as u64];
    assert_eq!(boot(&mut disk).0, Ok(Slot::B));
    disk.unreadable = vec![copy as u64];
    assert_eq!(boot(&mut disk).0, Ok(Slot::A));
}

#[test]
fn a_torn_partition_table_is_read_from_its_copy() {
    let mut disk = disk();
    disk.bytes[2 * SECTOR..3 * SECTOR].fill(0x55);
    let (result, platform) = boot(&mut disk);
    assert_eq!(result, Ok(Slot::A));
    assert!(
        platform.lines[0].contains("copy at the end"),
        "{:?}",
        platform.lines
    );
    disk.bytes[6999 * SECTOR..].fill(0);
    assert!(matches!(boot(&mut disk).0, Err(Stuck::Table(_))));
}

#[test]
fn a_command_line_that_linux_would_cut_is_refused() {
    let mut disk = disk();
    install(&mut disk, "boot-a", &payload(&kernel(b"MZ"), &"x".repeat(2000)));
    let (result, platform) = boot(&mut disk);
    assert_eq!(result, Ok(Slot::B));
    assert!(
        platform.lines.iter().any(|line| line.contains("command line")),
        "{:?}",
        platform.lines
    );
}

#[test]
fn lost_boot_state_starts_slot_a_and_is_said() {
    let mut disk = disk();
    let start = at("bootstate");
    disk.bytes[start..start + 2048 * SECTOR].fill(0xff);
    let (result, platform) = boot(&mut disk);
    assert_eq!(result, Ok(Slot::A));
    assert!(platform.lines[0].contains("Both copies"), "{:?}", platform.lines);
    assert_eq!(state(&disk).sequence(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the power does to the state's writes, boot after boot: what is not damaged starts.
    #[test]
    fn cut_state_writes_never_keep_an_intact_slot_from_starting(
        cuts in prop::collection::vec((0..2_usize, 0..=SECTOR_LEN), 1..8),
        damaged in prop::option::of(prop_oneof![Just("boot-a"), Just("boot-b")]),
    ) {
        let mut disk = disk();
        if let Some(slot) = damaged {
            disk.bytes[at(slot) + 5000] ^= 1;
        }
        for (write, bytes) in cuts {
            disk.writes = Writes::Cut { write, bytes };
            disk.written = 0;
            boot(&mut disk).0.ok();
            prop_assert!(!state(&disk).is_default());
        }
        disk.writes = Writes::Kept;
        let slot = boot(&mut disk).0.unwrap();
        let name = format!("boot-{slot}");
        prop_assert_ne!(damaged, Some(name.as_str()));
    }

    #[test]
    fn no_gzip_bytes_make_unpacking_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), flags in any::<u8>()) {
        let mut member = vec![0x1f, 0x8b, 8, flags];
        member.extend_from_slice(&bytes);
        boot_manager::unpack(&member, 1000).ok();
    }
}

#[test]
fn gzip_with_all_its_header_fields_unpacks_and_wrong_lengths_do_not() {
    let mut gzip = flate2::GzBuilder::new()
        .filename("kernel")
        .comment("a comment")
        .extra(vec![1, 2, 3])
        .write(Vec::new(), flate2::Compression::best());
    gzip.write_all(&kernel(b"MZ")).unwrap();
    let member = gzip.finish().unwrap();
    let len = kernel(b"MZ").len();
    assert_eq!(
        boot_manager::unpack(&member, len).unwrap().as_slice(),
        kernel(b"MZ")
    );
    for wrong in [0, 1, len - 1, len + 1] {
        assert!(boot_manager::unpack(&member, wrong).is_err(), "{wrong}");
    }
    for end in [0, 3, 10, 15, member.len() / 2, member.len() - 1] {
        assert!(boot_manager::unpack(&member[..end], len).is_err(), "{end}");
    }
}
