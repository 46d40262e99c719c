//! The JSON that the admin listener speaks. `portcullis status`, `reload` and `kill` read the same types back.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use crate::control_plane::ControlPlaneStatus;
use crate::telemetry::stamp::Stamp;

/// Answer of `/readyz`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Readiness {
    /// Ready or not.
    pub status: ReadyStatus,
    /// Why not: stable codes such as `starting`, `draining`, `bundle_missing`, `bundle_expired`. Empty when ready.
    pub reasons: Vec<String>,
    /// The configuration in force. `None` until the first was loaded.
    pub config: Option<ConfigState>,
    /// The bundle. `None` when the configuration names none.
    pub bundle: Option<BundleState>,
    /// What an operator should know although it is no reason to send traffic elsewhere: `insecure_unsigned`,
    /// `bundle_expired` under `expired: keep`, `config_refused`.
    pub warnings: Vec<String>,
}

/// Ready or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadyStatus {
    /// Send traffic.
    Ready,
    /// Send none.
    NotReady,
}

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigState {
    /// SHA-256 of its text, hexadecimal.
    pub digest: String,
    /// When it came into force.
    pub loaded_at: Stamp,
    /// The last attempt to replace it, where that failed.
    pub last_error: Option<LastError>,
}

/// The policy bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundleState {
    /// The version in force. `None` while there is none.
    pub version: Option<u64>,
    /// SHA-256 of its payload, hexadecimal.
    pub digest: Option<String>,
    /// When it came into force.
    pub loaded_at: Option<Stamp>,
    /// When it expires, if it does.
    pub expires_at: Option<Stamp>,
    /// Whether that time has passed.
    pub expired: bool,
    /// Whether its signature was not asked for.
    pub insecure_unsigned: bool,
    /// The last attempt to replace it, where that failed.
    pub last_error: Option<LastError>,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When.
    pub at: Stamp,
    /// The stable code.
    pub reason: String,
    /// One sentence for people.
    pub detail: String,
}

/// Answer of `/-/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The binary's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// When it started.
    pub started_at: Stamp,
    /// The same as `/readyz`.
    pub readiness: Readiness,
    /// Identifies configuration and bundle together, as the access log does.
    pub snapshot: Option<String>,
    /// Requests that are being served.
    pub requests_in_flight: u64,
    /// The listeners.
    pub listeners: Vec<ListenerStatus>,
    /// The upstreams.
    pub upstreams: Vec<UpstreamStatus>,
    /// The key sets.
    pub issuers: Vec<IssuerStatus>,
    /// Active kill switches.
    pub kill_switches: u64,
    /// The control plane. `None` when the configuration names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ControlPlaneStatus>,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Open connections.
    pub connections: u64,
}

/// An upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// Its servers.
    pub servers: Vec<ServerStatus>,
}

/// A server of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// As written: `host:port`.
    pub address: String,
    /// Whether it takes requests.
    pub healthy: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Requests in flight.
    pub in_flight: u64,
}

/// The key set of an issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Keys in use. 0 while none was loaded.
    pub keys: u64,
    /// When they were last confirmed by the provider.
    pub fetched_at: Option<Stamp>,
    /// The last fetch, where that failed.
    pub last_error: Option<LastError>,
}

/// A kill switch that is active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillSwitch {
    /// Identifies it for `clear`. `None` for one of the bundle.
    pub id: Option<String>,
    /// What is compared, such as `jwt:sub` or `ip:address`.
    pub key: String,
    /// With what.
    pub value: String,
    /// Only for this path.
    pub route: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who set it.
    pub by: Option<String>,
    /// When it was set.
    pub set_at: Option<Stamp>,
    /// When it ends by itself.
    pub expires_at: Option<Stamp>,
}

/// Body of `POST /-/kill`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillRequest {
    /// What is compared, such as `jwt:sub` or `ip:address`.
    pub key: String,
    /// With what, exactly.
    pub value: String,
    /// Only for this path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// For how long: `30s`, `15m`, `2h`, `7d`.
    pub ttl: String,
    /// Why. Not empty.
    pub reason: String,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Answer of `GET /-/kill`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillList {
    /// Active switches.
    pub switches: Vec<KillSwitch>,
}

/// Answer of a reload that was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Whether anything is different now.
    pub changed: bool,
    /// Identifies configuration and bundle together.
    pub snapshot: String,
    /// The configuration in force.
    pub config: ConfigState,
    /// The bundle in force.
    pub bundle: Option<BundleState>,
    /// Changes that need a restart, in words.
    pub needs_restart: Vec<String>,
}
