//! Sites and routes as written: which requests, which filters, which answer.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::http_text::{HeaderName, Method, Status};
pub use crate::link::{Link, Mode, OnError};
use crate::listener::{Listener, ListenerMode};
use crate::matcher::HostPattern;
pub use crate::overload::Priority;
use crate::units::Duration;

/// A group of hosts with their routes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Host names: `api.example.com`, `*.example.com` (one label or more), or `*` for every other host.
    pub hosts: Vec<HostPattern>,
    /// Only on these listeners. Default: all.
    pub listeners: Option<Vec<String>>,
    /// Filters of every route of the site; they run before the route's own.
    #[serde(default)]
    pub filters: Vec<Link>,
    /// Tell browsers to come back over TLS only (RFC 6797). Sent over TLS.
    pub hsts: Option<Hsts>,
    /// How clients are told of limits and refusals.
    #[serde(default)]
    pub answers: Answers,
    /// The routes. The most specific match wins, whatever the order.
    pub routes: Vec<Route>,
}

/// How clients are told of limits and refusals.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Answers {
    /// In which header fields the tightest limit is told. `[]`: in none.
    pub limit_headers: Vec<LimitHeaders>,
    /// The form of a refusal's body.
    pub refusals: Refusals,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            limit_headers: vec![LimitHeaders::Draft, LimitHeaders::Classic],
            refusals: Refusals::default(),
        }
    }
}

/// Header fields that tell of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitHeaders {
    /// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
    Draft,
    /// `RateLimit`, `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset`.
    Classic,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`, the last in seconds from now.
    XRatelimit,
}

impl LimitHeaders {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Classic => "classic",
            Self::XRatelimit => "x_ratelimit",
        }
    }
}

/// The form of a refusal's body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Refusals {
    /// problem+json (RFC 9457).
    #[default]
    Problem,
    /// As the API of OpenAI and those made after it: `{"error": {"message", "type", "param", "code"}}`.
    Openai,
}

impl Site {
    /// Whether every listener that serves it only decides, so that nothing of it is ever forwarded or answered.
    pub fn only_decides(&self, listeners: &[Listener]) -> bool {
        let serves = |listener: &&Listener| {
            let only = self.listeners.as_ref();
            only.is_none_or(|only| only.contains(&listener.name))
        };
        let mut serving = listeners.iter().filter(serves).peekable();
        serving.peek().is_some() && serving.all(|listener| listener.mode == ListenerMode::Decision)
    }
}

/// `Strict-Transport-Security` (RFC 6797). A field of the same name from an upstream is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hsts {
    /// How long browsers remember it. `0s` makes them forget.
    pub max_age: Duration,
    /// It is for every host below the site's, too.
    #[serde(default)]
    pub include_subdomains: bool,
    /// Ask for a place in the lists that browsers ship. Needs `include_subdomains` and a `max_age` of 365 d.
    #[serde(default)]
    pub preload: bool,
}

impl Hsts {
    /// The field's value.
    pub fn value(&self) -> String {
        let mut value = format!("max-age={}", self.max_age.get().as_secs());
        for (on, directive) in [
            (self.include_subdomains, "; includeSubDomains"),
            (self.preload, "; preload"),
        ] {
            value.push_str(if on { directive } else { "" });
        }
        value
    }
}

/// Requests that match, what is done to them and who answers. Exactly one of `proxy`, `redirect`, `respond`; none on a site
/// that is served on listeners with `mode: decision` only, where whoever asked goes on with the request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Names it in logs and metrics. Default: made from site and match.
    pub name: Option<String>,
    /// Which requests.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// Whether it is refused before or after others when there is not room for all.
    #[serde(default)]
    pub priority: Priority,
    /// Filters of this route, in order.
    #[serde(default)]
    pub filters: Vec<Link>,
    /// Forward to an upstream.
    pub proxy: Option<Proxy>,
    /// Answer with a redirect.
    pub redirect: Option<Redirect>,
    /// Answer with a fixed response.
    pub respond: Option<Respond>,
}

/// Which requests. Absent fields match everything; given fields must all match.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// The whole normalised path. Not with `path_prefix`.
    pub path: Option<String>,
    /// Whole leading segments of the normalised path: `/v1` covers `/v1`, `/v1/` and `/v1/x`, not `/v10`.
    pub path_prefix: Option<String>,
    /// Methods, upper-case.
    pub methods: Option<Vec<Method>>,
    /// Header fields that must have exactly this value.
    pub headers: BTreeMap<HeaderName, String>,
}

/// Forward to an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// The upstream's name.
    pub upstream: String,
    /// Replaces the matched `path_prefix`.
    pub rewrite_prefix: Option<String>,
}

/// Answer with a redirect.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// The Location. `${path}`, `${query}` (with its question mark) and `${host}` are replaced by the request's.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "permanent")]
    pub status: Status,
}

fn permanent() -> Status {
    Status(http::StatusCode::PERMANENT_REDIRECT)
}

/// Answer with a fixed response.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// The status.
    pub status: Status,
    /// The body, at most 64 KiB.
    #[serde(default)]
    pub body: String,
    /// Its media type.
    #[serde(default = "text_plain")]
    pub content_type: String,
}

fn text_plain() -> String {
    "text/plain; charset=utf-8".into()
}
