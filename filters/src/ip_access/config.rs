//! The keys of `ip_access` as written.

use portcullis_config::address::Network;
use schemars::JsonSchema;
use serde::Deserialize;

/// Which addresses may come.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IpAccessConfig {
    /// Networks or addresses that may come; with such a list, nobody else may. Without it, everybody may who is not
    /// denied.
    #[serde(default)]
    pub allow: Vec<Network>,
    /// Networks or addresses that may not come, whatever `allow` says.
    #[serde(default)]
    pub deny: Vec<Network>,
    /// Whose address counts.
    #[serde(default)]
    pub source: Source,
}

/// Whose address counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The client's: what a proxy of `trusted_proxies` says, else the connection's peer.
    #[default]
    Client,
    /// The connection's peer, proxies included.
    Peer,
}
