//! What is sent to the control plane, and what is read of its answers. These types are the whole of what can leave this
//! gateway on this way: nothing of a request is in them, and nothing else is ever written into a body.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::events::event::Event;

/// Who speaks: the version of this binary.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `POST /api/v1/edge/register`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Register<'a> {
    /// The name of this gateway.
    pub edge_id: &'a str,
    /// The version of this binary.
    pub version: &'static str,
    /// Seconds since 1970.
    pub timestamp: f64,
}

/// `POST /api/v1/edge/register` of somebody who does not know his name yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Introduction {
    /// The version of this binary.
    pub version: &'static str,
}

/// `POST /api/v1/edge/heartbeat`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Heartbeat<'a> {
    /// The name of this gateway.
    pub edge_id: &'a str,
    /// The version of this binary.
    pub version: &'static str,
    /// The bundle in force: `sha256:` and its digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_version: Option<u64>,
    /// Seconds since this process started.
    pub uptime: u64,
    /// Seconds since 1970.
    pub timestamp: f64,
}

/// `POST /api/v1/edge/config/ack`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Ack<'a> {
    /// The name of this gateway.
    pub edge_id: &'a str,
    /// What became of the bundle.
    #[serde(flatten)]
    pub verdict: &'a Verdict,
    /// Seconds since 1970.
    pub timestamp: f64,
}

/// What became of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Verdict {
    /// Applied or rejected.
    pub status: Applied,
    /// The version that is in force now.
    pub version: Option<u64>,
    /// The digest of what is in force now.
    pub hash: Option<String>,
    /// The `ETag` under which the bundle came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Why it was rejected: the reason's code.
    pub error: Option<&'static str>,
}

/// Whether a bundle is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Applied {
    /// It is.
    Applied,
    /// It is not, and what was in force still is.
    Rejected,
}

/// `POST /api/v1/edge/events`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Batch<'a> {
    /// The name of this gateway.
    pub edge_id: &'a str,
    /// Whether its clock and ours are more than 10 s apart.
    pub clock_skew_suspected: bool,
    /// How far its clock is ahead of ours, where they are.
    pub clock_skew_seconds: f64,
    /// What happened.
    pub events: &'a [Event],
}

/// Answer to a heartbeat. What else is in it is not read.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct HeartbeatAnswer {
    /// Seconds since 1970 by the control plane's clock.
    #[serde(default)]
    pub server_time: Option<f64>,
    /// Whether there is a bundle that this gateway should pull at once.
    #[serde(default)]
    pub config_update_available: Option<bool>,
}

/// Answer to a registration. What else is in it is not read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RegisterAnswer {
    /// Whose token it was.
    #[serde(default)]
    pub edge_id: Option<String>,
}
