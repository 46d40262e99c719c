//! Links of a chain as written. What a filter's own keys mean is known to the filter only.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::document::{NodeId, RawNode};

/// A link of a chain as written: `{ KIND: { the filter's keys and name, mode, on_error } }`.
///
/// The filter's own keys are not decoded here: [`Link::settings`] names the node, and the filter's crate decodes it
/// with [`crate::decode::decode`], skipping the link's three keys ([`Link::KEYS`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The filter: `jwt`, `rate_limit`, ...
    pub kind: String,
    /// Names the link in logs and metrics. Default: the kind.
    pub name: Option<String>,
    /// Enforce, or only record what it would have done.
    pub mode: Mode,
    /// What happens when the filter itself breaks.
    pub on_error: OnError,
    /// The map with the filter's keys.
    pub settings: NodeId,
}

impl Link {
    /// Keys that belong to the link and not to the filter.
    pub const KEYS: [&'static str; 3] = ["name", "mode", "on_error"];
    /// By this name [`crate::decode`] knows that only [`Link::KEYS`] are asked for.
    pub(crate) const MAGIC: &'static str = "$portcullis::Link";
    /// The key at which the map itself is handed out.
    pub(crate) const NODE: &'static str = "$node";
}

/// Enforce or shadow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Verdicts count.
    #[default]
    Enforce,
    /// Verdicts are recorded, logged and counted, and change nothing.
    Shadow,
}

/// What happens when the filter itself breaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The request is refused.
    #[default]
    Deny,
    /// The request goes on, and the failure is counted and logged.
    Allow,
}

/// The part of a link's settings that every filter has, and the node with all of them.
#[derive(Deserialize, JsonSchema)]
#[serde(rename = "$portcullis::Link")]
#[schemars(rename = "LinkKeys")]
pub(crate) struct Head {
    #[serde(rename = "$node")]
    #[schemars(skip)]
    settings: RawNode,
    /// Names the link in logs and metrics. Default: the kind.
    name: Option<String>,
    /// Enforce, or only record what it would have done.
    #[serde(default)]
    mode: Mode,
    /// What happens when the filter itself breaks.
    #[serde(default)]
    on_error: OnError,
}

impl<'de> Deserialize<'de> for Link {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LinkVisitor)
    }
}

struct LinkVisitor;

impl<'de> Visitor<'de> for LinkVisitor {
    type Value = Link;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a filter with its settings, such as `jwt: { issuer: main }` or `policy: {}`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Link, A::Error> {
        let Some(kind) = map.next_key::<String>()? else {
            return Err(Error::custom(
                "no filter is named here\nwrite its kind and its settings, such as `policy: {}`",
            ));
        };
        let head: Head = map.next_value()?;
        if let Some(other) = map.next_key::<String>()? {
            let text = format!("two keys stand here, `{kind}` and `{other}`; a filter is a map with one key, its kind");
            let help = format!("indent the settings below `{kind}:`, and begin each filter with `-`");
            return Err(Error::custom(format_args!("{text}\n{help}")));
        }
        let Head {
            settings,
            name,
            mode,
            on_error,
        } = head;
        Ok(Link {
            kind,
            name,
            mode,
            on_error,
            settings: settings.0,
        })
    }
}

impl JsonSchema for Link {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Link".into()
    }

    /// Any kind of filter. [`crate::schema`] puts the known kinds in its place.
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let keys = generator.subschema_for::<Head>();
        schemars::json_schema!({
            "description": "A filter: its kind, with its settings.",
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": keys,
        })
    }
}
