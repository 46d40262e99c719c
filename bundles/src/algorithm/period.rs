//! Periods of budgets. They are spans of UTC, so that a budget of a day is whole again at midnight.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A span of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Period {
    /// Five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// An hour.
    #[serde(rename = "1h")]
    Hour,
    /// A day.
    #[serde(rename = "1d")]
    Day,
    /// A week. It begins on Sunday.
    #[serde(rename = "7d")]
    Week,
}

impl Period {
    /// Every period.
    pub const ALL: [Self; 4] = [Self::FiveMinutes, Self::Hour, Self::Day, Self::Week];

    /// As documents spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Day => "1d",
            Self::Week => "7d",
        }
    }

    /// How long it is.
    pub const fn seconds(self) -> u32 {
        match self {
            Self::FiveMinutes => 300,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 604_800,
        }
    }

    /// Seconds before 1970 at which one began: 1970 began on a Thursday.
    pub const fn offset(self) -> u32 {
        match self {
            Self::Week => 4 * 86_400,
            Self::FiveMinutes | Self::Hour | Self::Day => 0,
        }
    }

    /// When the period that holds a moment began. Both in seconds since 1970.
    pub const fn start(self, unix: i64) -> i64 {
        let (length, offset) = (self.seconds() as i64, self.offset() as i64);
        unix - (unix + offset).rem_euclid(length)
    }
}

#[cfg(test)]
mod tests {
    use super::Period;

    #[test]
    fn periods_begin_on_utc() {
        let now = 1_770_129_000;
        assert_eq!(Period::Hour.start(now), 1_770_127_200);
        assert_eq!(Period::Day.start(now), 1_770_076_800);
        assert_eq!(Period::Week.start(now), 1_769_904_000, "Sunday, 2026-02-01");
        assert_eq!(Period::FiveMinutes.start(1_770_129_299), 1_770_129_000);
        for period in Period::ALL {
            let start = period.start(now);
            let end = start + i64::from(period.seconds());
            assert_eq!(
                (period.start(start), period.start(end - 1), period.start(end)),
                (start, start, end)
            );
        }
    }
}
