//! The keys of `headers` as written.

use std::collections::BTreeMap;

use portcullis_config::site::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::template::Template;

/// Changes to header fields.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeadersConfig {
    /// Changes to what the upstream gets.
    #[serde(default)]
    pub request: Changes,
    /// Changes to what the client gets, whoever answers.
    #[serde(default)]
    pub response: Changes,
}

/// Changes to a message: fields are removed, then set, then appended.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// Fields that get this value, in place of any other.
    pub set: BTreeMap<HeaderName, Template>,
    /// Fields that are added to those that are there.
    pub append: BTreeMap<HeaderName, Template>,
    /// Fields that are removed.
    pub remove: Vec<HeaderName>,
}
