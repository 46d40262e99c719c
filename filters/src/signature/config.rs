//! The keys of `signature` as written.

use portcullis_config::secret::SecretRef;
use portcullis_config::site::HeaderName;
use portcullis_config::units::{ByteSize, Duration};
use schemars::JsonSchema;
use serde::Deserialize;

/// Whose signature a request must have, and with which it goes on. At least one of `verify` and `sign`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureConfig {
    /// Lets only those requests pass that are signed.
    pub verify: Option<VerifyConfig>,
    /// Signs what goes to the upstream.
    pub sign: Option<SignConfig>,
    /// The largest body that is held back to be looked at. Larger ones are refused. At most 64MiB.
    #[serde(default = "max_body")]
    pub max_body: ByteSize,
}

/// How requests must be signed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyConfig {
    /// A scheme that is known by name. Not with `custom`.
    pub scheme: Option<Known>,
    /// A scheme in its own words.
    pub custom: Option<SchemeConfig>,
    /// Secrets of which one must have signed, at least 16 bytes each. Several while they rotate.
    pub secrets: Vec<SecretRef>,
    /// How far the timestamp may be from now, in either direction.
    #[serde(default = "tolerance")]
    pub tolerance: Duration,
    /// What becomes of a request that was let pass before.
    pub on_replay: Option<OnReplay>,
    /// For how many requests there is room to be remembered. When it is used up, further ones are refused.
    #[serde(default = "max_seen")]
    #[schemars(range(min = 1, max = 16_777_216))]
    pub max_seen: usize,
}

/// How requests are signed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignConfig {
    /// A scheme that is known by name. Not with `custom`.
    pub scheme: Option<Known>,
    /// A scheme in its own words.
    pub custom: Option<SchemeConfig>,
    /// The secret that signs, at least 16 bytes.
    pub secret: SecretRef,
}

/// Schemes that are known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// `X-Fanfare-Signature: sha256=HEX` over `TIMESTAMP.BODY`, with `X-Fanfare-Timestamp`.
    Fanfare,
    /// `X-Hub-Signature-256: sha256=HEX` over the body, without a timestamp.
    Github,
    /// `X-Slack-Signature: v0=HEX` over `v0:TIMESTAMP:BODY`, with `X-Slack-Request-Timestamp`.
    Slack,
    /// `Stripe-Signature: t=TIMESTAMP,v1=HEX` over `TIMESTAMP.BODY`.
    Stripe,
}

/// A scheme in its own words: HMAC-SHA-256 over a text.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemeConfig {
    /// Where the signature is.
    pub signature: PlaceConfig,
    /// How the signature is written.
    #[serde(default)]
    pub encoding: Encoding,
    /// Where the timestamp is, in seconds since 1970. Needed when `signed` has `{timestamp}`.
    pub timestamp: Option<PlaceConfig>,
    /// What is signed: a text with `{body}` at its end, and `{timestamp}` and `{header:NAME}` before it where they are.
    pub signed: String,
}

/// A place in a header field.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceConfig {
    /// The field.
    pub header: HeaderName,
    /// What separates several items in it. Default: there is one.
    pub separator: Option<char>,
    /// What stands in front of the item, such as `sha256=`.
    #[serde(default)]
    pub prefix: String,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal digits.
    #[default]
    Hex,
    /// Base64 with padding.
    Base64,
}

/// What becomes of a request that was let pass before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnReplay {
    /// It is refused.
    Deny,
    /// It is answered with 200 and goes nowhere, as senders of webhooks expect of what they send twice.
    Ignore,
    /// It passes again.
    Allow,
}

fn max_body() -> ByteSize {
    ByteSize::mib(1)
}

fn tolerance() -> Duration {
    Duration::from_secs(300)
}

fn max_seen() -> usize {
    100_000
}
