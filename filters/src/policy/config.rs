//! The keys of `policy` as written. What it enforces stands in the bundle.

use schemars::JsonSchema;
use serde::Deserialize;

/// Where the bundle's counters are kept.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// For how many keys of all limits together there is room. The same on every link. When it is used up by keys that are
    /// not whole again, new ones share one counter for each rule.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub max_keys: usize,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self { max_keys: 1 << 20 }
    }
}
