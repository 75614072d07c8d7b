//! What the image builder reads from the checkout.

use std::path::Path;

use board_support::{Board, FirmwareFile, MIN_DATA_MIB};
use boot_payload::{COMPATIBLE_LEN, Text};
use image_builder::lock::Lock;

use crate::{accept, text};

/// A board file, taken for each board: the partitions fit the image, files stay on the FAT partition, and the compatible string
/// can stand in a payload's header.
pub fn board(bytes: &[u8]) {
    let Some(text) = text(bytes) else {
        return;
    };
    // The name in the file must be the file's own: others are refused anyway.
    for name in Board::names().into_iter().filter(|name| text.contains(name)) {
        let Ok(board) = Board::parse(name, text) else {
            continue;
        };
        accept();
        assert_eq!(board.name, name);
        let sizes = board.disk;
        let parts = [
            sizes.firmware_mib,
            2,
            sizes.boot_slot_mib,
            sizes.boot_slot_mib,
            MIN_DATA_MIB,
        ]
        .into_iter()
        .chain([sizes.root_slot_mib, sizes.root_slot_mib])
        .map(u64::from);
        assert!(
            parts.sum::<u64>() < u64::from(sizes.image_mib),
            "the partitions do not fit"
        );
        assert!(
            Text::<COMPATIBLE_LEN>::new(&board.compatible).is_ok(),
            "{:?}",
            board.compatible
        );
        for file in &board.firmware_partition.files {
            let (FirmwareFile::Package { to, .. }
            | FirmwareFile::Text { to, .. }
            | FirmwareFile::UbootEnvironment { to, .. }) = file;
            let place = Path::new("/fat").join(to);
            assert!(
                place.starts_with("/fat") && !to.split('/').any(|part| part == ".."),
                "{to:?}"
            );
        }
    }
}

/// A profile file is taken or refused with a reason.
pub fn profile(bytes: &[u8]) {
    let Some(text) = text(bytes) else {
        return;
    };
    match image_builder::profile::check(text) {
        Ok(()) => accept(),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A lock: what parses is written out to the same; names and hashes can be file names and arguments.
pub fn lock(bytes: &[u8]) {
    let Some(lock) = text(bytes).and_then(|text| Lock::parse("corpus.lock", text).ok()) else {
        return;
    };
    accept();
    for package in &lock.package {
        assert!(
            package.name.starts_with(|c: char| c.is_ascii_alphanumeric()),
            "{:?}",
            package.name
        );
        assert!(!package.name.contains('/') && package.sha256.len() == 64);
    }
    let written = lock.to_toml().expect("a lock can be written");
    assert_eq!(
        Lock::parse("written.lock", &written).expect("its own text is refused"),
        lock
    );
}
