//! What `portcullis edge` answers on its port besides decisions and forwarded requests: health, metrics and debug sessions.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora_error::Result;
use portcullis_filters::client::Now;
use serde_json::json;

use super::environment::Mode;
use super::{COOKIE, EdgeMode};
use crate::admin::control::Control as _;
use crate::admin::wire::ReadyStatus;
use crate::debug::{LASTS, NoSession, Sessions};
use crate::live::Live;
use crate::respond::Answer;
use crate::telemetry::exposition::{CONTENT_TYPE, Exposition};

const TEXT: &str = "text/plain";
const JSON: &str = "application/json";
/// The field with the secret that opens a debug session.
const SECRET: HeaderName = HeaderName::from_static("x-fairvisor-debug-secret");

/// What a request to the port is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// A question.
    Decision,
    /// A request that is forwarded.
    Traffic,
    /// Something that is answered here.
    Own(Resource),
}

/// What is answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// `/livez`.
    Live,
    /// `/readyz`.
    Ready,
    /// `/metrics`.
    Metrics,
    /// `/v1/debug/session`.
    LogIn,
    /// `/v1/debug/logout`.
    LogOut,
    /// Anything else, where nothing is forwarded.
    NotFound,
}

impl EdgeMode {
    /// What a request is about, by its target as it was sent.
    pub fn concern(&self, target: &str) -> Concern {
        let path = target.split('?').next().unwrap_or_default();
        Concern::Own(match path {
            "/livez" => Resource::Live,
            "/readyz" => Resource::Ready,
            "/metrics" => Resource::Metrics,
            "/v1/debug/session" => Resource::LogIn,
            "/v1/debug/logout" => Resource::LogOut,
            "/v1/decision" => return Concern::Decision,
            _ if self.mode == Mode::ReverseProxy => return Concern::Traffic,
            _ if crate::decision::Protocol::of(&Method::POST, target).is_ok() => return Concern::Decision,
            "/v1/auth_request" | "/v1/forward_auth" => return Concern::Decision,
            _ => Resource::NotFound,
        })
    }

    /// Answers.
    pub fn answer(&self, resource: Resource, live: &Live, asked: &Asked<'_>) -> Result<Answer> {
        match resource {
            Resource::Live => plain(StatusCode::OK, "ok\n"),
            Resource::Ready => ready(live),
            Resource::Metrics => {
                let mut out = Exposition::new();
                crate::admin::samples::collect(&live.readiness(), &mut out);
                live.metrics(&mut out);
                self.metrics.collect(live, &mut out);
                Answer::new(StatusCode::OK, CONTENT_TYPE, Bytes::from(out.render()))
            }
            Resource::LogIn => self.log_in(live.debug(), asked),
            Resource::LogOut if self.secret.is_none() => not_found(),
            Resource::LogOut if *asked.method != Method::POST => not_allowed(),
            Resource::LogOut => {
                live.debug().log_out(asked.headers);
                Answer::new(StatusCode::NO_CONTENT, "", Bytes::new())?.with(header::SET_COOKIE, cookie("", 0))
            }
            Resource::NotFound => not_found(),
        }
    }

    fn log_in(&self, sessions: &Sessions, asked: &Asked<'_>) -> Result<Answer> {
        let Some(secret) = &self.secret else { return not_found() };
        if *asked.method != Method::POST {
            return not_allowed();
        }
        let offered = asked.headers.get(SECRET).map(HeaderValue::as_bytes);
        let now = asked.now.unix_ms / 1000;
        match sessions.log_in(secret.as_bytes(), offered, asked.from, now) {
            Ok(value) => {
                Answer::new(StatusCode::NO_CONTENT, "", Bytes::new())?.with(header::SET_COOKIE, cookie(&value, LASTS))
            }
            Err(NoSession::Wrong) => problem(StatusCode::FORBIDDEN, "debug_secret_invalid"),
            Err(NoSession::TooMany(seconds)) => problem(StatusCode::TOO_MANY_REQUESTS, "debug_attempts_exceeded")?
                .with(header::RETRY_AFTER, seconds.into()),
            Err(NoSession::Unavailable) => problem(StatusCode::SERVICE_UNAVAILABLE, "debug_cookie_unavailable"),
        }
    }
}

/// Path, life and protection are those of every session's cookie; the value is made of digits, dots and base64url.
fn cookie(value: &str, seconds: u64) -> HeaderValue {
    let text = format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Strict");
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Who asks, and with what.
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The other end of the connection.
    pub from: IpAddr,
    /// When.
    pub now: Now,
}

fn ready(live: &Live) -> Result<Answer> {
    let readiness = live.readiness();
    let (status, body) = if let (ReadyStatus::Ready, Some(bundle)) = (&readiness.status, &readiness.bundle) {
        // Milliseconds fit a double for 285,000 years.
        #[allow(clippy::cast_precision_loss)]
        let updated = bundle.loaded_at.map(|at| at.0 as f64 / 1000.0);
        let body = json!({
            "status": "ready",
            "policy_version": bundle.version,
            "policy_hash": bundle.digest,
            "last_config_update": updated,
        });
        (StatusCode::OK, body)
    } else {
        let reason = match readiness.reasons.first().map(String::as_str) {
            Some("bundle_missing") | None => "no_policy_loaded",
            Some(reason) => reason,
        };
        let body = json!({ "status": "not_ready", "reason": reason });
        (StatusCode::SERVICE_UNAVAILABLE, body)
    };
    Answer::new(status, JSON, Bytes::from(format!("{body}\n")))
}

fn plain(status: StatusCode, text: &'static str) -> Result<Answer> {
    Answer::new(status, TEXT, Bytes::from_static(text.as_bytes()))
}

fn not_found() -> Result<Answer> {
    plain(StatusCode::NOT_FOUND, "not found\n")
}

fn not_allowed() -> Result<Answer> {
    plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n")?.with(header::ALLOW, HeaderValue::from_static("POST"))
}

fn problem(status: StatusCode, error: &'static str) -> Result<Answer> {
    Answer::new(status, JSON, Bytes::from(json!({ "error": error }).to_string()))
}
