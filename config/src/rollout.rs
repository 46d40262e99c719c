//! How a new bundle is tried on a part of the traffic before it comes into force, as written. Nothing is judged here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Duration;

/// A new bundle judges a part of the requests, beside the one in force, until it has proven itself or is rolled back.
/// Without it a new bundle comes into force at once.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// How many of a hundred identities (or gateways) the new bundle is tried on.
    #[schemars(range(min = 0, max = 100))]
    pub percent: f64,
    /// What is divided into those that it is tried on and the others.
    #[serde(default)]
    pub by: By,
    /// What the new bundle must not do, and how long it is watched.
    #[serde(default)]
    pub guard: Guard,
}

/// What a rollout divides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Those who ask: by the verified `sub`, else the client's certificate, else its address. The same one is always
    /// judged by the same bundle.
    #[default]
    Identity,
    /// Gateways: the whole process tries it or does not, by `control_plane.edge_id`, else the name of the host.
    Node,
}

impl By {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Node => "node",
        }
    }
}

/// What a bundle on trial must not do. Ratios are of the requests that it decided, less the same ratio of those that the
/// bundle in force decided meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Requests that its policies refused.
    #[schemars(range(min = 0, max = 1))]
    pub max_reject_ratio: f64,
    /// Requests that were answered with 5xx, by whomever.
    #[schemars(range(min = 0, max = 1))]
    pub max_5xx_ratio: f64,
    /// How long it is watched before it comes into force.
    pub window: Duration,
    /// How many requests it must have decided before anything is concluded from them.
    pub min_requests: u64,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            max_reject_ratio: 0.05,
            max_5xx_ratio: 0.01,
            window: Duration::from_secs(600),
            min_requests: 100,
        }
    }
}
