//! Talking to the provider: what it says of itself, tokens for codes and refresh tokens, and that a token is not used any more
//! (RFC 6749, RFC 7009, OpenID Connect Discovery).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use portcullis_filters::session::login::form;
use portcullis_filters::session::provider::{BadMetadata, Metadata, Provider};
use portcullis_filters::session::tokens::{Given, NotGiven, given};
use zeroize::Zeroizing;

use crate::http_client::{Client, FetchError, Fetched, Url, get};

/// Largest answer.
const MOST_ANSWER: u64 = 128 << 10;

/// Why a provider did not give what was asked for. The texts hold no code and no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// It could not be asked.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// What it says of itself is not believed.
    #[error("what it says of itself: {0}")]
    Metadata(#[from] BadMetadata),
    /// It said no.
    #[error("{}", words(.0))]
    NotGiven(NotGiven),
    /// Our secret is not there.
    #[error("our secret is not there")]
    Secret,
    /// It has no such endpoint.
    #[error("it has no such endpoint")]
    NoEndpoint,
}

fn words(not_given: &NotGiven) -> String {
    match not_given {
        NotGiven::InvalidGrant => "it answered `invalid_grant`".to_owned(),
        NotGiven::Error(code) => format!("it answered `{code}`"),
        NotGiven::Malformed(why) => format!("its answer is none: {why}"),
    }
}

impl Trouble {
    /// A stable name for logs.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Fetch(error) => error.code(),
            Self::Metadata(_) => "metadata",
            Self::NotGiven(_) => "refused",
            Self::Secret => "secret",
            Self::NoEndpoint => "no_endpoint",
        }
    }
}

fn client(provider: &Provider) -> Client {
    Client {
        ca: provider.ca.clone(),
        connect_timeout: provider.timeout,
        timeout: provider.timeout,
        max_bytes: MOST_ANSWER,
    }
}

/// What a provider says of itself, fetched unless it is known.
pub(super) async fn discover(provider: &Provider) -> Result<Arc<Metadata>, Trouble> {
    if let Some(known) = provider.metadata.get() {
        return Ok(known);
    }
    let url = Url::parse(&Metadata::url(&provider.issuer))?;
    match get(&client(provider), &url, &["application/json"], None).await? {
        Fetched::Document(document) => provider.metadata.publish(&document.body)?,
        Fetched::NotModified { .. } => return Err(FetchError::Status(304).into()),
    }
    provider.metadata.get().ok_or(Trouble::NoEndpoint)
}

/// Asks for tokens.
pub(super) async fn exchange(provider: &Provider, pairs: &[(&str, &str)], now_ms: u64) -> Result<Given, Trouble> {
    let metadata = discover(provider).await?;
    let (status, body) = post(provider, &metadata.token, pairs).await?;
    given(status, &body, now_ms).map_err(Trouble::NotGiven)
}

/// Says that a refresh token is not used any more.
pub(super) async fn forget(provider: &Provider, token: &str) -> Result<(), Trouble> {
    let metadata = discover(provider).await?;
    let Some(url) = &metadata.revocation else {
        return Err(Trouble::NoEndpoint);
    };
    let pairs = [("token", token), ("token_type_hint", "refresh_token")];
    match post(provider, url, &pairs).await? {
        (200, _) => Ok(()),
        (status, _) => Err(FetchError::Status(status).into()),
    }
}

/// Posts a form as this client.
async fn post(provider: &Provider, url: &str, pairs: &[(&str, &str)]) -> Result<(u16, Bytes), Trouble> {
    let url = Url::parse(url)?;
    let secret = match &provider.secret {
        None => None,
        Some(slot) => Some(slot.get().map_err(|_| Trouble::Secret)?),
    };
    let secret = match &secret {
        None => None,
        Some(secret) => Some(std::str::from_utf8(secret.expose()).map_err(|_| Trouble::Secret)?),
    };
    let mut own = Vec::new();
    if secret.is_none() || provider.in_body {
        own.push(("client_id", &*provider.client_id));
    }
    if let Some(secret) = secret.filter(|_| provider.in_body) {
        own.push(("client_secret", secret));
    }
    let body = form(pairs.iter().copied().chain(own));
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(secret) = secret.filter(|_| !provider.in_body) {
        headers.insert(AUTHORIZATION, basic(&provider.client_id, secret)?);
    }
    let answer = client(provider).send(&url, request).await?;
    Ok((answer.status().as_u16(), answer.into_body()))
}

/// Both parts are form-encoded before they are joined (RFC 6749, 2.3.1).
fn basic(id: &str, secret: &str) -> Result<HeaderValue, Trouble> {
    let encoded = |text: &str| form([("", text)]).split_off(1);
    let pair = Zeroizing::new(format!("{}:{}", encoded(id), encoded(secret)));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&text).map_err(|_| Trouble::Secret)?;
    value.set_sensitive(true);
    Ok(value)
}
