//! One call: where it goes, how it is proved who calls, and what the answer's status and region mean. Nothing is retried
//! here but with the other token.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use portcullis_config::control_plane::ControlPlane;
use serde::Serialize;

use super::course::{Call, Failure};
use super::events::Sealed;
use super::token::Tokens;
use crate::http_client::{Client, FetchError, Url};

/// Look-up, connection and handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A whole call.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A pull: bundles may be large.
const PULL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer to anything but a pull.
const MOST_ANSWER: u64 = 64 << 10;
/// Longest `ETag` that is kept.
const MOST_ETAG: usize = 256;

/// What makes a batch that is sent twice count once (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The field in which an answer names its region.
pub(super) const REGION: &str = "portcullis-region";

/// How calls are made.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    base: String,
    region: Option<String>,
    client: Client,
    max_bundle: u64,
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The stable code.
    pub(super) reason: &'static str,
    /// For people. Nothing of a body is in it.
    pub(super) detail: String,
    pub(super) failure: Failure,
    /// The same body will never be taken.
    pub(super) refused_for_good: bool,
}

impl Trouble {
    /// Something that time may mend.
    pub(super) fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            failure: Failure::Retry(None),
            refused_for_good: false,
        }
    }

    /// Something that only another token or another control plane mends.
    pub(super) fn denied(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            failure: Failure::Denied,
            ..Self::new(reason, detail)
        }
    }
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// What a pull brought.
#[derive(Debug)]
pub(super) enum Pulled {
    /// What is in force is still right.
    NotModified,
    /// A bundle, and the tag that it came under.
    Bundle(Bytes, Option<HeaderValue>),
}

/// Reason of answers from another region.
pub(super) const REGION_MISMATCH: &str = "region_mismatch";

impl Caller {
    pub(super) fn new(written: &ControlPlane, max_bundle: u64) -> Self {
        Self {
            base: written.url.trim_end_matches('/').to_owned(),
            region: written.region.clone(),
            client: Client {
                ca: written.ca.clone(),
                connect_timeout: CONNECT_TIMEOUT,
                timeout: TIMEOUT,
                max_bytes: MOST_ANSWER,
            },
            max_bundle,
        }
    }

    /// Sends a body; gives the answer's.
    pub(super) async fn post(&self, call: Call, tokens: &Tokens, body: &impl Serialize) -> Result<Bytes, Trouble> {
        let body = serde_json::to_vec(body).map_err(|error| Trouble::new("protocol", error.to_string()))?;
        self.post_bytes(call, tokens, body.into(), None).await
    }

