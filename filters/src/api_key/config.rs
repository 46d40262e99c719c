//! The keys of `api_key` as written.

use std::collections::BTreeMap;

use portcullis_config::site::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::record::{Class, Environment};

/// Which API keys are accepted, and what becomes of them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyConfig {
    /// Classes of keys that are accepted.
    #[serde(default = "server_side")]
    pub classes: Vec<Class>,
    /// The environment that keys must be for.
    #[serde(default)]
    pub environment: Environment,
    /// Scopes that a key must all have. A secret key that was issued without scopes has every one.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Header fields that may carry the key. In `Authorization` it follows the scheme `Bearer`; what does not look like a key there is left to
    /// others.
    #[serde(default = "headers")]
    pub headers: Vec<HeaderName>,
    /// Lets requests without a key pass. A bad key is refused all the same.
    #[serde(default)]
    pub optional: bool,
    /// Whether the upstream gets the key.
    #[serde(default)]
    pub forward: Forward,
    /// Header fields for the upstream, each with what of the key it holds. What the client sends under these names never reaches
    /// the upstream.
    #[serde(default)]
    pub to_headers: BTreeMap<HeaderName, Part>,
}

fn server_side() -> Vec<Class> {
    vec![Class::Secret, Class::Restricted]
}

fn headers() -> Vec<HeaderName> {
    ["authorization", "x-api-key", "x-publishable-key"]
        .map(|name| HeaderName(name.into()))
        .into()
}

/// Whether the upstream gets the key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Forward {
    /// The field is removed.
    #[default]
    Strip,
    /// The field goes upstream as it came.
    Keep,
}

/// What is told of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Its id.
    Id,
    /// The organisation that it belongs to.
    Organisation,
    /// `publishable`, `secret` or `restricted`.
    Class,
    /// `live` or `test`.
    Environment,
    /// Its scopes, with blanks between them.
    Scopes,
}
