//! Listeners as written: address, protocols, TLS, PROXY protocol.

mod client_auth;
mod tls;

use std::net::SocketAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use client_auth::{ClientAuth, ClientAuthMode, SanPattern};
pub use tls::{Alpn, CertificateFiles, CipherSuite, Group, ListenerTls, Ocsp, TlsSession, TlsVersion, UnknownSni};

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
    /// Forward requests, or decide about requests that a proxy in front describes.
    #[serde(default)]
    pub mode: ListenerMode,
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
    /// Forms of HTTP/1 requests that are let pass although they are refused by default. None of them reaches an upstream.
    #[serde(default)]
    pub compat: Vec<Leniency>,
}

/// What becomes of requests on a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListenerMode {
    /// They are routed, judged and answered or forwarded.
    #[default]
    Proxy,
    /// Each describes another request, which is routed and judged; the answer says whether it may pass. Nothing is
    /// forwarded. Only peers in `trusted_proxies` may ask.
    Decision,
}

/// A form of HTTP/1 requests that a listener lets pass if it is asked to. Each is harmless because what goes upstream is
/// written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Leniency {
    /// A line feed alone ends a line of the header (RFC 9112, 2.2).
    BareLf,
    /// Up to sixteen empty lines before a request instead of one (RFC 9112, 2.2).
    LeadingEmptyLines,
    /// Several equal Content-Lengths are one (RFC 9110, 8.6).
    DuplicateContentLength,
    /// White space stands between a chunk's size and the end of its line (RFC 9112, 7.1).
    PaddedChunkSize,
}

impl Leniency {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BareLf => "bare_lf",
            Self::LeadingEmptyLines => "leading_empty_lines",
            Self::DuplicateContentLength => "duplicate_content_length",
            Self::PaddedChunkSize => "padded_chunk_size",
        }
    }
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
