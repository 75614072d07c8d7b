//! What util-linux says about our tables. It is a build dependency of the image (`cargo xtask doctor`).

use disk_layout::{Guid, Mbr, Partition, SECTOR, Table, grow_last, read_slice, types};
use std::path::Path;
use std::process::Command;

const SECTORS: u64 = 64 * 2048;

fn table() -> Table {
    let partition = |number: u32, name: &str, type_guid, first_lba, sectors| Partition {
        number,
        name: name.into(),
        type_guid,
        unique_guid: Guid::from_u128(0x0123_4567_89ab_4cde_8f01_2345_6789_ab00 + u128::from(number)),
        first_lba,
        last_lba: first_lba + sectors - 1,
        attributes: 0,
    };
    let partitions = vec![
        partition(1, "firmware", types::EFI_SYSTEM, 2048, 8 * 2048),
        partition(2, "bootstate", types::LINUX_DATA, 9 * 2048, 2048),
        partition(3, "data", types::LINUX_DATA, 10 * 2048, 8 * 2048),
    ];
    Table::new(
        Guid::from_u128(0x0123_4567_89ab_4cde_8f01_2345_6789_abff),
        SECTORS / 2,
        partitions,
    )
    .expect("valid")
}

/// Output of sfdisk, standard error included: a warning is a failure.
fn sfdisk(arguments: &[&str], image: &Path) -> String {
    let path = ["/usr/sbin/sfdisk", "/sbin/sfdisk"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let output = Command::new(path.unwrap_or("sfdisk"))
        .args(arguments)
        .arg(image)
        .env("LC_ALL", "C")
        .output()
        .expect("sfdisk (package fdisk) is needed for this test");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "sfdisk {arguments:?}: {text}");
    text
}

fn image(kind: Mbr) -> Vec<u8> {
    let table = table();
    let mut disk = vec![0; SECTORS as usize / 2 * SECTOR];
    let (primary, backup) = (table.primary(kind).expect("primary"), table.backup());
    disk[..primary.len()].copy_from_slice(&primary);
    let at = disk.len() - backup.len();
    disk[at..].copy_from_slice(&backup);
    disk
}

fn assert_reads_as_ours(bytes: &[u8], data_sectors: u64) -> String {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("written");
    let json = sfdisk(&["--json"], file.path()).to_lowercase();
    for expected in [
        "\"label\": \"gpt\"".into(),
        "\"id\": \"01234567-89ab-4cde-8f01-23456789abff\"".into(),
        "\"name\": \"firmware\"".into(),
        "\"type\": \"c12a7328-f81f-11d2-ba4b-00a0c93ec93b\"".into(),
        "\"uuid\": \"01234567-89ab-4cde-8f01-23456789ab03\"".into(),
        format!("\"start\": 20480,\n         \"size\": {data_sectors},"),
        format!("\"lastlba\": {}", bytes.len() as u64 / 512 - 34),
    ] {
        let expected: String = expected;
        let found: String = json.split_whitespace().collect();
        let wanted: String = expected.split_whitespace().collect();
        assert!(found.contains(&wanted), "{expected} is not in {json}");
    }
    let verified = sfdisk(&["--verify"], file.path());
    assert!(verified.contains("No errors detected"), "{verified}");
    verified
}

#[test]
fn sfdisk_finds_the_protective_table_without_fault() {
    let verified = assert_reads_as_ours(&image(Mbr::Protective), 8 * 2048);
    assert!(!verified.to_lowercase().contains("mismatch"), "{verified}");
}

#[test]
fn sfdisk_finds_the_hybrid_table_without_fault_and_the_pi_finds_its_fat() {
    let bytes = image(Mbr::Hybrid { firmware: 1 });
    assert_reads_as_ours(&bytes, 8 * 2048);
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("written");
    let dos: String = sfdisk(&["--json", "--label-nested", "dos"], file.path())
        .split_whitespace()
        .collect();
    assert!(dos.contains(r#""start":2048,"size":16384,"type":"c""#), "{dos}");
    assert!(dos.contains(r#""start":1,"size":2047,"type":"ee""#), "{dos}");
}

#[test]
fn sfdisk_finds_the_grown_table_without_fault() {
    for kind in [Mbr::Protective, Mbr::Hybrid { firmware: 1 }] {
        let mut disk = image(kind);
        disk.resize(SECTORS as usize * SECTOR, 0);
        let growth = grow_last(&read_slice(&disk).expect("a table"), SECTORS)
            .expect("grows")
            .expect("has room");
        for write in &growth.writes {
            disk[write.byte_offset() as usize..][..write.bytes.len()].copy_from_slice(&write.bytes);
        }
        assert_reads_as_ours(&disk, growth.table.partitions()[2].sectors());
    }
}
