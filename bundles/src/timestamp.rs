//! Moments as bundles write them: `2026-01-31T00:00:00Z`, UTC, whole seconds, nothing else (a profile of RFC 3339).
//!
//! Nothing here reads a clock; whoever compares moments passes the present one in.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, in whole seconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Why a text is not a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// Not of the form `YYYY-MM-DDTHH:MM:SSZ`.
    #[error("timestamp must be ISO8601 UTC, such as `2026-01-31T00:00:00Z`")]
    Shape,
    /// Of that form, but there is no such day or time.
    #[error("timestamp is invalid: there is no such day or time")]
    Calendar,
}

impl Timestamp {
    /// A moment from seconds since 1970-01-01 UTC.
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970-01-01 UTC.
    pub const fn unix(self) -> i64 {
        self.0
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = b"dddd-dd-ddTdd:dd:ddZ";
        let fits = |(byte, form): (u8, &u8)| {
            if *form == b'd' {
                byte.is_ascii_digit()
            } else {
                byte == *form
            }
        };
        if text.len() != shape.len() || !text.bytes().zip(shape).all(fits) {
            return Err(TimestampError::Shape);
        }
        // jiff takes second 60 for 59; a bundle that says 60 means something else.
        if text.get(17..19) == Some("60") {
            return Err(TimestampError::Calendar);
        }
        let civil: DateTime = text
            .trim_end_matches('Z')
            .parse()
            .map_err(|_| TimestampError::Calendar)?;
        let zoned = civil.to_zoned(TimeZone::UTC).map_err(|_| TimestampError::Calendar)?;
        Ok(Self(zoned.timestamp().as_second()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(moment) => write!(f, "{}", moment.strftime("%Y-%m-%dT%H:%M:%SZ")),
            Err(_) => write!(f, "{}s after 1970", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a moment such as 2026-01-31T00:00:00Z")
            }

            /// `portcullis_config::decode` asks so for a sample to go on with.
            fn visit_some<D: Deserializer<'de>>(self, _: D) -> Result<Timestamp, D::Error> {
                Ok(Timestamp(0))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A moment in UTC: YYYY-MM-DDTHH:MM:SSZ.",
            "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_one_form() {
        for (text, unix) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-02-03T14:00:00Z", 1_770_127_200),
            ("2024-02-29T23:59:59Z", 1_709_251_199),
            ("0001-01-01T00:00:00Z", -62_135_596_800),
        ] {
            let moment: Timestamp = text.parse().unwrap();
            assert_eq!(moment.unix(), unix, "{text}");
            assert_eq!(moment.to_string(), text);
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "2026-01-31",
            "2026-01-31T00:00:00",
            "2026-01-31T00:00:00z",
            "2026-01-31 00:00:00Z",
            "2026-01-31T00:00:00.5Z",
            "2026-01-31T00:00:00+00:00",
            "2026-1-31T00:00:00Z",
            "+2026-01-1T00:00:00Z",
            "２026-01-31T00:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(TimestampError::Shape), "{text}");
        }
        for text in [
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-32T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T23:60:00Z",
            "2016-12-31T23:59:60Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(TimestampError::Calendar), "{text}");
        }
    }
}
