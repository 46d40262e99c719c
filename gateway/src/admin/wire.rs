//! The JSON that the admin listener speaks. `portcullis status`, `reload` and `kill` read the same types back.

use std::net::SocketAddr;

use portcullis_bundles::switches::Origin;
use serde::{Deserialize, Serialize};

pub use crate::control_plane::ControlPlaneStatus;
pub use crate::rollout::Counts;
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

/// A debug session: answers to requests with this cookie say how they were decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugSession {
    /// What a request's `Cookie` must hold.
    pub cookie: String,
    /// Seconds until it ends by itself.
    pub max_age: u64,
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
    /// The bundle on trial, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutState>,
    /// The control plane. `None` when the configuration names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ControlPlaneStatus>,
}

/// Answer of `/-/rollout`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// What is on trial.
    pub rollout: Option<RolloutState>,
    /// How the last trial of this process ended.
    pub last: Option<RolloutEnd>,
}

/// A bundle on trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutState {
    /// Its version.
    pub version: u64,
    /// SHA-256 of its payload, hexadecimal.
    pub digest: String,
    /// `identity` or `node`.
    pub by: String,
    /// Of how many of a hundred.
    pub percent: f64,
    /// Whether it judges any request of this gateway.
    pub here: bool,
    /// When it began in this process.
    pub began_at: Stamp,
    /// How long ago that is.
    pub elapsed_seconds: u64,
    /// How long it is watched.
    pub window_seconds: u64,
    /// How many requests it must have decided.
    pub min_requests: u64,
    /// What became of the requests that it decided.
    pub on_trial: Counts,
    /// And of those that the bundle in force decided meanwhile.
    pub in_force: Counts,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutEnd {
    /// The bundle's version.
    pub version: u64,
    /// SHA-256 of its payload, hexadecimal.
    pub digest: String,
    /// `promoted`, `rolled_back`, `replaced` or `aborted`.
    pub outcome: String,
    /// When.
    pub at: Stamp,
    /// Why.
    pub detail: String,
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
    /// Identifies it for `clear`. `None` for one that was not set at run time.
    pub id: Option<String>,
    /// Where it comes from: `runtime`, `document` or `bundle`.
    pub origin: String,
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
    /// Active switches, the first [`KillList::MOST`].
    pub switches: Vec<KillSwitch>,
    /// How many more are active.
    #[serde(default, skip_serializing_if = "is_none")]
    pub omitted: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks for a reference
const fn is_none(omitted: &u64) -> bool {
    *omitted == 0
}

impl KillList {
    /// Most switches that are listed. Those that can be cleared come first, and are fewer.
    pub const MOST: usize = 10_000;
}

/// Answer of `GET /-/kill/status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillStatus {
    /// In force.
    pub active: KillOrigins,
    /// Suspended by the `kill_switch_override` of their source.
    pub suspended: KillOrigins,
    /// The kill-switch document. `None` when the configuration names none.
    pub document: Option<KillDocument>,
}

/// Kill switches by where they come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillOrigins {
    /// Set at run time.
    pub runtime: u64,
    /// Of the kill-switch document.
    pub document: u64,
    /// Of the bundle.
    pub bundle: u64,
}

impl KillOrigins {
    /// Counts one.
    pub fn add(&mut self, origin: &Origin) {
        match origin {
            Origin::Runtime(_) => self.runtime += 1,
            Origin::Document(_) => self.document += 1,
            Origin::Bundle(_) => self.bundle += 1,
        }
    }

    /// All of them.
    pub const fn all(self) -> u64 {
        self.runtime + self.document + self.bundle
    }
}

/// The kill-switch document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillDocument {
    /// Where it is looked for.
    pub source: String,
    /// The version in force. `None` while there is none.
    pub version: Option<u64>,
    /// SHA-256 of its text, hexadecimal.
    pub digest: Option<String>,
    /// The keys that vouch for it.
    pub signed_by: Vec<String>,
    /// When it came into force.
    pub loaded_at: Option<Stamp>,
    /// The last look at it, where that failed.
    pub last_error: Option<LastError>,
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
