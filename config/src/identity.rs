//! Identity providers as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::secret::SecretRef;
use crate::units::{ByteSize, Duration};

/// Who may issue tokens.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// Token issuers by the name that `jwt` filters use.
    pub issuers: BTreeMap<String, Issuer>,
    /// API keys, which the gateway issues itself. Those that were issued are in the state folder.
    pub api_keys: Option<ApiKeys>,
}

/// API keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeys {
    /// The secret that texts of keys are hashed with, at least 32 bytes: `env:NAME` or `file:PATH`. With another one no key that was issued is known any
    /// more.
    pub hash_key: SecretRef,
}

/// One issuer of JWTs (RFC 7519) and where its keys are: a key set (RFC 7517), or shared secrets.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The exact `iss` of its tokens.
    pub issuer: String,
    /// Where its keys are fetched. `https`, or `http` on loopback only. Not with `hmac`.
    pub jwks_url: Option<String>,
    /// Secrets that are shared with the issuer, for HS256, HS384 and HS512. Whoever has one can make tokens.
    #[serde(default)]
    pub hmac: Vec<SharedSecret>,
    /// CA certificates to trust for `jwks_url` instead of the public ones (PEM).
    pub ca: Option<std::path::PathBuf>,
    /// Signature algorithms that its tokens may use.
    pub algorithms: Vec<Algorithm>,
    /// Accepted values of `aud`; one of them must be in the token.
    pub audiences: Vec<String>,
    /// Accepted values of the `typ` header, without regard to case. Default: `JWT`, `at+jwt` or none.
    pub types: Option<Vec<String>>,
    /// Allowed clock difference for `exp`, `nbf` and `iat`.
    #[serde(default = "leeway")]
    pub leeway: Duration,
    /// How the key set is kept fresh.
    #[serde(default)]
    pub refresh: Refresh,
}

/// A secret that is shared with an issuer.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharedSecret {
    /// The `kid` of tokens that are made with it. Needed where there are several.
    pub kid: Option<String>,
    /// The secret, at least as long as the hash of each of the issuer's algorithms (32, 48 or 64 bytes): `env:NAME` or
    /// `file:PATH`.
    pub secret: SecretRef,
}

fn leeway() -> Duration {
    Duration::from_secs(30)
}

/// How a key set is kept fresh.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Refresh {
    /// Time between two fetches when nothing asks for one (jitter is added; `Cache-Control` may shorten it).
    pub interval: Duration,
    /// The shortest time between two fetches, however many unknown key ids arrive.
    pub cooldown: Duration,
    /// How long keys stay in use while the provider cannot be reached.
    pub stale_for: Duration,
    /// Time for one fetch.
    pub timeout: Duration,
    /// Largest key set accepted.
    pub max_bytes: ByteSize,
}

impl Default for Refresh {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(300),
            cooldown: Duration::from_secs(10),
            stale_for: Duration::from_secs(24 * 3600),
            timeout: Duration::from_secs(5),
            max_bytes: ByteSize::kib(256),
        }
    }
}

/// A JWS signature algorithm (RFC 7518, RFC 8037). There is no `none`, and no symmetric algorithm with a key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
    HS256,
    HS384,
    HS512,
}

impl Algorithm {
    /// For a symmetric algorithm, how many bytes its hash has, and so its secret at least (RFC 7518, 3.2).
    pub const fn hash_bytes(self) -> Option<usize> {
        match self {
            Self::HS256 => Some(32),
            Self::HS384 => Some(48),
            Self::HS512 => Some(64),
            _ => None,
        }
    }
}
