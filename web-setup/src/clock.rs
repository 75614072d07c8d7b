//! Times as the household reads them: in the time zone of the settings.

use ipc::settings::TimeZone as ZoneName;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::system::Root;

/// Compiled zones (RFC 9636) of the IANA data are at most a few kilobytes.
const MAX_ZONE_BYTES: u64 = 64 * 1024;

/// Turns seconds since 1970 into times of one zone.
#[derive(Debug, Clone)]
pub struct LocalClock {
    zone: TimeZone,
    name: String,
}

impl LocalClock {
    /// The rules of `zone` as this appliance has them; UTC, and named so, when it has none.
    pub fn new(root: &Root, zone: &ZoneName) -> Self {
        let path = format!("/usr/share/zoneinfo/{}", zone.as_str());
        let found = root
            .read_bytes(path, MAX_ZONE_BYTES)
            .ok()
            .and_then(|bytes| TimeZone::tzif(zone.as_str(), &bytes).ok());
        match found {
            Some(found) => Self {
                zone: found,
                name: zone.as_str().to_owned(),
            },
            None => Self {
                zone: TimeZone::UTC,
                name: "UTC".into(),
            },
        }
    }

    /// The zone that is used, as a person reads it: `Europe/Paris`, `America/New York`.
    pub fn zone(&self) -> String {
        self.name.replace('_', " ")
    }

    /// Seconds since 1970 as `2026-11-21 03:57`.
    pub fn date_time(&self, unix_s: u64) -> String {
        let local = self.local(unix_s);
        format!("{} {:02}:{:02}", local.date(), local.hour(), local.minute())
    }

    /// Seconds since 1970 as `03:57` when that is within a day from `now_s`, else as [`Self::date_time`].
    pub fn soon(&self, unix_s: u64, now_s: u64) -> String {
        if unix_s.abs_diff(now_s) > 24 * 3600 {
            return self.date_time(unix_s);
        }
        let local = self.local(unix_s);
        format!("{:02}:{:02}", local.hour(), local.minute())
    }

    fn local(&self, unix_s: u64) -> jiff::civil::DateTime {
        let latest = Timestamp::MAX.as_second();
        let seconds = i64::try_from(unix_s).unwrap_or(latest).min(latest);
        let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        self.zone.to_datetime(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::sample;

    fn clock(zone: &str) -> LocalClock {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        sample::write(&root).unwrap();
        LocalClock::new(&root, &ZoneName::parse(zone).unwrap())
    }

    #[test]
    fn times_follow_the_zone_and_its_summer() {
        let paris = clock("Europe/Paris");
        assert_eq!(paris.date_time(1_795_229_820), "2026-11-21 03:57");
        assert_eq!(paris.date_time(1_782_000_000), "2026-06-21 02:00");
        assert_eq!(paris.soon(1_795_229_820, 1_795_229_820 - 7200), "03:57");
        assert_eq!(
            paris.soon(1_795_229_820, 1_795_229_820 - 90_000),
            "2026-11-21 03:57"
        );
        assert_eq!(paris.zone(), "Europe/Paris");
    }

    #[test]
    fn a_zone_that_the_appliance_lacks_is_utc_and_said_to_be() {
        let nowhere = clock("Europe/Atlantis");
        assert_eq!(nowhere.zone(), "UTC");
        assert_eq!(nowhere.date_time(1_795_229_820), "2026-11-21 02:57");
        assert_eq!(nowhere.date_time(u64::MAX).len(), "9999-12-30 22:00".len());
    }
}
