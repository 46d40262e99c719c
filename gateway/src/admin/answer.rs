//! Answers of the admin listener: JSON, and problem+json (RFC 9457) for everything that went wrong.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// An answer with its whole body.
pub(super) type Answer = Response<Full<Bytes>>;

/// An answer of a media type.
pub(super) fn of_type(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    answer
}

/// JSON, with a line feed at the end for those who read it in a terminal.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    match serde_json::to_string(body) {
        Ok(text) => of_type(status, "application/json", text + "\n"),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()).into(),
    }
}

/// What went wrong.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    reason: &'static str,
    detail: String,
    allow: Option<&'static str>,
    more: Map<String, Value>,
}

impl Problem {
    /// With a stable reason and a sentence for people.
    pub(super) fn new(status: StatusCode, reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            detail: detail.into(),
            allow: None,
            more: Map::new(),
        }
    }

    /// Says which methods there are.
    pub(super) fn allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// Adds a member.
    pub(super) fn with(mut self, name: &str, value: Option<Value>) -> Self {
        self.more.extend(value.map(|value| (name.to_owned(), value)));
        self
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let mut body = json!({
            "type": "about:blank",
            "title": problem.status.canonical_reason().unwrap_or_default(),
            "status": problem.status.as_u16(),
            "reason": problem.reason,
            "detail": problem.detail,
        });
        if let Some(members) = body.as_object_mut() {
            members.extend(problem.more);
        }
        let mut answer = of_type(problem.status, "application/problem+json", format!("{body}\n"));
        if let Some(methods) = problem.allow {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
        }
        answer
    }
}
