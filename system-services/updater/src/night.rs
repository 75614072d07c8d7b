//! When the next quiet hour begins, in the box's time zone.

use os_io::root::Root;

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 86_400;
/// Largest file of a time zone that is read.
const MAX_BYTES: usize = 64 * 1024;

/// The next time (seconds since 1970) at which the clock on the wall shows `hour`:00, at least a minute from `now_unix_s`.
pub fn next(now_unix_s: u64, hour: u8, utc_offset_s: i32) -> u64 {
    let now = i64::try_from(now_unix_s).unwrap_or(i64::MAX / 2);
    let earliest = now + i64::from(utc_offset_s) + 60;
    let on_that_day = earliest - earliest.rem_euclid(DAY_S) + i64::from(hour) * HOUR_S;
    let at = if on_that_day < earliest {
        on_that_day + DAY_S
    } else {
        on_that_day
    };
    u64::try_from(at - i64::from(utc_offset_s)).unwrap_or(now_unix_s)
}

/// Seconds east of UTC now, from `/etc/localtime`; 0 where that cannot be read.
pub fn utc_offset_s(root: &Root, now_unix_s: u64) -> i32 {
    let bytes = std::fs::read(root.path("/etc/localtime")).unwrap_or_default();
    i64::try_from(now_unix_s)
        .ok()
        .and_then(|now| offset_in(&bytes, now))
        .unwrap_or(0)
}

/// The offset at a time in a TZif file (RFC 9636) of version 2 or later. Debian's files list their transitions up to 2037;
/// after the last one its offset stays, which is an hour off at most.
pub fn offset_in(bytes: &[u8], at_unix_s: i64) -> Option<i32> {
    let bytes = bytes.get(..bytes.len().min(MAX_BYTES))?;
    let first = Header::read(bytes)?;
    // The first block is for programs with 32 bits; the second begins behind it.
    let second = bytes.get(first.data_len(4)?.checked_add(Header::LEN)?..)?;
    let header = Header::read(second)?;
    let data = second.get(Header::LEN..)?;
    let times = data.get(..header.times.checked_mul(8)?)?;
    let kinds = data.get(times.len()..times.len() + header.times)?;
    let types = data.get(times.len() + kinds.len()..)?;
    let before = times
        .as_chunks::<8>()
        .0
        .iter()
        .take_while(|time| i64::from_be_bytes(**time) <= at_unix_s)
        .count();
    let kind = match before.checked_sub(1) {
        Some(last) => usize::from(*kinds.get(last)?),
        None => 0,
    };
    if kind >= header.types {
        return None;
    }
    let offset = types.get(kind * 6..kind * 6 + 4)?;
    Some(i32::from_be_bytes(offset.try_into().ok()?))
        .filter(|offset| i64::from(offset.unsigned_abs()) < DAY_S)
}

struct Header {
    utc_flags: usize,
    standard_flags: usize,
    leaps: usize,
    times: usize,
    types: usize,
    letters: usize,
}

impl Header {
    const LEN: usize = 44;

    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..4)? != b"TZif" || *bytes.get(4)? < b'2' {
            return None;
        }
        let count = |at: usize| -> Option<usize> {
            let field = bytes.get(20 + at * 4..24 + at * 4)?;
            usize::try_from(u32::from_be_bytes(field.try_into().ok()?))
                .ok()
                .filter(|count| *count <= MAX_BYTES)
        };
        Some(Self {
            utc_flags: count(0)?,
            standard_flags: count(1)?,
            leaps: count(2)?,
            times: count(3)?,
            types: count(4)?,
            letters: count(5)?,
        })
    }

    fn data_len(&self, time_bytes: usize) -> Option<usize> {
        let times = self.times.checked_mul(time_bytes + 1)?;
        let leaps = self.leaps.checked_mul(time_bytes + 4)?;
        Some(times + self.types * 6 + self.letters + leaps + self.standard_flags + self.utc_flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-15 12:00 UTC and 2026-07-15 12:00 UTC.
    const WINTER: i64 = 1_768_478_400;
    const SUMMER: i64 = 1_784_116_800;

    #[test]
    fn three_at_night_is_three_on_the_wall() {
        let now = WINTER as u64;
        assert_eq!(next(now, 3, 0), now + 15 * 3600);
        assert_eq!(next(now, 3, 3600), now + 14 * 3600);
        assert_eq!(next(now, 3, -5 * 3600), now + 20 * 3600);
        assert_eq!(next(now, 12, 0), now + 86_400, "not this very minute");
        assert_eq!(next(now, 13, 0), now + 3600);
        let before_midnight = now + 12 * 3600 - 9;
        assert_eq!(next(before_midnight, 0, 0), before_midnight + 9 + 86_400);
    }

    #[test]
    fn offsets_are_read_from_the_systems_files_and_rubbish_is_none() {
        assert_eq!(offset_in(b"", WINTER), None);
        let paris = std::fs::read("/usr/share/zoneinfo/Europe/Paris").expect("this test needs tzdata");
        assert_eq!(offset_in(&paris, WINTER), Some(3600));
        assert_eq!(offset_in(&paris, SUMMER), Some(7200));
        for cut in 0..paris.len() {
            let _ = offset_in(&paris[..cut], SUMMER);
        }
        for at in 0..100.min(paris.len()) {
            let mut damaged = paris.clone();
            damaged[at] ^= 0xff;
            let _ = offset_in(&damaged, SUMMER);
        }
    }
}
