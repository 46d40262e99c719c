//! The provider that users log in at, as one client of it sees it, and what it says of itself (OpenID Connect Discovery, 3;
//! RFC 8414; RFC 9207). Nothing is fetched here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde_json::Value;

use crate::jwt::issuer::Trusted;
use crate::jwt::json;
use crate::secrets::SecretSlot;
use crate::zones::{Entropy, ZoneState};

/// Levels of nesting in what a provider says of itself.
const DEPTH: usize = 8;
/// Longest URL of an endpoint.
const MOST_URL: usize = 2048;

/// A client of a provider.
pub struct Provider {
    /// The issuer's name in the configuration.
    pub name: Box<str>,
    /// The exact `iss`.
    pub issuer: Box<str>,
    /// CA certificates to trust instead of the public ones.
    pub ca: Option<PathBuf>,
    /// Time for one exchange with it.
    pub timeout: Duration,
    /// Our name there.
    pub client_id: Box<str>,
    /// Our secret there. None: a public client, whose proof is PKCE alone.
    pub secret: Option<Arc<SecretSlot>>,
    /// How the secret is shown.
    pub in_body: bool,
    /// Where users come back.
    pub redirect_url: Box<str>,
    /// Whose ID tokens count.
    pub id_tokens: Trusted,
    /// Whose logout tokens count.
    pub logout_tokens: Trusted,
    /// Claims of ID tokens that must have one of these values.
    pub required: Box<[Required]>,
    /// The claim that names the tenant.
    pub tenant_claim: Option<Box<str>>,
    /// What it says of itself, once that is known.
    pub metadata: Arc<MetadataZone>,
}

/// A claim that must have one of these values; of a list, one item must.
#[derive(Debug, Clone, PartialEq)]
pub struct Required {
    /// The claim.
    pub claim: Box<str>,
    /// Its values.
    pub values: Box<[Value]>,
}

impl Required {
    /// Whether claims meet it.
    pub fn is_met(&self, claims: &serde_json::Map<String, Value>) -> bool {
        match claims.get(&*self.claim) {
            None => false,
            Some(Value::Array(list)) => list.iter().any(|item| self.values.contains(item)),
            Some(scalar) => self.values.contains(scalar),
        }
    }
}

/// What a provider says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Where users are sent.
    pub authorization: String,
    /// Where codes and refresh tokens are turned into tokens.
    pub token: String,
    /// Where it is told that a token is not used any more, if anywhere.
    pub revocation: Option<String>,
    /// Where users are sent to log out there, if anywhere.
    pub end_session: Option<String>,
    /// Whether it names itself in its answers (RFC 9207).
    pub names_itself: bool,
}

/// Why what a provider says of itself is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadMetadata {
    /// Not a JSON object.
    #[error("it is not a proper JSON object")]
    Form,
    /// Of another issuer: RFC 8414, 3.3.
    #[error("its `issuer` is another one")]
    Issuer,
    /// An endpoint is missing or none.
    #[error("`{0}` is missing or is no URL with https (or http on loopback)")]
    Endpoint(&'static str),
    /// It cannot do what we ask for.
    #[error("it does not offer the code flow with `S256`")]
    Unable,
}

impl Metadata {
    /// Where a provider's metadata is.
    pub fn url(issuer: &str) -> String {
        format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
    }

    /// Reads it.
    pub fn parse(document: &[u8], issuer: &str) -> Result<Self, BadMetadata> {
        let document = json::object(document, DEPTH).map_err(|_| BadMetadata::Form)?;
        if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(BadMetadata::Issuer);
        }
        let endpoint = |name: &'static str| match document.get(name) {
            None => Ok(None),
            Some(Value::String(url)) if is_endpoint(url) => Ok(Some(url.clone())),
            Some(_) => Err(BadMetadata::Endpoint(name)),
        };
        let needed = |name| endpoint(name)?.ok_or(BadMetadata::Endpoint(name));
        let lacks = |name: &str, word: &str| match document.get(name) {
            Some(Value::Array(list)) => !list.iter().any(|item| item == word),
            _ => false,
        };
        if lacks("response_types_supported", "code") || lacks("code_challenge_methods_supported", "S256") {
            return Err(BadMetadata::Unable);
        }
        Ok(Self {
            authorization: needed("authorization_endpoint")?,
            token: needed("token_endpoint")?,
            revocation: endpoint("revocation_endpoint")?,
            end_session: endpoint("end_session_endpoint")?,
            names_itself: document.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
        })
    }
}

/// Whether a URL may be an endpoint: nothing travels in the clear but to the same machine.
fn is_endpoint(url: &str) -> bool {
    let plain = url.len() <= MOST_URL && url.bytes().all(|byte| matches!(byte, 0x21..=0x7e)) && !url.contains('#');
    let host = |rest: &str| {
        let authority = rest.split(['/', '?']).next().unwrap_or_default().to_owned();
        let name = match authority.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name.to_owned(),
            _ => authority,
        };
        matches!(name.as_str(), "localhost" | "127.0.0.1" | "[::1]")
    };
    plain && (url.starts_with("https://") || url.strip_prefix("http://").is_some_and(host))
}

/// The zone of what a provider says of itself.
pub struct MetadataZone {
    source: MetadataSource,
    loaded: ArcSwapOption<Metadata>,
}

/// Of which provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetadataSource {
    /// The exact `iss`.
    pub issuer: Box<str>,
    /// The CA certificates that it is trusted by.
    pub ca: Option<PathBuf>,
}

impl std::fmt::Display for MetadataSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.ca {
            None => write!(f, "{}", self.issuer),
            Some(ca) => write!(f, "{} by {}", self.issuer, ca.display()),
        }
    }
}

impl ZoneState for MetadataZone {
    const KIND: &'static str = "provider";
    type Shape = MetadataSource;

    fn open(source: &MetadataSource, _: &Entropy) -> Self {
        Self {
            source: source.clone(),
            loaded: ArcSwapOption::empty(),
        }
    }
}

impl MetadataZone {
    /// Of which provider.
    pub fn source(&self) -> &MetadataSource {
        &self.source
    }

    /// What is known.
    pub fn get(&self) -> Option<Arc<Metadata>> {
        self.loaded.load_full()
    }

    /// Puts what was fetched in force. What was known before stays when this is not believed.
    pub fn publish(&self, document: &[u8]) -> Result<(), BadMetadata> {
        let metadata = Metadata::parse(document, &self.source.issuer)?;
        self.loaded.store(Some(Arc::new(metadata)));
        Ok(())
    }
}
