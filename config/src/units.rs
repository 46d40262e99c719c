//! Units as written: `30s`, `32KiB`, `10/s`.

use std::fmt;
use std::str::FromStr;
use std::time;

use serde::de::{Deserializer, Error, Visitor};

use crate::text::{TextError, text_type};

/// A span of time: `250ms`, `5s`, `1m`, `2h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(time::Duration);

/// Units of time in milliseconds, the largest first.
const TIMES: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl Duration {
    /// Whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(time::Duration::from_secs(seconds))
    }

    /// Whole milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(time::Duration::from_millis(milliseconds))
    }

    /// The standard library's type.
    pub const fn get(self) -> time::Duration {
        self.0
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl FromStr for Duration {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        const HELP: &str = "write a number and ms, s, m, h or d, such as 250ms or 5s";
        let (number, unit) = split(text, HELP)?;
        let Some((_, milliseconds)) = TIMES.iter().find(|(name, _)| *name == unit) else {
            return Err(unknown_unit(text, unit, HELP));
        };
        let total = number.checked_mul(*milliseconds).ok_or_else(|| too_large(text))?;
        Ok(Self::from_millis(total))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if total == 0 {
            return f.write_str("0s");
        }
        let unit = TIMES.iter().find(|(_, unit)| total.is_multiple_of(*unit));
        let (name, unit) = unit.copied().unwrap_or(("ms", 1));
        write!(f, "{}{name}", total / unit)
    }
}

text_type!(
    Duration,
    "a duration such as 250ms, 5s, 1m, 2h or 7d",
    "1s",
    "^[0-9]+(ms|s|m|h|d)$"
);

/// A number of bytes: `512B`, `32KiB`, `10MiB`, `1GiB`, or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Units of size in bytes, the largest first.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl ByteSize {
    /// `n` KiB.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// `n` bytes.
    pub const fn bytes(n: u64) -> Self {
        Self(n)
    }

    /// Bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Bytes, for use as a length in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        const HELP: &str = "write a number and B, KiB, MiB or GiB, such as 32KiB";
        let (number, unit) = split(text, HELP)?;
        let found = SIZES.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes);
        let Some(bytes) = found.or(unit.is_empty().then_some(1)) else {
            return Err(unknown_unit(text, unit, HELP));
        };
        number.checked_mul(bytes).map(Self).ok_or_else(|| too_large(text))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SIZES
            .iter()
            .find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        let (name, unit) = unit.copied().unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

const SIZE: &str = "a size such as 512B, 32KiB, 10MiB, 1GiB or a number of bytes";

impl<'de> serde::Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl<'de> Visitor<'de> for SizeVisitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(SIZE)
            }

            fn visit_some<D: Deserializer<'de>>(self, _: D) -> Result<ByteSize, D::Error> {
                Ok(ByteSize(1024))
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(TextError::into_serde)
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl serde::Serialize for ByteSize {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl schemars::JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": SIZE,
            "oneOf": [
                { "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$" },
                { "type": "integer", "minimum": 0 },
            ],
        })
    }
}

/// So many in a span of time: `10/s`, `600/m`, `1000/h`, `50000/d`, `0.5/s`. More than none, and finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// A second.
    pub per_second: f64,
}

/// Units of a rate in seconds.
const RATES: [(&str, f64); 4] = [("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];

impl Rate {
    /// The slowest rate a second: about one in 30 years.
    pub const LEAST: f64 = 1e-9;
    /// The fastest rate a second.
    pub const MOST: f64 = 1e9;
}

impl FromStr for Rate {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        const HELP: &str = "write a number, a slash and s, m, h or d, such as 10/s or 600/m";
        let Some((number, unit)) = text.split_once('/') else {
            return Err(TextError::new(format!("`{text}`: the unit is missing")).help(HELP));
        };
        let Some((_, seconds)) = RATES.iter().find(|(name, _)| *name == unit) else {
            return Err(unknown_unit(text, unit, HELP));
        };
        let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let number: f64 = match number.parse() {
            Ok(number) if plain => number,
            _ => return Err(TextError::new(format!("`{text}`: `{number}` is not a number")).help(HELP)),
        };
        let per_second = number / seconds;
        if !(Self::LEAST..=Self::MOST).contains(&per_second) {
            let message = format!("`{text}`: the rate must be more than 0 and at most {}/s", Self::MOST);
            return Err(TextError::new(message));
        }
        Ok(Self { per_second })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.per_second)
    }
}

text_type!(
    Rate,
    "a rate such as 10/s, 600/m, 1000/h or 0.5/s",
    "1/s",
    "^[0-9]+(\\.[0-9]+)?/(s|m|h|d)$"
);

/// A whole number and what follows it.
fn split<'a>(text: &'a str, help: &str) -> Result<(u64, &'a str), TextError> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    if digits.is_empty() || unit.starts_with(['.', ',']) {
        return Err(TextError::new(format!("`{text}` does not begin with a whole number")).help(help));
    }
    digits.parse().map(|number| (number, unit)).map_err(|_| too_large(text))
}

fn unknown_unit(text: &str, unit: &str, help: &str) -> TextError {
    let what = if unit.is_empty() {
        "the unit is missing".to_owned()
    } else {
        format!("unknown unit `{unit}`")
    };
    TextError::new(format!("`{text}`: {what}")).help(help)
}

fn too_large(text: &str) -> TextError {
    TextError::new(format!("`{text}` is too large"))
}
