//! Wall-clock time as RFC 3339 in UTC with milliseconds, the same in every log.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracing_subscriber::fmt::{format::Writer, time::FormatTime};

/// A moment; displays as `2026-11-23T19:48:15.123Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// Milliseconds since 1970; a clock before that counts as 1970.
    millis: u64,
}

impl Timestamp {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// As long ago as `duration`.
    #[must_use]
    pub fn ago(duration: Duration) -> Self {
        SystemTime::now().checked_sub(duration).unwrap_or(UNIX_EPOCH).into()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { millis: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.millis / 1000, self.millis % 1000);
        let (year, month, day) = date(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// The proleptic Gregorian date of a day since 1970-01-01. Years are counted from March, so that the leap day is a year's last,
/// in cycles of 400 years, which all have the same number of days.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // 0 = March
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (cycle * 400 + year + u64::from(month <= 2), month, day)
}

/// Gives the process log our form of time.
#[derive(Clone, Copy, Debug)]
pub struct LogTime;

impl FormatTime for LogTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", Timestamp::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, millis: u64) -> String {
        Timestamp::from(UNIX_EPOCH + Duration::from_millis(seconds * 1000 + millis)).to_string()
    }

    #[test]
    fn moments_are_written_as_rfc_3339() {
        // Seconds by `date -u -d TIME +%s`.
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400, 7), "2000-02-29T00:00:00.007Z");
        assert_eq!(at(1_709_251_199, 999), "2024-02-29T23:59:59.999Z");
        assert_eq!(at(1_709_251_200, 0), "2024-03-01T00:00:00.000Z");
        assert_eq!(at(1_795_460_895, 123), "2026-11-23T19:08:15.123Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn dates_go_on_without_gaps_for_four_centuries() {
        let mut previous = date(0);
        for day in 1..146_097 {
            let today = date(day);
            let (year, month, day_of_month) = today;
            let follows = today == (previous.0, previous.1, previous.2 + 1)
                || (day_of_month == 1 && (year, month) == (previous.0, previous.1 + 1))
                || today == (previous.0 + 1, 1, 1) && previous.1 == 12 && previous.2 == 31;
            assert!(follows, "{previous:?} then {today:?}");
            previous = today;
        }
        assert_eq!(date(146_097), (2370, 1, 1));
    }
}
