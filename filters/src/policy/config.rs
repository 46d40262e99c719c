//! The keys of `policy` as written. What it enforces stands in the bundle.

use portcullis_config::units::{ByteSize, Duration};
use schemars::JsonSchema;
use serde::Deserialize;

/// Where the bundle's counters are kept, and how its verdicts are carried out.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// For how many keys of all limits together there is room. The same on every link. When it is used up by keys that are
    /// not whole again, new ones share one counter for each rule.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub max_keys: usize,
    /// How many requests a budget may hold back.
    pub throttle: ThrottleConfig,
    /// How much of a request's body is held back for a rule that has to see the prompt (`token_bucket_llm`). Such a rule
    /// refuses a larger one. At most 64MiB.
    pub max_prompt: ByteSize,
}

/// How many requests a budget may hold back. Those beyond are refused.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ThrottleConfig {
    /// At once.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_waiting: usize,
    /// For how long. A request that a bundle would hold back for longer is refused.
    pub max_delay: Duration,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            max_keys: 1 << 20,
            throttle: ThrottleConfig::default(),
            max_prompt: ByteSize::mib(1),
        }
    }
}

impl Default for ThrottleConfig {
    fn default() -> Self {
        Self {
            max_waiting: 1_000,
            max_delay: Duration::from_secs(30),
        }
    }
}
