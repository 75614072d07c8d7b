//! Times as FAT stores them.

/// Date and time of a directory entry, two seconds apart, from 1980 to 2107.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    pub(crate) date: u16,
    pub(crate) time: u16,
}

const DAY: u64 = 86_400;
/// 1980-01-01 in days since 1970-01-01.
const FIRST_DAY: u64 = 3652;

impl Timestamp {
    /// From seconds since 1970, as UTC; what is outside of FAT's years becomes the nearest.
    pub fn from_unix(seconds: u64) -> Self {
        let mut days = (seconds / DAY).max(FIRST_DAY) - FIRST_DAY;
        let mut year: u64 = 0;
        while year < 127 && days >= days_of_year(year) {
            days -= days_of_year(year);
            year += 1;
        }
        days = days.min(days_of_year(year) - 1);
        let mut month: u64 = 1;
        while days >= days_of_month(year, month) {
            days -= days_of_month(year, month);
            month += 1;
        }
        let of_day = seconds % DAY;
        let date = (year << 9 | month << 5 | (days + 1)) as u16;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let time = (hour << 11 | minute << 5 | (second / 2)) as u16;
        Self { date, time }
    }
}

/// Years count from 1980; of those up to 2107 only 2100 is divisible by four and no leap year.
fn leap(year: u64) -> bool {
    year.is_multiple_of(4) && year != 120
}

fn days_of_year(year: u64) -> u64 {
    365 + u64::from(leap(year))
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days_are_right() {
        let date = |seconds| Timestamp::from_unix(seconds).date;
        let packed = |y: u16, m: u16, d: u16| (y - 1980) << 9 | m << 5 | d;
        assert_eq!(date(0), packed(1980, 1, 1));
        assert_eq!(date(951_782_400), packed(2000, 2, 29));
        assert_eq!(date(1_767_225_599), packed(2025, 12, 31));
        assert_eq!(date(4_107_542_400), packed(2100, 3, 1));
        assert_eq!(date(u64::MAX), packed(2107, 12, 31));
        assert_eq!(Timestamp::from_unix(3661).time, 1 << 11 | 1 << 5);
    }
}
