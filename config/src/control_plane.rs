//! The control plane that this gateway reports to, as written. Whether bundles come from it is `policy.bundle`'s to say.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::secret::SecretRef;
use crate::units::Duration;

/// The control plane: where it is, who this gateway is to it, and how often they speak.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlPlane {
    /// Its base URL. `https`, or `http` on loopback only. No redirect is followed.
    pub url: String,
    /// The name under which the control plane knows this gateway.
    pub edge_id: String,
    /// The bearer token that proves it.
    pub token: Token,
    /// The region that every answer must name in `Portcullis-Region`. Answers of another region, or of none, are refused.
    pub region: Option<String>,
    /// Time between two heartbeats.
    #[serde(default = "heartbeat_interval")]
    pub heartbeat_interval: Duration,
    /// Time between two questions for a bundle, with `policy.bundle.control_plane`. A heartbeat's answer may ask for one at once.
    #[serde(default = "poll_interval")]
    pub poll_interval: Duration,
    /// Time between two reports of events: counts by policy, rule and reason, bundles, starts and stops. Nothing of a request.
    #[serde(default = "event_flush_interval")]
    pub event_flush_interval: Duration,
    /// CA certificates to trust for `url` instead of the public ones (PEM).
    pub ca: Option<PathBuf>,
}

/// A token in two slots, so that it can be rotated. Both are read anew before each call.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The token: `env:NAME` or `file:PATH`.
    pub current: SecretRef,
    /// The one before, tried where the control plane does not know `current` yet. It need not exist.
    pub previous: Option<SecretRef>,
}

fn heartbeat_interval() -> Duration {
    Duration::from_secs(5)
}

fn event_flush_interval() -> Duration {
    Duration::from_secs(60)
}

fn poll_interval() -> Duration {
    Duration::from_secs(30)
}
