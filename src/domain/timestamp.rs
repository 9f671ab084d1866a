//! Wall-clock time as the domain sees it: a number of milliseconds that is passed in.

use std::{fmt, time::Duration};

/// Milliseconds since the Unix epoch, UTC. Shown as RFC 3339 with milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// The time so long after this one.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(millis(time)))
    }

    /// The time so long before this one, or the epoch.
    #[must_use]
    pub fn minus(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(millis(time)))
    }

    /// How long ago an earlier time was; nothing if it is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// From RFC 3339, with any offset; nothing if it is not that, or before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let timestamp: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(timestamp.as_millisecond()).ok().map(Self)
    }

    /// As HTTP writes dates (RFC 9110, section 5.6.7): `Thu, 20 Jun 2024 16:13:20 GMT`. Beyond the
    /// calendar there is none.
    pub fn to_http_date(self) -> Option<String> {
        jiff::fmt::rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&self.calendar()?)
            .ok()
    }

    fn calendar(self) -> Option<jiff::Timestamp> {
        i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
    }
}

/// A length of time in whole milliseconds. What has no end is as good as the longest.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Past the year 9999 RFC 3339 has no form; the latest that it has is the honest answer.
        write!(f, "{:.3}", self.calendar().unwrap_or(jiff::Timestamp::MAX))
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_rfc_3339_utc_with_milliseconds() {
        assert_eq!(Timestamp::from_ms(1_718_900_000_000).to_string(), "2024-06-20T16:13:20.000Z");
        assert_eq!(Timestamp::from_ms(1_718_900_000_007).to_string(), "2024-06-20T16:13:20.007Z");
        assert_eq!(Timestamp::from_ms(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn reads_what_it_shows_and_other_offsets() {
        assert_eq!(
            Timestamp::parse("2024-06-20T16:13:20.007Z"),
            Some(Timestamp::from_ms(1_718_900_000_007))
        );
        assert_eq!(
            Timestamp::parse("2024-06-20T18:13:20.007999+02:00"),
            Some(Timestamp::from_ms(1_718_900_000_007))
        );
        for text in
            ["", "now", "2024-06-20", "1718900000", "1969-12-31T23:59:59Z", "2024-06-20T16:13:20"]
        {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn shows_the_date_of_http() {
        assert_eq!(
            Timestamp::from_ms(1_718_900_000_007).to_http_date().as_deref(),
            Some("Thu, 20 Jun 2024 16:13:20 GMT")
        );
        assert_eq!(Timestamp::from_ms(u64::MAX).to_http_date(), None);
    }

    #[test]
    fn a_time_beyond_the_calendar_does_not_panic() {
        assert!(Timestamp::from_ms(u64::MAX).to_string().starts_with("9999-12-3"));
    }
}
