//! Names: the 8.3 entry, the long-name entries before it, and when two names are the same.

use crate::error::{FatError, Result};

/// Most UTF-16 units of a long name.
pub(crate) const MAX_UNITS: usize = 255;
/// UTF-16 units in one long-name entry.
pub(crate) const UNITS_PER_SLOT: usize = 13;
/// Where they stand in the entry.
pub(crate) const UNIT_OFFSETS: [usize; UNITS_PER_SLOT] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// Splits a path with `/` between its parts, and checks every part.
pub(crate) fn parts(path: &str) -> Result<Vec<&str>> {
    let parts: Vec<&str> = path.split('/').collect();
    for part in &parts {
        check(part).map_err(|problem| FatError::path(path, problem))?;
    }
    if parts.len() > crate::tree::MAX_DEPTH {
        return Err(FatError::path(path, "too many folders inside each other"));
    }
    Ok(parts)
}

fn check(name: &str) -> std::result::Result<(), String> {
    if name.is_empty() || name == "." || name == ".." {
        return Err("a part of it is empty, \".\" or \"..\"".into());
    }
    if let Some(c) = name.chars().find(|c| !allowed(*c)) {
        return Err(format!("FAT allows no {c:?} in names"));
    }
    if name.ends_with(['.', ' ']) || name.starts_with(' ') {
        return Err("FAT drops dots and spaces at the end of a name, and spaces at its start".into());
    }
    if name.encode_utf16().count() > MAX_UNITS {
        return Err(format!("a name may have {MAX_UNITS} characters at most"));
    }
    Ok(())
}

/// Whether a long name may hold the character.
pub(crate) fn allowed(c: char) -> bool {
    !c.is_control() && !"\"*/:<>?\\|".contains(c)
}

/// What is the same for all spellings that FAT takes for one name.
pub(crate) fn fold(name: &str) -> String {
    let upper = |c: char| {
        let mut mapped = c.to_uppercase();
        match (mapped.next(), mapped.next()) {
            (Some(one), None) => one,
            _ => c, // names are compared unit by unit
        }
    };
    name.chars().map(upper).collect()
}

/// An 8.3 name as people read it; `flags` are the entry's lower-case bits. Characters outside ASCII depend on a code
/// page that the volume does not name: they become U+FFFD.
pub(crate) fn short_text(raw: &[u8; 11], flags: u8) -> String {
    let part = |bytes: &[u8], lower: bool| -> String {
        let end = bytes.iter().rposition(|b| *b != b' ').map_or(0, |at| at + 1);
        let text = bytes[..end].iter().map(|b| match b {
            b if !b.is_ascii() => char::REPLACEMENT_CHARACTER,
            b if lower => char::from(b.to_ascii_lowercase()),
            b => char::from(*b),
        });
        text.collect()
    };
    let mut raw = *raw;
    if raw[0] == 0x05 {
        raw[0] = 0xe5;
    }
    let base = part(&raw[..8], flags & 0x08 != 0);
    let extension = part(&raw[8..], flags & 0x10 != 0);
    if extension.is_empty() {
        base
    } else {
        format!("{base}.{extension}")
    }
}

fn short_allowed(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit() || b"!#$%&'()-@^_`{}~".contains(&b)
}

/// The 8.3 form of a name that needs no long one: upper case, ASCII, short enough.
fn short_exact(name: &str) -> Option<[u8; 11]> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits = |part: &str, most: usize| part.len() <= most && part.bytes().all(short_allowed);
    let whole = !base.is_empty() && (name.contains('.') != extension.is_empty());
    (whole && fits(base, 8) && fits(extension, 3)).then(|| padded(base.as_bytes(), extension.as_bytes()))
}

fn padded(base: &[u8], extension: &[u8]) -> [u8; 11] {
    let mut raw = [b' '; 11];
    raw[..base.len()].copy_from_slice(base);
    raw[8..8 + extension.len()].copy_from_slice(extension);
    raw
}

