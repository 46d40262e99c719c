//! Upstreams as written: servers, balancing, health, timeouts, retries, TLS.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::key::Key;
use crate::listener::TlsVersion;
use crate::overload::Concurrency;
use crate::units::Duration;

/// A group of servers that requests are forwarded to.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// The servers: `host:port`, or a map with weight and role.
    pub servers: Vec<Server>,
    /// How a server is chosen.
    #[serde(default)]
    pub balance: Balance,
    /// The protocol spoken to the servers.
    #[serde(default)]
    pub protocol: UpstreamProtocol,
    /// Active health checks.
    pub health: Option<Health>,
    /// Passive health: servers that fail requests are left out for a while.
    #[serde(default)]
    pub passive_health: PassiveHealth,
    /// How long each step may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// What is tried again.
    #[serde(default)]
    pub retry: Retry,
    /// Idle connections kept for reuse, for each server.
    #[serde(default)]
    pub pool: Pool,
    /// How many requests may wait for this upstream at once.
    #[serde(default)]
    pub concurrency: Concurrency,
    /// Speak TLS to the servers.
    pub tls: Option<UpstreamTls>,
    /// What is sent as Host. Default: the client's host.
    #[serde(default)]
    pub host: UpstreamHost,
}

/// One server. Written as `"host:port"` or as a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `host:port` or `ip:port`. A host name is resolved in the background, again and again.
    pub address: String,
    /// Its share of the traffic.
    pub weight: u32,
    /// Used only while no other server is healthy.
    pub backup: bool,
}

/// A server written as a map.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServerMap {
    /// `host:port` or `ip:port`.
    address: String,
    /// Its share of the traffic.
    #[serde(default = "one")]
    weight: u32,
    /// Used only while no other server is healthy.
    #[serde(default)]
    backup: bool,
}

fn one() -> u32 {
    1
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ServerVisitor)
    }
}

struct ServerVisitor;

impl<'de> Visitor<'de> for ServerVisitor {
    type Value = Server;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a server: \"host:port\", or a map with `address`")
    }

    fn visit_str<E>(self, address: &str) -> Result<Server, E> {
        Ok(Server {
            address: address.to_owned(),
            weight: 1,
            backup: false,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Server, A::Error> {
        let ServerMap {
            address,
            weight,
            backup,
        } = ServerMap::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Server {
            address,
            weight,
            backup,
        })
    }
}

impl JsonSchema for Server {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Server".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let map = generator.subschema_for::<ServerMap>();
        schemars::json_schema!({
            "description": "One server: \"host:port\", or a map with weight and role.",
            "oneOf": [{ "type": "string" }, map],
        })
    }
}

/// How a server is chosen.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// One after the other, by weight.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight, by weight.
    LeastConnections,
    /// Two at random, the less busy of them.
    RandomTwo,
    /// The same key goes to the same server (ketama).
    ConsistentHash(ConsistentHash),
}

/// Settings of consistent hashing.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsistentHash {
    /// What is hashed, such as `ip:address` or `header:x-session`. Requests without it fall back to round robin.
    pub key: Key,
}

/// The protocol spoken to the servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: by ALPN over TLS, with prior knowledge in plaintext.
    Http2,
    /// HTTP/2 where the server offers it by ALPN, else HTTP/1.1. Needs `tls`.
    Auto,
}

/// Active health checks: a GET that must answer in time with an expected status.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Path of the check.
    pub path: String,
    /// Host header of the check. Default: the server's address.
    pub host: Option<String>,
    /// Time between two checks of a server.
    #[serde(default = "five_seconds")]
    pub interval: Duration,
    /// Time for one check.
    #[serde(default = "one_second")]
    pub timeout: Duration,
    /// Failures in a row that take a server out.
    #[serde(default = "two")]
    pub unhealthy_after: u32,
    /// Successes in a row that bring it back.
    #[serde(default = "two")]
    pub healthy_after: u32,
    /// Statuses that count as healthy.
    #[serde(default = "default_statuses")]
    pub statuses: Vec<u16>,
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}
fn one_second() -> Duration {
    Duration::from_secs(1)
}
fn two() -> u32 {
    2
}
fn default_statuses() -> Vec<u16> {
    vec![200, 204]
}

/// Passive health.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PassiveHealth {
    /// Connect errors, resets and timeouts in a row that take a server out. 0 switches it off.
    pub failures: u32,
    /// For how long.
    pub eject_for: Duration,
}

impl Default for PassiveHealth {
    fn default() -> Self {
        Self {
            failures: 3,
            eject_for: Duration::from_secs(10),
        }
    }
}

/// How long each step of a request to a server may take.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// TCP and TLS handshake together.
    pub connect: Duration,
    /// Between two reads from the server.
    pub read: Duration,
    /// Between two writes to the server.
    pub write: Duration,
    /// How long an idle connection is kept for reuse.
    pub idle: Duration,
    /// In place of `read` for a WebSocket: how long it may stay quiet.
    pub tunnel: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            read: Duration::from_secs(30),
            write: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            tunnel: Duration::from_secs(3600),
        }
    }
}

/// What is tried again, on another server where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all. 1 = never again.
    pub attempts: u32,
    /// On which failures. A request that was sent is only repeated when its method is idempotent (RFC 9110, 9.2.2).
    pub on: Vec<RetryOn>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            on: vec![RetryOn::ConnectError, RetryOn::Reset],
        }
    }
}

/// A failure that may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// No connection could be made.
    ConnectError,
    /// The connection broke before an answer began.
    Reset,
    /// No answer in time.
    Timeout,
}

/// Idle connections.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pool {
    /// Streams at once on one HTTP/2 connection.
    pub h2_streams: u32,
}

impl Default for Pool {
    fn default() -> Self {
        Self { h2_streams: 100 }
    }
}

/// TLS to the servers. Certificates are always verified.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// The name sent as SNI and verified in the server's certificate.
    pub server_name: String,
    /// Subject alternative names of which the certificate must have one, in place of `server_name`: host names, IP addresses,
    /// URIs such as `spiffe://cluster.local/ns/shop/sa/cart`. Needs `protocol: http1`.
    #[serde(default)]
    pub san: Vec<String>,
    /// The lowest version spoken.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// CA certificates to trust instead of the public ones (PEM).
    pub ca: Option<PathBuf>,
    /// Our client certificate (PEM chain). Needs `key`.
    pub certificate: Option<PathBuf>,
    /// Its private key (PEM).
    pub key: Option<PathBuf>,
}

/// What is sent as Host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamHost {
    /// The host that the client asked for.
    #[default]
    Client,
    /// The server's own address.
    Server,
    /// This one.
    Name(String),
}
