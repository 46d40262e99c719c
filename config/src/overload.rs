//! What is refused when more is asked than there is, as written: the gateway's own bounds and the order of going.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Duration};

/// Bounds of the gateway itself. Those of an upstream are `upstreams.*.concurrency`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Overload {
    /// How long work may wait for a worker before requests are refused (503). 0 switches it off.
    pub lag: Duration,
    /// Bytes of memory. New connections are closed at 85 % of it, requests refused at 95 %. 0 switches it off. Default: the limit of the control group, if it has one.
    pub memory: Option<ByteSize>,
}

impl Default for Overload {
    fn default() -> Self {
        Self {
            lag: Duration::from_millis(500),
            memory: None,
        }
    }
}

/// Requests that may wait for the first byte of an upstream's answer at once. The limit between the two is learnt from how long they wait.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Concurrency {
    /// The limit never falls below this. With the same `maximum`, it stays where it is.
    pub minimum: u32,
    /// The limit never rises above this.
    pub maximum: u32,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self {
            minimum: 32,
            maximum: 10_000,
        }
    }
}

/// Who goes first when not everybody can be served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Never refused for want of room.
    Critical,
    /// Refused when there is no room.
    #[default]
    Default,
    /// Refused first, while there is still room for others.
    Sheddable,
}
