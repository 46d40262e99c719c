//! The keys of `session` as written.

use std::collections::BTreeMap;

use portcullis_config::secret::SecretRef;
use portcullis_config::site::HeaderName;
use portcullis_config::units::Duration;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::jwt::config::Wanted;

/// Users log in at an OpenID Connect provider, and their browser holds nothing but a session id.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionConfig {
    /// The provider, by its name in `identity.issuers`. Its endpoints are discovered.
    pub issuer: String,
    /// Our name at the provider.
    pub client_id: String,
    /// Our secret at the provider. None: a public client, whose proof is PKCE alone.
    pub client_secret: Option<SecretRef>,
    /// How the secret is shown to the provider.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Where users come back from the provider: a URL of this site, as it is registered there. Its path is answered here.
    pub redirect_url: String,
    /// The key that session ids, logins on their way and devices are protected with, at least 32 bytes.
    pub key: SecretRef,
    /// Scopes that are asked for, beside `openid`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Further parameters for the provider, such as `prompt` or `acr_values`.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Claims of the ID token that must have one of these values (a list claim: hold one of them), such as `amr: [mfa]`.
    #[serde(default)]
    pub required_claims: BTreeMap<String, Wanted>,
    /// The claim that names the tenant that a session acts for.
    pub tenant_claim: Option<String>,
    /// The parameter by which the provider is told for which tenant a user wants to log in. With it users can switch.
    pub tenant_parameter: Option<String>,
    /// The name under which sessions are kept. Links of one name share them.
    #[serde(default = "realm")]
    pub realm: String,
    /// The cookie with the session id. Its name begins with `__Host-`.
    #[serde(default = "cookie")]
    pub cookie: String,
    /// The path below which `login`, `logout`, `refresh`, `switch` and `backchannel-logout` are answered here.
    #[serde(default = "path")]
    pub path: String,
    /// Lets requests without a session pass, without claims.
    #[serde(default)]
    pub optional: bool,
    /// A session ends when it was not used for so long.
    #[serde(default = "idle")]
    pub idle: Duration,
    /// A session ends after so long.
    #[serde(default = "absolute")]
    pub absolute: Duration,
    /// After so long a session gets its next id, and the one before is good for `grace` only.
    #[serde(default = "rotate")]
    pub rotate: Duration,
    /// For how long the id before is good beside the current one. Used later, it ends the session.
    #[serde(default = "grace")]
    pub grace: Duration,
    /// How long before its end an access token is renewed.
    #[serde(default = "refresh_ahead")]
    pub refresh_ahead: Duration,
    /// The header field that carries the access token to the upstream; in `authorization` behind `Bearer`. Without it the upstream gets
    /// none.
    pub access_token_header: Option<HeaderName>,
    /// Header fields for the upstream, each with the claim of the ID token that it holds. What the client sends under these names never
    /// reaches the upstream.
    #[serde(default)]
    pub claims_to_headers: BTreeMap<HeaderName, String>,
    /// Header fields that a session is bound to, such as `user-agent`: with others it is refused. Kept as a keyed hash.
    #[serde(default)]
    pub device_headers: Vec<HeaderName>,
    /// Where the provider sends users after a logout there. Registered at the provider.
    pub post_logout_url: Option<String>,
    /// Most sessions of the realm.
    #[serde(default = "max_sessions")]
    pub max_sessions: u32,
}

/// How a client shows its secret (RFC 6749, 2.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// In `Authorization`.
    #[default]
    Basic,
    /// In the request's body.
    Post,
}

fn realm() -> String {
    "main".to_owned()
}

fn cookie() -> String {
    "__Host-session".to_owned()
}

fn path() -> String {
    "/-/session".to_owned()
}

fn idle() -> Duration {
    Duration::from_secs(30 * 60)
}

fn absolute() -> Duration {
    Duration::from_secs(12 * 3600)
}

fn rotate() -> Duration {
    Duration::from_secs(15 * 60)
}

fn grace() -> Duration {
    Duration::from_secs(60)
}

fn refresh_ahead() -> Duration {
    Duration::from_secs(60)
}

fn max_sessions() -> u32 {
    100_000
}
