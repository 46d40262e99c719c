//! The keys of `tenant` as written.

use portcullis_config::site::HeaderName;
use portcullis_config::units::ByteSize;
use schemars::JsonSchema;
use serde::Deserialize;

/// Whose a request is, and where it may say so.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantConfig {
    /// Where the tenant is known from. At least one of them names it; those that name one must name the same.
    pub from: FromConfig,
    /// Where a request may name a tenant besides. Whatever is there must be the caller's own.
    #[serde(default)]
    pub same_in: SameInConfig,
    /// The header field that tells the upstream. What the client sends under this name never gets there.
    #[serde(default = "upstream_header")]
    pub upstream_header: HeaderName,
    /// A header field of answers in which the upstream says whose they are. Another tenant's answer is not passed on.
    pub response_header: Option<HeaderName>,
}

/// Where the tenant is known from.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FromConfig {
    /// A top-level claim of the verified token: a text or a number.
    pub claim: Option<String>,
    /// Names of the client's verified certificate.
    pub certificate: Option<CertificateConfig>,
    /// A header field, believed only when a trusted proxy sends it.
    pub header: Option<HeaderName>,
    /// The host, such as `{tenant}.example.com`.
    pub host: Option<String>,
}

/// Names of the client's verified certificate. One of the two.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// A URI, such as `spiffe://example.com/tenant/{tenant}/*`.
    pub uri: Option<String>,
    /// A host name, such as `{tenant}.clients.example.com`.
    pub dns: Option<String>,
}

/// Where a request may name a tenant.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SameInConfig {
    /// Paths, such as `/orgs/{tenant}`: the segment of every path that begins so. `*` is any segment.
    pub path: Vec<String>,
    /// Query parameters: every value of each.
    pub query: Vec<String>,
    /// Header fields: every value of each.
    pub header: Vec<HeaderName>,
    /// The host, such as `{tenant}.example.com`.
    pub host: Option<String>,
    /// Members of JSON bodies, such as `organizationId` or `data.organizationId`: every one of each.
    pub body: Vec<String>,
    /// The largest body that is held back to be looked at. Larger ones are refused. At most 64MiB.
    pub max_body: ByteSize,
}

impl Default for SameInConfig {
    fn default() -> Self {
        Self {
            path: Vec::new(),
            query: Vec::new(),
            header: Vec::new(),
            host: None,
            body: Vec::new(),
            max_body: ByteSize::mib(1),
        }
    }
}

fn upstream_header() -> HeaderName {
    HeaderName("x-tenant-id".into())
}
