//! `portcullis.yaml` as written: the top level and the settings that belong to no single listener, site or upstream.

use std::collections::BTreeMap;
use std::path::Path;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address;
use crate::control_plane::ControlPlane;
use crate::geoip::GeoIp;
use crate::identity::Identity;
use crate::listener::Listener;
use crate::overload::Overload;
use crate::policy::Policy;
use crate::site::Site;
use crate::state::State;
use crate::telemetry::Telemetry;
use crate::units::{ByteSize, Duration, Rate};
use crate::upstream::Upstream;

/// The whole of `portcullis.yaml`, after its includes were merged in.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Other files of this shape (glob patterns, relative to this file) whose lists are appended and whose maps are merged in.
    #[serde(default)]
    pub include: Vec<String>,
    /// The sockets that accept traffic.
    pub listeners: Vec<Listener>,
    /// Networks whose PROXY headers, `Forwarded` and `X-Forwarded-*` are believed.
    #[serde(default, deserialize_with = "address::networks")]
    #[schemars(with = "Vec<address::Network>")]
    pub trusted_proxies: Vec<IpNet>,
    /// What is known of addresses: countries, networks, Tor exits.
    pub geoip: Option<GeoIp>,
    /// Groups of servers that requests are forwarded to, by name.
    #[serde(default)]
    pub upstreams: BTreeMap<String, Upstream>,
    /// Refuse this configuration if any upstream is spoken to without TLS.
    #[serde(default)]
    pub require_upstream_tls: bool,
    /// Who may issue tokens.
    #[serde(default)]
    pub identity: Identity,
    /// Where the policy bundle comes from and whose signature counts.
    pub policy: Option<Policy>,
    /// What is kept over restarts, and the key that it is sealed with.
    #[serde(default)]
    pub state: State,
    /// The control plane that this gateway reports to.
    pub control_plane: Option<ControlPlane>,
    /// Hosts and their routes. `"*"` is the default site.
    pub sites: Vec<Site>,
    /// The admin listener: health, metrics, status, reload, kill switches.
    #[serde(default)]
    pub admin: Admin,
    /// Bounds on what clients may send and hold.
    #[serde(default)]
    pub limits: Limits,
    /// What is refused when more is asked than there is.
    #[serde(default)]
    pub overload: Overload,
    /// Access log, log, traces.
    #[serde(default)]
    pub telemetry: Telemetry,
    /// Threads, grace periods, hand-over to a new binary.
    #[serde(default)]
    pub runtime: Runtime,
}

impl Config {
    /// The folder of what is kept over restarts.
    pub fn state_dir(&self) -> Option<&Path> {
        let of_policy = self.policy.as_ref().and_then(|policy| policy.state_dir.as_deref());
        self.state.dir.as_deref().or(of_policy)
    }
}

/// The admin listener.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Where it listens: an address that only operators reach.
    #[serde(deserialize_with = "address::socket")]
    #[schemars(with = "String")]
    pub address: std::net::SocketAddr,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: std::net::SocketAddr::from(([127, 0, 0, 1], 9901)),
        }
    }
}

