//! The keys of `mtls` as written.

use std::collections::BTreeMap;

use portcullis_config::listener::SanPattern;
use portcullis_config::site::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

/// Which clients may come, by their certificates, and what the upstream hears of those. The listener's `client_auth` says
/// who signs them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MtlsConfig {
    /// Lets clients without a certificate pass, without an identity. One whose certificate does not fit is refused all the
    /// same.
    #[serde(default)]
    pub optional: bool,
    /// Who may come: one of these must fit. Default: everybody whose certificate the listener accepts.
    #[serde(default)]
    pub allow: Vec<AllowConfig>,
    /// Header fields for the upstream, each with what it says of the certificate. What the client sends under these names
    /// never reaches the upstream.
    #[serde(default)]
    pub headers: BTreeMap<HeaderName, Part>,
    /// Whether the upstream gets the certificate itself, in `Client-Cert` (RFC 9440).
    #[serde(default)]
    pub client_cert: bool,
}

/// A kind of client. Every key that is there must fit, by one of its items.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AllowConfig {
    /// SPIFFE IDs, such as `spiffe://example.com/api` or `spiffe://example.com/ns/prod/*`.
    pub spiffe: Vec<SanPattern>,
    /// URIs, likewise.
    pub uri: Vec<SanPattern>,
    /// Host names, such as `api.example.com` or `*.example.com`.
    pub dns: Vec<SanPattern>,
    /// E-mail addresses, such as `ops@example.com` or `*@example.com`.
    pub email: Vec<String>,
    /// Distinguished names of issuers, such as `CN=Clients, O=Example`.
    pub issuer: Vec<String>,
    /// SHA-256 of certificates, in hexadecimal digits.
    pub fingerprint: Vec<String>,
}

/// What a header field says of the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The first subject alternative name.
    San,
    /// The SPIFFE ID.
    Spiffe,
    /// The first URI.
    Uri,
    /// The first host name.
    Dns,
    /// The first e-mail address.
    Email,
    /// The distinguished name.
    Subject,
    /// The distinguished name of who signed it.
    Issuer,
    /// The serial number, in hexadecimal digits.
    Serial,
    /// SHA-256 of it, in hexadecimal digits.
    Fingerprint,
}
