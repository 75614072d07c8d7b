//! A small persistent tail of the journal, which itself is in memory: what happened before the plug was pulled.
//!
//! `last-boot.log` is this boot's tail, `previous-boot.log` the one before. The first line names the boot.

use std::io;
use std::path::Path;

use os_io::program::Program;

use crate::places::{Places, read_small};
use crate::redact::redact;

/// Most that is kept of one boot; written about once an hour, so that a card does not wear.
pub const MAX_TAIL_BYTES: usize = 256 * 1024;

/// This boot's tail.
pub const LAST: &str = "last-boot.log";
/// The tail of the boot before.
pub const PREVIOUS: &str = "previous-boot.log";

/// Asks the journal and keeps its tail. Does nothing on a box whose data is not there to write on.
pub fn keep(places: &Places) -> anyhow::Result<()> {
    use anyhow::Context;
    let facts = read_small(&places.at(ipc::paths::BOOT_FACTS))?.context("no facts of this boot")?;
    let facts: ipc::boot_facts::BootFacts = serde_json::from_str(&facts)?;
    if let ipc::boot_facts::DataState::Damaged { .. } = facts.data {
        return Ok(());
    }
    let boot = read_small(&places.at("/proc/sys/kernel/random/boot_id"))?.context("no boot id")?;
    let journal = Program::new("/usr/bin/journalctl")
        .arg("--boot")
        .arg("--priority=info")
        .arg("--output=short-iso")
        .arg("--lines=2000")
        .arg("--no-pager")
        .arg("--quiet")
        .output_limit(4 * 1024 * 1024)
        .run_ok()?
        .stdout;
    store(&places.journal_tail(), boot.trim(), &journal).context("write the tail")
}

/// Writes the tail of this boot's journal, if it is new, and keeps the previous boot's beside it.
pub fn store(folder: &Path, boot: &str, journal: &str) -> io::Result<()> {
    os_io::durable::create_folder(folder, 0o700).map_err(io::Error::other)?;
    let heading = format!("boot {boot}\n");
    let content = format!(
        "{heading}{}",
        tail(&redact(journal), MAX_TAIL_BYTES - heading.len())
    );
    let last = folder.join(LAST);
    match std::fs::read(&last) {
        Ok(old) if old == content.as_bytes() => return Ok(()),
        // A cut after this rename is fine: the next run finds no last tail and writes one.
        Ok(old) if !old.starts_with(heading.as_bytes()) => std::fs::rename(&last, folder.join(PREVIOUS))?,
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    os_io::durable::write_atomically(&last, content.as_bytes(), 0o600).map_err(io::Error::other)
}

/// The last whole lines that fit.
fn tail(text: &str, max_bytes: usize) -> &str {
    if text.len() <= max_bytes {
        return text;
    }
    let mut start = text.len() - max_bytes;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    // When the byte before is a line's end, the first line is whole already.
    if text.as_bytes()[start - 1] == b'\n' {
        return &text[start..];
    }
    text[start..]
        .find('\n')
        .map_or("", |end| &text[start + end + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_boot_keeps_its_tail_until_the_boot_after_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("journal");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        store(&folder, "one", "a\n").unwrap();
        store(&folder, "one", "a\nb\n").unwrap();
        assert!(!folder.join(PREVIOUS).exists());
        store(&folder, "two", "c\n").unwrap();
        assert_eq!(
            (read(PREVIOUS), read(LAST)),
            ("boot one\na\nb\n".into(), "boot two\nc\n".into())
        );
        store(&folder, "three", "password=hunter2\n").unwrap();
        assert_eq!(read(PREVIOUS), "boot two\nc\n");
        assert!(!read(LAST).contains("hunter2"));
    }

    #[test]
    fn an_unchanged_tail_is_not_written_again() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let inode = || std::fs::metadata(folder.path().join(LAST)).unwrap().ino();
        store(folder.path(), "one", "a\n").unwrap();
        let before = inode();
        store(folder.path(), "one", "a\n").unwrap();
        assert_eq!(inode(), before);
    }

    proptest! {
        #[test]
        fn a_tail_is_whole_lines_and_never_too_long(text in "([a-zä€]{0,12}\n){0,30}", max in 0usize..200) {
            let end = tail(&text, max);
            prop_assert!(end.len() <= max && text.ends_with(end));
            prop_assert!(end.is_empty() || end.len() == text.len() || text[..text.len() - end.len()].ends_with('\n'));
        }
    }
}
