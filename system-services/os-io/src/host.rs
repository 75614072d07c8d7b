//! Facts of the running kernel: host name, clock, uptime.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::{Error, failed};

/// Sets the kernel's host name.
pub fn set_hostname(name: &str) -> Result<(), Error> {
    rustix::system::sethostname(name.as_bytes()).map_err(failed(format!("set the host name {name:?}")))
}

/// Time since the kernel started.
pub fn uptime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Sets the clock to `floor` (seconds since 1970) if it is before that; says whether it was.
///
/// Boards without a battery clock start in 1970 or at the kernel's build date, where no TLS certificate is valid.
pub fn raise_clock(floor_unix_s: u64) -> Result<bool, Error> {
    let action = || format!("set the clock to {floor_unix_s} s since 1970");
    let floor = i64::try_from(floor_unix_s)
        .map_err(|_| failed(action())(std::io::Error::from(std::io::ErrorKind::InvalidInput)))?;
    if clock_gettime(ClockId::Realtime).tv_sec >= floor {
        return Ok(false);
    }
    clock_settime(
        ClockId::Realtime,
        Timespec {
            tv_sec: floor,
            tv_nsec: 0,
        },
    )
    .map_err(failed(action()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_later_is_left_alone() {
        let before = clock_gettime(ClockId::Realtime).tv_sec;
        assert!(!raise_clock(1).unwrap());
        assert!(clock_gettime(ClockId::Realtime).tv_sec >= before);
    }

    #[test]
    fn uptime_runs() {
        let first = uptime();
        assert!(first > Duration::ZERO && uptime() >= first);
    }
}
