//! GET of one document that may be kept: only 200 with the media type asked for, or 304.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Request, StatusCode};

use super::cache_control::freshness;
use super::{Client, FetchError, Url};

/// Longest entity tag that is kept. A longer one is as if there were none.
const MOST_ETAG: usize = 256;

/// An entity tag to ask with (RFC 9110, section 8.8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validator(HeaderValue);

/// What a fetch brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// A document.
    Document(Document),
    /// The one with the validator is still right.
    NotModified {
        /// How long that stays so, where the server says it.
        fresh_for: Option<Duration>,
    },
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its bytes.
    pub body: Bytes,
    /// What to ask with next time.
    pub validator: Option<Validator>,
    /// How long it stays fresh, where the server says it.
    pub fresh_for: Option<Duration>,
}

/// Fetches a document. `accept` lists the media types that will do, without parameters; an answer without a type will do too.
pub async fn get(
    client: &Client,
    url: &Url,
    accept: &[&'static str],
    validator: Option<&Validator>,
) -> Result<Fetched, FetchError> {
    let mut request = Request::new(Bytes::new());
    if let Ok(value) = HeaderValue::from_str(&accept.join(", ")) {
        request.headers_mut().insert(ACCEPT, value);
    }
    if let Some(Validator(tag)) = validator {
        request.headers_mut().insert(IF_NONE_MATCH, tag.clone());
    }
    let (head, body) = client.send(url, request).await?.into_parts();
    match head.status {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if validator.is_some() => {
            return Ok(Fetched::NotModified {
                fresh_for: freshness(&head.headers),
            });
        }
        status if status.is_redirection() && status != StatusCode::NOT_MODIFIED => {
            return Err(FetchError::Redirect(status.as_u16()));
        }
        status => return Err(FetchError::Status(status.as_u16())),
    }
    check_type(&head.headers, accept)?;
    let validator = head
        .headers
        .get(ETAG)
        .filter(|tag| tag.len() <= MOST_ETAG)
        .cloned()
        .map(Validator);
    Ok(Fetched::Document(Document {
        body,
        validator,
        fresh_for: freshness(&head.headers),
    }))
}

fn check_type(headers: &HeaderMap, accept: &[&'static str]) -> Result<(), FetchError> {
    let coding = headers
        .get(CONTENT_ENCODING)
        .map_or(&b"identity"[..], HeaderValue::as_bytes);
    if !coding.eq_ignore_ascii_case(b"identity") {
        return Err(FetchError::ContentEncoding);
    }
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    let essence = text.split(';').next().unwrap_or_default().trim();
    if accept.iter().any(|wanted| wanted.eq_ignore_ascii_case(essence)) {
        return Ok(());
    }
    Err(FetchError::ContentType(essence.chars().take(80).collect()))
}
