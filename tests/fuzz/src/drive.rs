//! What the writer of a drive says of its files.

use hyper_drive::blobs::fuzz_block_map;
use hyper_drive::drive::{FilePath, fuzz_entry, resolve};
use hyper_drive::mirror::{DiskPath, link_on_disk};

use crate::{accept, text};

/// What is noted of a file.
pub fn drive_entry(bytes: &[u8]) {
    if fuzz_entry(bytes) {
        accept();
    }
}

/// The list of a file's blocks.
pub fn drive_block_map(bytes: &[u8]) {
    if fuzz_block_map(bytes) {
        accept();
    }
}

/// The name of a file and, after a line's end, the target of a link there. Accepted is a name that goes onto a disk.
pub fn drive_path(bytes: &[u8]) {
    let Some((name, target)) = text(bytes).map(|text| text.split_once('\n').unwrap_or((text, ""))) else {
        return;
    };
    if let Ok(path) = FilePath::new(name) {
        assert_eq!(FilePath::new(path.as_str()).ok(), Some(path.clone()));
        assert!(
            resolve(path.as_str(), target).is_ok_and(|end| end.starts_with('/')) || target.contains("..")
        );
    }
    let Ok(path) = DiskPath::new(name) else {
        return;
    };
    accept();
    // Nothing that goes onto a disk means another file in a drive.
    assert_eq!(
        FilePath::new(name).ok().map(|path| path.as_str().to_owned()),
        Some(path.in_drive())
    );
    if let Ok(target) = link_on_disk(&path, target) {
        assert!(!target.starts_with('/'), "{name} -> {target} leads out");
        let ups = target.split('/').take_while(|part| *part == "..").count();
        assert!(ups < name.matches('/').count(), "{name} -> {target} leads out");
        assert!(
            !target.split('/').skip(ups).any(|part| part == ".."),
            "{name} -> {target} goes up again"
        );
    }
}
