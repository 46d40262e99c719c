//! The keys of `csrf` as written.

use portcullis_config::secret::SecretRef;
use portcullis_config::site::HeaderName;
use portcullis_config::units::Duration;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::cors::origin::Origin;

/// Which pages may send requests that change something.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsrfConfig {
    /// Origins whose pages may, beside the request's own: `https://app.example.com`, or `https://*.example.com` for every
    /// name below it.
    #[serde(default)]
    pub allowed_origins: Vec<Origin>,
    /// Paths that are not protected, for callers that are no browsers. One that ends with a slash means everything below it.
    #[serde(default)]
    pub exempt_paths: Vec<String>,
    /// What becomes of a request that says nothing of where it comes from. Browsers always say it.
    #[serde(default)]
    pub without_origin: WithoutOrigin,
    /// A signed token that pages must send along, beside everything else.
    pub token: Option<TokenConfig>,
}

/// What becomes of a request without `Sec-Fetch-Site`, `Origin` and `Referer`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WithoutOrigin {
    /// It is refused.
    #[default]
    Deny,
    /// It passes.
    Allow,
}

/// A signed double submit: a token in a cookie that the page's script repeats in a header field.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// The key that signs tokens, at least 32 bytes.
    pub key: SecretRef,
    /// The cookie that holds the token. Its name begins with `__Host-`.
    #[serde(default = "cookie")]
    pub cookie: String,
    /// The header field that repeats it.
    #[serde(default = "header")]
    pub header: HeaderName,
    /// The cookie of the session that a token belongs to. A token is no good in any other session.
    pub session_cookie: Option<String>,
    /// How long a token is good. Browsers get a new one after half of it.
    #[serde(default = "max_age")]
    pub max_age: Duration,
}

fn cookie() -> String {
    "__Host-csrf".to_owned()
}

fn header() -> HeaderName {
    HeaderName("x-csrf-token".into())
}

fn max_age() -> Duration {
    Duration::from_secs(12 * 3600)
}
