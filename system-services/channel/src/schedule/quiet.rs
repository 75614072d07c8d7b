//! The hours in which nobody minds a restart.

use std::fmt;

use bundle::cms::UnixTime;

const DAY_S: i64 = 86_400;

/// From one minute of the local day to another, which may be on the next day. Always at least a minute, never all day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    from_minute: u16,
    to_minute: u16,
}

/// Why these are no quiet hours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("quiet hours are two different times of the day, such as 02:00-05:00")]
pub struct QuietHoursError;

impl Default for QuietHours {
    /// From two to five in the morning.
    fn default() -> Self {
        Self {
            from_minute: 120,
            to_minute: 300,
        }
    }
}

impl QuietHours {
    /// From minutes of the day, 0 to 1439. `to` is not in it any more.
    pub fn new(from_minute: u16, to_minute: u16) -> Result<Self, QuietHoursError> {
        if from_minute == to_minute || from_minute >= 1440 || to_minute >= 1440 {
            return Err(QuietHoursError);
        }
        Ok(Self {
            from_minute,
            to_minute,
        })
    }

    /// From `02:00-05:00` or `22:30-06:00`.
    pub fn parse(text: &str) -> Result<Self, QuietHoursError> {
        let (from, to) = text.split_once('-').ok_or(QuietHoursError)?;
        Self::new(
            minute(from).ok_or(QuietHoursError)?,
            minute(to).ok_or(QuietHoursError)?,
        )
    }

    /// `now` is in them, where the local time is `utc_offset_s` ahead of UTC.
    pub fn contains(&self, now: UnixTime, utc_offset_s: i32) -> bool {
        let since = (local(now, utc_offset_s) - self.begin_s()).rem_euclid(DAY_S);
        since < (self.end_s() - self.begin_s()).rem_euclid(DAY_S)
    }

    /// `now` when it is in them, else when they begin next. Where summer time begins or ends before that, it is an hour
    /// off until the caller asks again with the new offset.
    pub fn next(&self, now: UnixTime, utc_offset_s: i32) -> UnixTime {
        if self.contains(now, utc_offset_s) {
            return now;
        }
        let until = (self.begin_s() - local(now, utc_offset_s)).rem_euclid(DAY_S);
        UnixTime(now.0.saturating_add(until.unsigned_abs()))
    }

    fn begin_s(self) -> i64 {
        i64::from(self.from_minute) * 60
    }

    fn end_s(self) -> i64 {
        i64::from(self.to_minute) * 60
    }
}

/// Second of the local day.
fn local(now: UnixTime, utc_offset_s: i32) -> i64 {
    let of_day = (now.0 % DAY_S.unsigned_abs()) as i64;
    (of_day + i64::from(utc_offset_s)).rem_euclid(DAY_S)
}

/// Two digits, a colon, two digits.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
    };
    let (hour, minute): (u16, u16) = (number(hour)?, number(minute)?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from_minute, self.to_minute);
        write!(
            f,
            "{:02}:{:02}-{:02}:{:02}",
            from / 60,
            from % 60,
            to / 60,
            to % 60
        )
    }
}
