//! Types that are written as one string: the shared way from `FromStr` to `Deserialize` and JSON Schema.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};

/// Why a text is not accepted, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TextError {
    /// One sentence without a full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl TextError {
    /// An error without help.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    /// Says what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// As the error of a deserializer. [`crate::decode`] shows the second line as help.
    pub fn into_serde<E: Error>(self) -> E {
        match self.help {
            Some(help) => E::custom(format_args!("{}\n{help}", self.message)),
            None => E::custom(self.message),
        }
    }
}

/// Decodes a string by its `FromStr`. `expected` names the type in words: `a duration such as 5s`. `sample` is any text that
/// is accepted; [`crate::decode`] takes it in place of a wrong one, to find what else is wrong.
pub fn from_text<'de, D, T>(deserializer: D, expected: &'static str, sample: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = TextError>,
{
    deserializer.deserialize_any(TextVisitor {
        expected,
        sample,
        value: PhantomData,
    })
}

struct TextVisitor<T> {
    expected: &'static str,
    sample: &'static str,
    value: PhantomData<T>,
}

impl<'de, T: FromStr<Err = TextError>> Visitor<'de> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(TextError::into_serde)
    }

    fn visit_some<D: Deserializer<'de>>(self, _: D) -> Result<T, D::Error> {
        self.sample.parse().map_err(TextError::into_serde)
    }
}

/// `Deserialize` through `FromStr`, `Serialize` through `Display`, and a JSON Schema with a pattern. The sample is any text that is accepted.
macro_rules! text_type {
    ($type:ident, $expected:literal, $sample:literal, $pattern:expr) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::text::from_text(deserializer, $expected, $sample)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": $expected, "pattern": $pattern })
            }
        }
    };
}
pub(crate) use text_type;
