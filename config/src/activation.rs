//! What is recorded of requests, and what a new bundle may change about them before it is refused, as written.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A ring of the last requests that policies decided about, to try other bundles on. No header field, parameter, claim or
/// address is kept as it is.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// How many requests are kept.
    #[serde(default = "requests")]
    pub requests: u32,
    /// Keys whose hashed values are kept beside those that the bundle goes by: what later bundles may go by.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Keep it in `state_dir` over restarts.
    #[serde(default = "yes")]
    pub persist: bool,
}

fn requests() -> u32 {
    100_000
}

fn yes() -> bool {
    true
}

/// What a new bundle may change about the recorded requests. One that changes more is refused, unless whoever signed it
/// says that it may.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// Requests that were let through and would be refused: a number, or a percentage of those recorded.
    #[serde(default)]
    pub max_new_denies: Budget,
    /// Requests that were refused and would be let through.
    #[serde(default)]
    pub max_new_allows: Budget,
}

/// A number of requests, or a part of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// So many.
    Requests(u64),
    /// So many of a hundred.
    Percent(f64),
}

/// What is no budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither a number of requests nor a percentage from 0% to 100%\nwrite `10` or `0.1%`")]
pub struct BadBudget;

impl Default for Budget {
    fn default() -> Self {
        Self::Requests(0)
    }
}

impl Budget {
    /// Whether `changed` of `all` requests are within it.
    #[allow(clippy::cast_precision_loss)] // counts of requests are far below 2^52
    pub fn allows(self, changed: u64, all: u64) -> bool {
        match self {
            Self::Requests(most) => changed <= most,
            Self::Percent(percent) => changed as f64 * 100.0 <= percent * all as f64,
        }
    }
}

impl FromStr for Budget {
    type Err = BadBudget;

    fn from_str(text: &str) -> Result<Self, BadBudget> {
        let Some(number) = text.strip_suffix('%') else {
            return text.parse().map(Self::Requests).map_err(|_| BadBudget);
        };
        let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let percent: f64 = number.parse().map_err(|_| BadBudget)?;
        (plain && (0.0..=100.0).contains(&percent))
            .then_some(Self::Percent(percent))
            .ok_or(BadBudget)
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(most) => write!(f, "{most}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for Budget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Budget;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of requests or a percentage, such as `0.1%`")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Budget, E> {
                Ok(Budget::Requests(number))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Budget, E> {
                u64::try_from(number)
                    .map(Budget::Requests)
                    .map_err(|_| E::custom(BadBudget))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Budget, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Budget {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Budget".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A number of requests, or a percentage such as `0.1%`.",
            "oneOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^[0-9.]+%$" }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_numbers_or_percentages() {
        assert_eq!("7".parse(), Ok(Budget::Requests(7)));
        assert_eq!("0.1%".parse(), Ok(Budget::Percent(0.1)));
        for wrong in ["", "%", "-1", "101%", "1e1%", "NaN%", "1.5", "inf%"] {
            assert_eq!(wrong.parse::<Budget>(), Err(BadBudget), "{wrong}");
        }
        assert!(Budget::Requests(0).allows(0, 10) && !Budget::Requests(0).allows(1, 10));
        assert!(Budget::Percent(0.1).allows(100, 100_000) && !Budget::Percent(0.1).allows(101, 100_000));
        assert!(Budget::Percent(0.1).allows(0, 0));
    }
}
