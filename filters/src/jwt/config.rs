//! The keys of `jwt` as written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use portcullis_config::site::HeaderName;
use portcullis_config::units::Duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Which tokens are accepted and what becomes of their claims.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// The issuer, by its name in `identity.issuers`. Not with `issuers`.
    pub issuer: Option<String>,
    /// Several issuers, by name. The token's `iss` says which one's rules and keys apply.
    #[serde(default)]
    pub issuers: Vec<String>,
    /// The header field that carries the token. In `Authorization` it follows the scheme `Bearer`; in any other field
    /// it stands alone. Default: `authorization`, unless `cookie` or `query` is given.
    pub header: Option<HeaderName>,
    /// The cookie that carries the token.
    pub cookie: Option<String>,
    /// The parameter of the query that carries the token. It never goes upstream and is never logged.
    pub query: Option<String>,
    /// Lets requests without a token pass, without claims. A bad token is refused all the same.
    #[serde(default)]
    pub optional: bool,
    /// Whether the upstream gets the token.
    #[serde(default)]
    pub forward: Forward,
    /// Header fields for the upstream, each with the top-level claim that it holds. What the client sends under these
    /// names never reaches the upstream.
    #[serde(default)]
    pub claims_to_headers: BTreeMap<HeaderName, String>,
    /// Top-level claims that must have one of these values (a list claim: hold one of them).
    #[serde(default)]
    pub required_claims: BTreeMap<String, Wanted>,
    /// Scopes that must all be in `scope` or `scp`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// A condition that must hold, in the language of `when` in bundles: `jwt.claims.level >= 2`. One that cannot be told
    /// does not hold.
    pub when: Option<String>,
    /// The longest time since `iat`. A token then needs one.
    pub max_token_age: Option<Duration>,
    /// How the user must have authenticated (RFC 9470).
    pub step_up: Option<StepUp>,
    /// The realm of `WWW-Authenticate`.
    #[serde(default = "realm")]
    pub realm: String,
}

/// How the user must have authenticated. Whoever has not is told so, and can come back with another token.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StepUp {
    /// Accepted values of `acr`, the preferred one first.
    pub acr_values: Vec<String>,
    /// Methods that must all be in `amr` (RFC 8176), such as `mfa`.
    pub amr: Vec<String>,
    /// The longest time since `auth_time`.
    pub max_age: Option<Duration>,
}

fn realm() -> String {
    "portcullis".into()
}

/// Whether the upstream gets the token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Forward {
    /// The field or cookie goes upstream as it came.
    #[default]
    Keep,
    /// It is removed.
    Strip,
}

/// The values that a claim may have: one, or a list. Each is a text, a whole number or a boolean.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted(pub Vec<Value>);

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany)
    }
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Wanted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a whole number, a boolean or a list of them")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Wanted, E> {
        Ok(Wanted(vec![value.into()]))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Wanted, E> {
        Ok(Wanted(vec![value.into()]))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Wanted, E> {
        Ok(Wanted(vec![value.into()]))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Wanted, E> {
        Ok(Wanted(vec![value.into()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Wanted, A::Error> {
        let mut all = Vec::new();
        while let Some(One(value)) = items.next_element()? {
            all.push(value);
        }
        Ok(Wanted(all))
    }
}

/// One value of a list.
struct One(Value);

impl<'de> Deserialize<'de> for One {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;

        impl Visitor<'_> for Scalar {
            type Value = One;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a whole number or a boolean")
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<One, E> {
                Ok(One(value.into()))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<One, E> {
                Ok(One(value.into()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<One, E> {
                Ok(One(value.into()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<One, E> {
                Ok(One(value.into()))
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}

impl JsonSchema for Wanted {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Wanted".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let scalar = ["string", "integer", "boolean"];
        json_schema!({ "anyOf": [{ "type": scalar }, { "type": "array", "minItems": 1, "items": { "type": scalar } }] })
    }
}