    /// Sends a batch. `Ok(false)`: it was understood and will never be taken.
    pub(super) async fn post_batch(&self, tokens: &Tokens, sealed: Sealed) -> Result<bool, Trouble> {
        let key = HeaderValue::try_from(sealed.key).map_err(|error| Trouble::new("protocol", error.to_string()))?;
        let posted = self.post_bytes(Call::Events, tokens, sealed.body.into(), Some(key));
        match posted.await {
            Ok(_) => Ok(true),
            Err(trouble) if trouble.refused_for_good => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    async fn post_bytes(
        &self,
        call: Call,
        tokens: &Tokens,
        body: Bytes,
        key: Option<HeaderValue>,
    ) -> Result<Bytes, Trouble> {
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        headers.extend(key.map(|key| (IDEMPOTENCY_KEY, key)));
        let request = Outgoing {
            method: Method::POST,
            path: call.path(),
            headers,
            body,
        };
        let (status, _, body) = self.ask(&self.client, tokens, &request).await?;
        if status == StatusCode::NOT_MODIFIED {
            return Err(status_trouble(status, &HeaderMap::new()));
        }
        Ok(body)
    }

    /// Asks for a bundle other than the one with this tag.
    pub(super) async fn pull(&self, tokens: &Tokens, known: Option<HeaderValue>) -> Result<Pulled, Trouble> {
        let conditional = known.is_some();
        let mut headers = HeaderMap::from_iter(known.map(|tag| (IF_NONE_MATCH, tag)));
        headers.insert(ACCEPT, HeaderValue::from_static("application/octet-stream, */*;q=0.1"));
        let request = Outgoing {
            method: Method::GET,
            path: Call::Pull.path(),
            headers,
            body: Bytes::new(),
        };
        let client = Client {
            timeout: PULL_TIMEOUT,
            max_bytes: self.max_bundle,
            ..self.client.clone()
        };
        let (status, headers, body) = self.ask(&client, tokens, &request).await?;
        match status {
            StatusCode::OK => {
                let coding = headers
                    .get(CONTENT_ENCODING)
                    .map_or(&b"identity"[..], HeaderValue::as_bytes);
                if !coding.eq_ignore_ascii_case(b"identity") {
                    return Err(FetchError::ContentEncoding.into());
                }
                let tag = headers.get(ETAG).filter(|tag| tag.len() <= MOST_ETAG).cloned();
                Ok(Pulled::Bundle(body, tag))
            }
            // Nobody has a bundle for this gateway yet.
            StatusCode::NO_CONTENT => Ok(Pulled::NotModified),
            StatusCode::NOT_MODIFIED if conditional => Ok(Pulled::NotModified),
            status => Err(status_trouble(status, &headers)),
        }
    }

    /// Makes a call with each token until one is known.
    async fn ask(
        &self,
        client: &Client,
        tokens: &Tokens,
        request: &Outgoing,
    ) -> Result<(StatusCode, HeaderMap, Bytes), Trouble> {
        let url = Url::parse(&format!("{}{}", self.base, request.path))?;
        let mut refused = None;
        for token in tokens.iter() {
            let (head, body) = client.send(&url, request.with(token)).await?.into_parts();
            let (status, headers) = (head.status, head.headers);
            if status.is_success() || status == StatusCode::NOT_MODIFIED {
                self.check_region(&headers)?;
                return Ok((status, headers, body));
            }
            let trouble = status_trouble(status, &headers);
            if status != StatusCode::UNAUTHORIZED {
                return Err(trouble);
            }
            refused = Some(trouble);
        }
        Err(refused.unwrap_or_else(|| Trouble::new("token_unreadable", "there is no token")))
    }

    fn check_region(&self, headers: &HeaderMap) -> Result<(), Trouble> {
        let Some(region) = &self.region else { return Ok(()) };
        let named = headers
            .get(REGION)
            .map(|value| String::from_utf8_lossy(value.as_bytes()));
        if named.as_deref() == Some(region) {
            return Ok(());
        }
        let named = named.map_or_else(|| "no region".to_owned(), |named| format!("{:?}", short(&named)));
        let detail = format!("the answer names {named} in Portcullis-Region; control_plane.region is {region:?}");
        Err(Trouble::new(REGION_MISMATCH, detail))
    }
}

/// A request that may be sent more than once.
struct Outgoing {
    method: Method,
    path: &'static str,
    headers: HeaderMap,
    body: Bytes,
}

impl Outgoing {
    fn with(&self, token: &HeaderValue) -> Request<Bytes> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(AUTHORIZATION, token.clone());
        request
    }
}

/// What a status means that is none of success.
fn status_trouble(status: StatusCode, headers: &HeaderMap) -> Trouble {
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        return FetchError::Redirect(status.as_u16()).into();
    }
    let denied = matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND
    );
    if denied {
        return Trouble::denied("denied", format!("answered with status {status}"));
    }
    let after = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Trouble {
        failure: Failure::Retry(after.map(Duration::from_secs)),
        refused_for_good: matches!(
            status,
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY
        ),
        ..FetchError::Status(status.as_u16()).into()
    }
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_statuses_mean() {
        let none = HeaderMap::new();
        for (status, reason, failure) in [
            (401, "denied", Failure::Denied),
            (403, "denied", Failure::Denied),
            (404, "denied", Failure::Denied),
            (301, "redirect", Failure::Retry(None)),
            (308, "redirect", Failure::Retry(None)),
            (400, "status", Failure::Retry(None)),
            (500, "status", Failure::Retry(None)),
        ] {
            let trouble = status_trouble(StatusCode::from_u16(status).unwrap(), &none);
            assert_eq!((trouble.reason, trouble.failure), (reason, failure), "{status}");
        }
        let mut later = HeaderMap::new();
        later.insert(RETRY_AFTER, HeaderValue::from_static(" 7 "));
        let trouble = status_trouble(StatusCode::SERVICE_UNAVAILABLE, &later);
        assert_eq!(trouble.failure, Failure::Retry(Some(Duration::from_secs(7))));
        later.insert(RETRY_AFTER, HeaderValue::from_static("Fri, 31 Dec 1999 23:59:59 GMT"));
        let trouble = status_trouble(StatusCode::SERVICE_UNAVAILABLE, &later);
        assert_eq!(trouble.failure, Failure::Retry(None));
    }
}
