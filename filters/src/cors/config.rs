//! The keys of `cors` as written.

use portcullis_config::site::{HeaderName, Method};
use portcullis_config::units::Duration;
use schemars::JsonSchema;
use serde::Deserialize;

use super::origin::Origin;

/// Which pages of other origins may read what the routes answer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorsConfig {
    /// Origins that may: `https://app.example.com`, `https://*.example.com` for every name below it, or `*` alone for
    /// all.
    pub origins: Vec<Origin>,
    /// Methods they may use. `*` alone allows every method.
    #[serde(default = "methods")]
    pub methods: Vec<Method>,
    /// Request header fields they may set beyond those that are always allowed. `*` alone allows every field.
    #[serde(default)]
    pub headers: Vec<HeaderName>,
    /// Response header fields they may read beyond those that are always readable. `*` alone: all.
    #[serde(default)]
    pub expose: Vec<HeaderName>,
    /// Whether requests may carry cookies and other credentials. Not with `origins: ["*"]`.
    #[serde(default)]
    pub credentials: bool,
    /// How long a browser may remember the answer to a preflight, at most a day. Default: as long as it likes (5
    /// seconds).
    pub max_age: Option<Duration>,
}

fn methods() -> Vec<Method> {
    ["GET", "HEAD", "POST"]
        .into_iter()
        .map(|method| Method(method.into()))
        .collect()
}