/// An 8.3 alias that no entry of the folder has, made as fatgen103 says: `BASENA~1.EXT`.
fn short_alias(name: &str, taken: &dyn Fn(&[u8; 11]) -> bool) -> Option<[u8; 11]> {
    let reduced = |part: &str, most: usize| -> Vec<u8> {
        part.chars()
            .filter(|c| *c != ' ' && *c != '.')
            .map(|c| u8::try_from(c).unwrap_or(b'_').to_ascii_uppercase())
            .map(|b| if short_allowed(b) { b } else { b'_' })
            .take(most)
            .collect()
    };
    let (base, extension) = match name.rsplit_once('.') {
        Some((base, extension)) if !base.is_empty() => (base, extension),
        _ => (name, ""),
    };
    let (base, extension) = (reduced(base, 8), reduced(extension, 3));
    (1..1_000_000_u32).find_map(|number| {
        let tail = format!("~{number}");
        let kept = base.len().min(8 - tail.len());
        let numbered = [&base[..kept], tail.as_bytes()].concat();
        let raw = padded(&numbered, &extension);
        (!taken(&raw)).then_some(raw)
    })
}

/// Checksum of an 8.3 name, which ties long-name entries to it.
pub(crate) fn checksum(raw: &[u8; 11]) -> u8 {
    raw.iter()
        .fold(0_u8, |sum, b| sum.rotate_right(1).wrapping_add(*b))
}

/// The entries of a new name: long-name entries, if any are needed, then the 8.3 entry with nothing but its name.
pub(crate) fn slots(name: &str, taken: &dyn Fn(&[u8; 11]) -> bool) -> Option<Vec<[u8; 32]>> {
    let mut own = [0_u8; 32];
    if let Some(raw) = short_exact(name).filter(|raw| !taken(raw)) {
        own[..11].copy_from_slice(&raw);
        return Some(vec![own]);
    }
    let raw = short_alias(name, taken)?;
    own[..11].copy_from_slice(&raw);
    let units: Vec<u16> = name.encode_utf16().collect();
    let count = units.len().div_ceil(UNITS_PER_SLOT);
    let mut slots = Vec::with_capacity(count + 1);
    for order in (1..=count).rev() {
        let mut slot = [0_u8; 32];
        slot[0] = order as u8 | if order == count { 0x40 } else { 0 };
        slot[11] = 0x0f;
        slot[13] = checksum(&raw);
        for (i, offset) in UNIT_OFFSETS.iter().enumerate() {
            let at = (order - 1) * UNITS_PER_SLOT + i;
            // One zero behind the name, then ones.
            let unit = units
                .get(at)
                .copied()
                .unwrap_or(if at == units.len() { 0 } else { 0xffff });
            slot[*offset..offset + 2].copy_from_slice(&unit.to_le_bytes());
        }
        slots.push(slot);
    }
    slots.push(own);
    Some(slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(_: &[u8; 11]) -> bool {
        false
    }

    #[test]
    fn an_upper_case_short_name_takes_one_entry_and_others_more() {
        assert_eq!(slots("BOOTX64.EFI", &free).unwrap().len(), 1);
        assert_eq!(slots("config.txt", &free).unwrap().len(), 2);
        assert_eq!(slots("bcm2711-rpi-4-b.dtb", &free).unwrap().len(), 3);
        assert_eq!(
            &slots("bcm2711-rpi-4-b.dtb", &free).unwrap()[2][..11],
            b"BCM271~1DTB"
        );
        assert_eq!(slots(&"x".repeat(255), &free).unwrap().len(), 21);
    }

    #[test]
    fn an_alias_that_is_taken_is_not_given_again() {
        let taken = |raw: &[u8; 11]| raw == b"CONFIG~1TXT";
        assert_eq!(&slots("config.txt", &taken).unwrap()[1][..11], b"CONFIG~2TXT");
    }

    #[test]
    fn names_that_leave_the_volume_or_that_fat_changes_are_refused() {
        for path in [
            "", "/x", "a//b", "../x", "a/./b", "a:b", "x.", "x ", "a\\b", "a\nb",
        ] {
            assert!(parts(path).is_err(), "{path:?}");
        }
        assert_eq!(parts("EFI/BOOT/x.efi").unwrap(), ["EFI", "BOOT", "x.efi"]);
    }

    #[test]
    fn lower_case_bits_and_the_letter_that_looks_deleted_are_read() {
        assert_eq!(short_text(b"CONFIG  TXT", 0x18), "config.txt");
        assert_eq!(short_text(b"CONFIG     ", 0), "CONFIG");
        assert_eq!(short_text(b"\x05BC     TXT", 0), "\u{fffd}BC.TXT");
    }
}
