//! Listeners as written: address, protocols, TLS, PROXY protocol.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One listening socket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Names it in logs, metrics and the status page.
    pub name: String,
    /// Address and port, such as `0.0.0.0:8080` or `[::]:8443`.
    #[serde(deserialize_with = "crate::address::socket")]
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// Accept HTTP/2 with prior knowledge on this plaintext listener.
    #[serde(default)]
    pub h2c: bool,
    /// Which PROXY protocol header a connection must begin with.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// From where connections are taken. Others are closed before TLS, unread and unanswered.
    #[serde(default)]
    pub sources: Sources,
    /// Terminate TLS here.
    pub tls: Option<ListenerTls>,
}

/// From where a listener takes connections. Behind `proxy_protocol` the client's address counts, and `deny` holds for the
/// proxy's too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sources {
    /// Networks and addresses that may connect. Empty = all.
    #[serde(deserialize_with = "crate::address::networks")]
    #[schemars(with = "Vec<crate::address::Network>")]
    pub allow: Vec<IpNet>,
    /// Networks and addresses that may not. Wins over `allow`.
    #[serde(deserialize_with = "crate::address::networks")]
    #[schemars(with = "Vec<crate::address::Network>")]
    pub deny: Vec<IpNet>,
}

/// The PROXY protocol of a listener. When on, a connection without a valid header is closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// Not expected and not parsed.
    #[default]
    Off,
    /// Version 1 (text).
    V1,
    /// Version 2 (binary).
    V2,
    /// Either version.
    Any,
}

/// TLS of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificates with their keys. The one whose names cover the client's SNI is served; the first is the default.
    pub certificates: Vec<CertificateFiles>,
    /// The lowest version spoken.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Protocols offered by ALPN, in order of preference.
    #[serde(default = "default_alpn")]
    pub alpn: Vec<Alpn>,
}

fn default_alpn() -> Vec<Alpn> {
    vec![Alpn::H2, Alpn::Http11]
}

/// A certificate chain and its key, both PEM files. Changed files are picked up without a reload.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A TLS version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V1_3,
}

/// An application protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Alpn {
    /// HTTP/2.
    #[serde(rename = "h2")]
    H2,
    /// HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http11,
}

impl Alpn {
    /// The protocol's name in ALPN.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::H2 => "h2",
            Self::Http11 => "http/1.1",
        }
    }
}
