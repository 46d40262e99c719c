//! What a filter can answer: go on, stop, wait, or "I broke". The shapes only; [`crate::chain`] acts on them.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

/// What a filter says of a request or a response.
pub enum Verdict {
    /// Nothing against it.
    Continue,
    /// The exchange ends here.
    Stop(Stop),
    /// Request phase only: the same hook is called again when the future is ready. For the few filters that must wait
    /// for I/O that somebody else does.
    Wait(Waiting),
    /// Request phase only: the same hook is called again after so long. For the few filters that hold requests back.
    Pause(Duration),
    /// Request phase only: the same hook is called again when the body is in [`crate::facts::Facts::body`], or so many
    /// bytes of it. Nothing goes upstream before.
    Body(usize),
    /// Response body only: the answer ends with the piece as the hook left it, and the upstream is not listened to any
    /// more.
    End(Reason),
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Continue => f.write_str("Continue"),
            Self::Stop(stop) => f.debug_tuple("Stop").field(stop).finish(),
            Self::Wait(_) => f.write_str("Wait(..)"),
            Self::Pause(span) => f.debug_tuple("Pause").field(span).finish(),
            Self::Body(most) => f.debug_tuple("Body").field(most).finish(),
            Self::End(reason) => f.debug_tuple("End").field(reason).finish(),
        }
    }
}

/// A future that a request waits for. Whoever drives the chain bounds it in time.
pub type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How an exchange ends early.
#[derive(Debug)]
pub enum Stop {
    /// Refused.
    Deny(Denial),
    /// Answered by the filter itself (a CORS preflight, for example).
    Reply(Box<Reply>),
}

/// A refusal. It becomes problem+json (RFC 9457) or the route's error page; no filter writes one itself.
#[derive(Debug, Clone)]
pub struct Denial {
    /// The status.
    pub status: StatusCode,
    /// The stable code, for clients and logs.
    pub reason: Reason,
    /// What may be told to the client beyond the reason.
    pub detail: Option<Cow<'static, str>>,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u32>,
    /// Header fields of the refusal, such as `WWW-Authenticate`.
    pub headers: Fields,
    /// How its body is written.
    pub shape: Shape,
}

/// How the body of a refusal is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shape {
    /// As problem+json (RFC 9457).
    #[default]
    Problem,
    /// As clients of OpenAI's API read errors.
    OpenAi,
    /// As clients of Anthropic's API read errors.
    Anthropic,
}

impl Denial {
    /// A refusal with a status and a reason, and nothing else.
    pub fn new(status: StatusCode, reason: Reason) -> Self {
        Self {
            status,
            reason,
            detail: None,
            retry_after: None,
            headers: Fields::new(),
            shape: Shape::Problem,
        }
    }

    /// Sets how its body is written.
    #[must_use]
    pub fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// Adds what may be told to the client.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl From<Denial> for Verdict {
    fn from(denial: Denial) -> Self {
        Self::Stop(Stop::Deny(denial))
    }
}

/// An answer that a filter gives itself.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Its header fields; the length is added.
    pub headers: Fields,
    /// Its body.
    pub body: Bytes,
}

/// A few header fields.
pub type Fields = Vec<(HeaderName, HeaderValue)>;

/// A stable reason code in `snake_case`. Codes are never renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reason(pub &'static str);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// "I broke": neither yes nor no. The link's posture decides what becomes of the request.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct FilterError {
    /// The stable code.
    pub reason: Reason,
    /// For the log, never for the client.
    pub detail: Cow<'static, str>,
    /// Status when the posture refuses: 503 when it may pass, 500 otherwise.
    pub status: StatusCode,
}

impl FilterError {
    /// Something that is not there for now: 503 when the posture refuses.
    pub fn unavailable(reason: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason: Reason(reason),
            detail: detail.into(),
            status: StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Something that cannot be: 500 when the posture refuses.
    pub fn internal(reason: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason: Reason(reason),
            detail: detail.into(),
            status: StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// What a hook returns. `Err` means "I broke", never "no".
pub type Outcome = Result<Verdict, FilterError>;

/// Nothing against it.
pub const CONTINUE: Outcome = Ok(Verdict::Continue);