/// Bounds on what clients may send and hold. Every default is safe on the open internet.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The request line and all header fields together. More is answered 431.
    pub request_header_bytes: ByteSize,
    /// Header fields in a request. More is answered 431.
    pub request_headers: u32,
    /// The request body. More is answered 413.
    pub request_body_bytes: ByteSize,
    /// Request bodies that are held back for rules that have to see them (`token_bucket_llm`), all together. Such a rule answers 503 when
    /// there is no room for another.
    pub held_body_bytes: ByteSize,
    /// From accept to a finished TLS handshake (and PROXY header).
    pub handshake_timeout: Duration,
    /// TLS handshakes that do their public-key work at once, over all listeners. More wait, within `handshake_timeout`.
    pub handshakes: u32,
    /// From the first byte of a request to the end of its header.
    pub header_timeout: Duration,
    /// Between two pieces of a request body.
    pub body_idle_timeout: Duration,
    /// Bytes a second below which a body transfer is cut, either way. 0 switches it off.
    pub min_rate: u32,
    /// How long an idle connection is kept.
    pub keepalive_timeout: Duration,
    /// Requests served on one connection. Then HTTP/1.1 is closed, and HTTP/2 told to finish what it began and to come again.
    pub keepalive_requests: u32,
    /// Connections at once, over all listeners.
    pub connections: u32,
    /// Connections at once from one address (an IPv6 /64 counts as one).
    pub connections_per_ip: u32,
    /// Connections at once from one IPv4 /24 or IPv6 /48. Ten times `connections_per_ip` unless set.
    pub connections_per_prefix: Option<u32>,
    /// How fast one address (an IPv6 /64 counts as one) may open connections.
    pub new_connections_per_ip: NewConnections,
    /// What one HTTP/2 connection may do.
    pub h2: Http2,
}

/// What one HTTP/2 connection may do.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http2 {
    /// Streams at once. More are refused, one by one.
    pub streams: u32,
    /// How fast streams may come to nothing: given up by the client, or reset for its errors.
    pub resets: Resets,
    /// Bytes of answers that are kept while the client does not take them, besides as many as it took in the last seconds. Beyond, answers that have not begun wait.
    pub response_buffer_bytes: ByteSize,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            streams: 128,
            resets: Resets::default(),
            response_buffer_bytes: ByteSize::kib(512),
        }
    }
}

/// How fast streams of HTTP/2 may come to nothing: a token bucket. A stream that is answered earns one back.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resets {
    /// Resets in a span of time.
    pub rate: Rate,
    /// How many may come at once.
    pub burst: u32,
}

impl Default for Resets {
    fn default() -> Self {
        Self {
            rate: Rate { per_second: 10.0 },
            burst: 100,
        }
    }
}

/// How fast connections may be opened: a token bucket. Loopback addresses are not counted.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewConnections {
    /// New connections in a span of time.
    pub rate: Rate,
    /// How many may come at once after a pause.
    pub burst: u32,
}

impl Default for NewConnections {
    fn default() -> Self {
        Self {
            rate: Rate { per_second: 200.0 },
            burst: 1_000,
        }
    }
}

impl Limits {
    /// Connections at once from one IPv4 /24 or IPv6 /48.
    pub fn connections_per_prefix(&self) -> u32 {
        self.connections_per_prefix
            .unwrap_or_else(|| self.connections_per_ip.saturating_mul(10))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_header_bytes: ByteSize::kib(32),
            request_headers: 100,
            request_body_bytes: ByteSize::mib(10),
            held_body_bytes: ByteSize::mib(256),
            handshake_timeout: Duration::from_secs(10),
            handshakes: 16,
            header_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(20),
            min_rate: 256,
            keepalive_timeout: Duration::from_secs(60),
            keepalive_requests: 10_000,
            connections: 100_000,
            connections_per_ip: 1_000,
            connections_per_prefix: None,
            new_connections_per_ip: NewConnections::default(),
            h2: Http2::default(),
        }
    }
}

/// How the process itself runs. A change here needs a restart or a binary upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Runtime {
    /// Worker threads. 0 = one per core.
    pub threads: u32,
    /// After SIGTERM: how long `/readyz` already fails while new connections are still accepted.
    pub drain_delay: Duration,
    /// After SIGTERM: how long requests in flight may take to finish. The process leaves as soon as none is left.
    pub grace_period: Duration,
    /// The socket over which a new binary receives the listening sockets. Its folder must be private to the user.
    pub upgrade_socket: Option<std::path::PathBuf>,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            threads: 0,
            drain_delay: Duration::from_secs(0),
            grace_period: Duration::from_secs(30),
            upgrade_socket: None,
        }
    }
}
