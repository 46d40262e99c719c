//! Moments for people and tools: RFC 3339 in UTC with milliseconds. Written without an allocation, since the access log needs one
//! a line.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::plain::padded;

/// Milliseconds since 1970-01-01 UTC. As text: `2026-01-31T12:00:00.000Z` (RFC 3339).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

const DAY_MS: u64 = 86_400_000;
/// The last millisecond of the year 9999: RFC 3339 has no later one.
const MOST: u64 = 253_402_300_799_999;

/// A moment of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// 1970 to 9999.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
    /// 0 to 999.
    pub millisecond: u64,
}

impl Stamp {
    /// The present moment.
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// From seconds since 1970-01-01 UTC; times before become 1970-01-01.
    pub fn from_unix(seconds: i64) -> Self {
        Self(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
    }

    /// Seconds since 1970-01-01 UTC, with a fraction.
    #[allow(clippy::cast_precision_loss)] // milliseconds of the year 9999 are below 2^53
    pub fn as_secs_f64(self) -> f64 {
        self.0.min(MOST) as f64 / 1000.0
    }

    /// Its place in the Gregorian calendar (days to date by H. Hinnant's algorithm). Times after the year 9999 become its end.
    pub fn civil(self) -> Civil {
        let unix_ms = self.0.min(MOST);
        let rest = unix_ms % DAY_MS;
        let days = unix_ms / DAY_MS + 719_468; // since 0000-03-01
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153; // 0 = March
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Civil {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted + 2) / 5 + 1,
            hour: rest / 3_600_000,
            minute: rest / 60_000 % 60,
            second: rest / 1000 % 60,
            millisecond: rest % 1000,
        }
    }

    /// Appends its text.
    pub fn write(self, out: &mut Vec<u8>) {
        let civil = self.civil();
        for (value, width, after) in [
            (civil.year, 4, b'-'),
            (civil.month, 2, b'-'),
            (civil.day, 2, b'T'),
            (civil.hour, 2, b':'),
            (civil.minute, 2, b':'),
            (civil.second, 2, b'.'),
            (civil.millisecond, 3, b'Z'),
        ] {
            padded(out, value, width);
            out.push(after);
        }
    }
}

impl From<SystemTime> for Stamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(24);
        self.write(&mut text);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        u64::try_from(moment.as_millisecond())
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_known_moments() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_709_251_199_001, "2024-02-29T23:59:59.001Z"),
            (MOST, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Stamp(unix_ms).to_string(), text);
        }
    }

    #[test]
    fn agrees_with_a_calendar_library() {
        let mut unix_ms = 0;
        while unix_ms < MOST {
            let known = jiff::Timestamp::from_millisecond(i64::try_from(unix_ms).unwrap()).unwrap();
            assert_eq!(
                Stamp(unix_ms).to_string(),
                known.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
            );
            unix_ms += 86_400_000 * 31 + 3_723_457;
        }
    }

    #[test]
    fn json_there_and_back() {
        let stamp = Stamp(1_767_225_600_123);
        let json = serde_json::to_string(&stamp).unwrap();
        assert_eq!(json, "\"2026-01-01T00:00:00.123Z\"");
        assert_eq!(serde_json::from_str::<Stamp>(&json).unwrap(), stamp);
        assert_eq!(
            serde_json::from_str::<Stamp>("\"2026-01-01T01:00:00+01:00\"").unwrap(),
            Stamp(1_767_225_600_000)
        );
    }
}
