//! The keys of `rate_limit` as written.

use std::borrow::Cow;
use std::fmt;

use portcullis_bundles::format::OnMissing;
use portcullis_config::key::Key;
use portcullis_config::site::Status;
use portcullis_config::text::TextError;
use portcullis_config::units::Rate;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// How many requests, and of whom.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// What requests are counted by: one key, or several that count together.
    pub key: Keys,
    /// How many requests come back, such as `10/s`.
    pub rate: Rate,
    /// How many may come at once. Default: those of a second, at least 1.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub burst: Option<u64>,
    /// What a request counts, up to the burst. Default: 1.
    pub cost: Option<f64>,
    /// What happens when the request lacks a key.
    #[serde(default)]
    pub on_missing: OnMissing,
    /// Links that name the same zone share the limit. Default: every link has its own.
    #[schemars(regex(pattern = "^[A-Za-z0-9_.-]{1,64}$"))]
    pub zone: Option<String>,
    /// The status of the refusal, from 400 on.
    #[serde(default = "too_many_requests")]
    pub status: Status,
    /// For how many keys there is room. When it is used up by keys that are not whole again, new ones share one limit.
    #[serde(default = "max_keys")]
    #[schemars(range(min = 1, max = 16_777_216))]
    pub max_keys: usize,
}

fn too_many_requests() -> Status {
    Status(http::StatusCode::TOO_MANY_REQUESTS)
}

fn max_keys() -> usize {
    262_144
}

/// One key, or a list of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys(pub Box<[Key]>);

impl Keys {
    /// Most keys that count together.
    pub const MAX: usize = 8;
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, key) in self.0.iter().enumerate() {
            f.write_str(if place == 0 { "" } else { ", " })?;
            key.fmt(f)?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key such as ip:address or jwt:sub, or a list of keys")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Keys, E> {
        let key = text.parse().map_err(TextError::into_serde)?;
        Ok(Keys(Box::new([key])))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Keys, A::Error> {
        let mut keys: Vec<Key> = Vec::new();
        while let Some(key) = items.next_element()? {
            if keys.contains(&key) {
                return Err(Error::custom(format_args!("`{key}` is listed twice")));
            }
            keys.push(key);
        }
        match keys.len() {
            0 => Err(Error::custom(
                "no key is listed\nwrite at least one, such as ip:address",
            )),
            1..=Keys::MAX => Ok(Keys(keys.into())),
            _ => Err(Error::custom(format_args!("at most {} keys count together", Keys::MAX))),
        }
    }

    /// In place of a value that was reported already.
    fn visit_some<D: Deserializer<'de>>(self, _: D) -> Result<Keys, D::Error> {
        Ok(Keys(Box::default()))
    }
}

impl JsonSchema for Keys {
    fn schema_name() -> Cow<'static, str> {
        "Keys".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let key = generator.subschema_for::<Key>();
        json_schema!({
            "description": "A key, or a list of keys that count together.",
            "oneOf": [
                key,
                { "type": "array", "items": key, "minItems": 1, "maxItems": Self::MAX, "uniqueItems": true },
            ],
        })
    }
}
