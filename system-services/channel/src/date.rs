//! Times for people.

use bundle::cms::UnixTime;

/// A time as `2026-08-31 14:05 UTC`.
pub fn date(time: UnixTime) -> String {
    let text = time.to_string();
    // Without the seconds.
    let minutes = text
        .rsplit_once(':')
        .map_or(text.as_str(), |(minutes, _)| minutes);
    format!("{} UTC", minutes.replace('T', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_788_185_100, "2026-08-31 14:05 UTC"),
            (4_107_542_399, "2100-02-28 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
            (253_402_300_799, "9999-12-31 23:59 UTC"),
            (u64::MAX, "9999-12-31 23:59 UTC"),
        ] {
            assert_eq!(date(UnixTime(seconds)), expected);
        }
    }
}
