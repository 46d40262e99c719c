//! TLS of a listener as written: certificates, versions, suites, sessions, client certificates. No file is opened here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ClientAuth;
use crate::secret::SecretRef;
use crate::text::TextError;
use crate::units::Duration;

/// TLS of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificates with their keys. The one whose names cover the client's SNI is served; the first is the default.
    pub certificates: Vec<CertificateFiles>,
    /// The lowest version spoken.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Cipher suites by their IANA names. The order is ours and wins over the client's. Default: all that are safe, the
    /// client's order.
    pub cipher_suites: Option<Vec<CipherSuite>>,
    /// Key exchange groups by their IANA names, in order of preference. Default: all.
    pub groups: Option<Vec<Group>>,
    /// Protocols offered by ALPN, in order of preference.
    #[serde(default = "default_alpn")]
    pub alpn: Vec<Alpn>,
    /// What becomes of a client that asks for a name no certificate covers, or for none.
    #[serde(default)]
    pub unknown_sni: UnknownSni,
    /// How clients come back without a full handshake.
    #[serde(default)]
    pub session: TlsSession,
    /// Ask clients for certificates.
    pub client_auth: Option<ClientAuth>,
}

impl ListenerTls {
    /// With these certificates, and everything else by default.
    pub fn new(certificates: Vec<CertificateFiles>) -> Self {
        Self {
            certificates,
            min_version: TlsVersion::default(),
            cipher_suites: None,
            groups: None,
            alpn: default_alpn(),
            unknown_sni: UnknownSni::default(),
            session: TlsSession::default(),
            client_auth: None,
        }
    }
}

impl ListenerTls {
    /// Every file that is named. A change of one of them is picked up.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let certificates = self.certificates.iter();
        let certificates = certificates.flat_map(|files| {
            let answer = files.ocsp.as_ref().and_then(|ocsp| ocsp.file.as_deref());
            [Some(files.certificate.as_path()), Some(files.key.as_path()), answer]
        });
        let certificates = certificates.flatten();
        let ticket_keys = self.session.ticket_keys.iter().filter_map(|key| match key {
            SecretRef::File(path) => Some(path.as_path()),
            SecretRef::Env(_) => None,
        });
        let client_auth = self.client_auth.iter();
        let client_auth = client_auth.flat_map(|auth| std::iter::once(&auth.ca).chain(&auth.crl));
        certificates.chain(ticket_keys).chain(client_auth.map(PathBuf::as_path))
    }
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
    /// Staple an answer about its revocation (OCSP). `{}`: fetched in the background, from the responder that the certificate
    /// names.
    pub ocsp: Option<Ocsp>,
}

/// Where answers to staple come from (RFC 6066, RFC 6960).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ocsp {
    /// A file with an answer (DER), which something else keeps fresh. Changed files are picked up without a reload.
    pub file: Option<PathBuf>,
    /// The responder's URL, instead of the one in the certificate. `http` will do: answers are signed.
    pub responder: Option<String>,
}

/// A TLS version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl TlsVersion {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TlsVersion {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        match text {
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            "1.0" | "1.1" => Err(TextError::new(format!(
                "TLS {text} is never spoken: it is broken and deprecated (RFC 8996)"
            ))
            .help("write \"1.2\" or \"1.3\"")),
            _ => Err(TextError::new(format!("`{text}` is not a TLS version that is spoken"))
                .help("write \"1.2\" or \"1.3\"")),
        }
    }
}

impl<'de> Deserialize<'de> for TlsVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::from_text(deserializer, "a TLS version in quotes: \"1.2\" or \"1.3\"", "1.2")
    }
}

impl Serialize for TlsVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for TlsVersion {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TlsVersion".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "A TLS version.", "enum": ["1.2", "1.3"] })
    }
}

/// A cipher suite by its IANA name. There is none without forward secrecy and authenticated encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs, non_camel_case_types, clippy::upper_case_acronyms)]
pub enum CipherSuite {
    TLS_AES_128_GCM_SHA256,
    TLS_AES_256_GCM_SHA384,
    TLS_CHACHA20_POLY1305_SHA256,
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

impl CipherSuite {
    /// The IANA name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TLS_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
            Self::TLS_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
            Self::TLS_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
            Self::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            Self::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            Self::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            Self::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            Self::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            Self::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        }
    }

    /// The one version that has it.
    pub const fn version(self) -> TlsVersion {
        match self {
            Self::TLS_AES_128_GCM_SHA256 | Self::TLS_AES_256_GCM_SHA384 | Self::TLS_CHACHA20_POLY1305_SHA256 => {
                TlsVersion::V1_3
            }
            _ => TlsVersion::V1_2,
        }
    }
}

/// A key exchange group by its IANA name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Curve25519 (RFC 7748).
    X25519,
    /// NIST P-256.
    Secp256r1,
    /// NIST P-384.
    Secp384r1,
}

impl Group {
    /// The IANA name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X25519 => "x25519",
            Self::Secp256r1 => "secp256r1",
            Self::Secp384r1 => "secp384r1",
        }
    }
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

/// What becomes of a client that asks for a name no certificate covers, or for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownSni {
    /// It is served the first certificate.
    #[default]
    Default,
    /// The handshake ends with the alert `unrecognized_name` (RFC 6066).
    Reject,
}

/// How clients come back without a full handshake.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSession {
    /// Give out session tickets (RFC 5077, RFC 8446). Without them, sessions are kept in `cache` only.
    pub tickets: bool,
    /// Keys of tickets that several gateways share: references to 48 or 80 bytes, raw or base64. The first encrypts, all
    /// decrypt. Changed files are picked up without a reload. Empty: keys of our own, replaced after each `ticket_lifetime`.
    pub ticket_keys: Vec<SecretRef>,
    /// How long a session can be resumed, at most 7 d.
    pub ticket_lifetime: Duration,
    /// Sessions kept for clients that come back without a ticket. 0 = none.
    pub cache: u32,
}

impl Default for TlsSession {
    fn default() -> Self {
        Self {
            tickets: true,
            ticket_keys: Vec::new(),
            ticket_lifetime: Duration::from_secs(12 * 3600),
            cache: 20_000,
        }
    }
}
