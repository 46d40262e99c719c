//! The table of what the admin listener answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;

use super::answer::{self, Answer, Problem};
use super::control::{Control, KillError, Refused};
use super::wire::{KillRequest, ReadyStatus, RolloutStatus};
use super::{guard, samples};
use crate::identity::KeyError;
use crate::session::RevokeError;
use crate::telemetry::exposition::{CONTENT_TYPE as METRICS, Exposition};

/// Largest body of a request, and the time for it.
const MOST_BODY: usize = 64 << 10;
const BODY: Duration = Duration::from_secs(10);
/// Longest id of a kill switch.
const MOST_ID: usize = 64;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resource<'p> {
    Live,
    Ready,
    Metrics,
    Status,
    Config,
    Reload,
    KillSwitches,
    KillStatus,
    KillSwitch(&'p str),
    Debug,
    Rollout,
    RolloutPromote,
    RolloutAbort,
    StateKey,
    Sessions,
    SessionsRevoke,
    ApiKeys,
    ApiKey(&'p str),
    ApiKeyRotate(&'p str),
}

impl<'p> Resource<'p> {
    fn of(path: &'p str) -> Option<Self> {
        Some(match path {
            "/livez" => Self::Live,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/-/status" => Self::Status,
            "/-/config" => Self::Config,
            "/-/reload" => Self::Reload,
            "/-/kill" => Self::KillSwitches,
            "/-/kill/status" => Self::KillStatus,
            "/-/debug" => Self::Debug,
            "/-/rollout" => Self::Rollout,
            "/-/rollout/promote" => Self::RolloutPromote,
            "/-/rollout/abort" => Self::RolloutAbort,
            "/-/state/rotate-key" => Self::StateKey,
            "/-/sessions" => Self::Sessions,
            "/-/sessions/revoke" => Self::SessionsRevoke,
            "/-/api-keys" => Self::ApiKeys,
            _ => match path.strip_prefix("/-/api-keys/") {
                Some(key) => match key.strip_suffix("/rotate") {
                    Some(id) => Self::ApiKeyRotate(Some(id).filter(|id| is_id(id))?),
                    None => Self::ApiKey(Some(key).filter(|id| is_id(id))?),
                },
                None => Self::KillSwitch(path.strip_prefix("/-/kill/").filter(|id| is_id(id))?),
            },
        })
    }

    const fn methods(self) -> &'static str {
        match self {
            Self::Live
            | Self::Ready
            | Self::Metrics
            | Self::Status
            | Self::Config
            | Self::KillStatus
            | Self::Rollout
            | Self::Sessions => "GET, HEAD",
            Self::Reload
            | Self::RolloutPromote
            | Self::RolloutAbort
            | Self::StateKey
            | Self::SessionsRevoke
            | Self::ApiKeyRotate(_) => "POST",
            Self::KillSwitches | Self::ApiKeys => "GET, HEAD, POST",
            Self::KillSwitch(_) | Self::ApiKey(_) => "DELETE",
            Self::Debug => "POST, DELETE",
        }
    }
}

fn is_id(id: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !id.is_empty() && id.len() <= MOST_ID && id.bytes().all(fits)
}

/// Answers a request.
pub(super) async fn answer(control: &Arc<dyn Control>, peer: SocketAddr, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let (method, path) = (head.method.clone(), head.uri.path().to_owned());
    let reads = matches!(method, Method::GET | Method::HEAD);
    let answered = match Resource::of(&path) {
        None => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is nothing at this path",
        )),
        Some(resource) if reads => read(control, resource),
        Some(resource) => change(control, resource, head, body).await,
    };
    let answer = answered.unwrap_or_else(Answer::from);
    if !reads {
        let status = answer.status().as_u16();
        tracing::info!(%peer, %method, path, status, "admin request");
    }
    answer
}

/// GET, and HEAD of the same: hyper leaves the body out.
fn read(control: &Arc<dyn Control>, resource: Resource<'_>) -> Result<Answer, Problem> {
    Ok(match resource {
        Resource::Live => answer::json(StatusCode::OK, &json!({ "status": "ok" })),
        Resource::Ready => {
            let readiness = control.readiness();
            let status = match readiness.status {
                ReadyStatus::Ready => StatusCode::OK,
                ReadyStatus::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            };
            answer::json(status, &readiness)
        }
        Resource::Metrics => {
            let mut out = Exposition::new();
            samples::collect(&control.readiness(), &mut out);
            control.metrics(&mut out);
            answer::of_type(StatusCode::OK, METRICS, out.render())
        }
        Resource::Status => answer::json(StatusCode::OK, &control.status()),
        Resource::Config => answer::of_type(StatusCode::OK, "application/yaml", control.config()),
        Resource::KillSwitches => answer::json(StatusCode::OK, &control.kill_list()),
        Resource::KillStatus => answer::json(StatusCode::OK, &control.kill_status()),
        Resource::ApiKeys => answer::json(StatusCode::OK, &control.api_keys()?),
        Resource::Rollout => answer::json(StatusCode::OK, &control.rollout()),
        Resource::Sessions => answer::json(StatusCode::OK, &control.sessions()),
        Resource::Reload
        | Resource::KillSwitch(_)
        | Resource::Debug
        | Resource::RolloutPromote
        | Resource::RolloutAbort
        | Resource::StateKey
        | Resource::SessionsRevoke
        | Resource::ApiKey(_)
        | Resource::ApiKeyRotate(_) => return Err(not_allowed(resource)),
    })
}

async fn change(
    control: &Arc<dyn Control>,
    resource: Resource<'_>,
    head: Parts,
    body: Incoming,
) -> Result<Answer, Problem> {
    match (resource, &head.method) {
        (Resource::Reload, &Method::POST) => {
            guard::check(&head)?;
            reload(control).await
        }
        (Resource::KillSwitches, &Method::POST) => {
            guard::check(&head)?;
            let request = read_json(&head, body, "kill_switch_invalid").await?;
            set(control, request).await
        }
        (Resource::KillSwitch(id), &Method::DELETE) => {
            guard::check(&head)?;
            let (control, id) = (Arc::clone(control), id.to_owned());
            let cleared = detached(async move { control.kill_clear(&id).await }).await?;
            Ok(answer::json(StatusCode::OK, &cleared?))
        }
        (Resource::RolloutPromote, &Method::POST) => {
            guard::check(&head)?;
            let control = Arc::clone(control);
            ended(detached(async move { control.rollout_promote().await }).await?)
        }
        (Resource::RolloutAbort, &Method::POST) => {
            guard::check(&head)?;
            let control = Arc::clone(control);
            ended(detached(async move { control.rollout_abort().await }).await?)
        }
        (Resource::ApiKeys | Resource::ApiKeyRotate(_), &Method::POST) | (Resource::ApiKey(_), &Method::DELETE) => {
            guard::check(&head)?;
            change_key(Arc::clone(control), resource, &head, body).await
        }
        (Resource::StateKey, &Method::POST) => {
            guard::check(&head)?;
            let control = Arc::clone(control);
            let rotated = detached(async move { control.rotate_state_key().await }).await?;
            let conflict = |Refused { reason, detail, .. }| Problem::new(StatusCode::CONFLICT, reason, detail);
            rotated.map_err(conflict)?;
            Ok(answer::json(StatusCode::OK, &json!({ "rotated": true })))
        }
        (Resource::SessionsRevoke, &Method::POST) => {
            guard::check(&head)?;
            let request = read_json(&head, body, "session_choice_invalid").await?;
            let control = Arc::clone(control);
            let revoked = detached(async move { control.sessions_revoke(request).await }).await??;
            Ok(answer::json(StatusCode::OK, &revoked))
        }
        (Resource::Debug, &Method::POST) => {
            guard::check(&head)?;
            let full = || {
                Problem::new(
                    StatusCode::CONFLICT,
                    "debug_sessions_full",
                    "no session can be opened now",
                )
            };
            Ok(answer::json(
                StatusCode::CREATED,
                &control.debug_open().ok_or_else(full)?,
            ))
        }
        (Resource::Debug, &Method::DELETE) => {
            guard::check(&head)?;
            let ended = control.debug_end();
            Ok(answer::json(StatusCode::OK, &json!({ "ended": ended })))
        }
        _ => Err(not_allowed(resource)),
    }
}

/// API keys: issued, rotated, revoked.
async fn change_key(
    control: Arc<dyn Control>,
    resource: Resource<'_>,
    head: &Parts,
    body: Incoming,
) -> Result<Answer, Problem> {
    Ok(match resource {
        Resource::ApiKeyRotate(id) => {
            let (request, id) = (read_json(head, body, "api_key_invalid").await?, id.to_owned());
            let rotated = detached(async move { control.api_key_rotate(&id, request).await }).await?;
            answer::json(StatusCode::OK, &rotated?)
        }
        Resource::ApiKey(id) => {
            let id = id.to_owned();
            let revoked = detached(async move { control.api_key_revoke(&id).await }).await?;
            answer::json(StatusCode::OK, &revoked?)
        }
        _ => {
            let request = read_json(head, body, "api_key_invalid").await?;
            let issued = detached(async move { control.api_key_issue(request).await }).await?;
            answer::json(StatusCode::CREATED, &issued?)
        }
    })
}

fn not_allowed(resource: Resource<'_>) -> Problem {
    let methods = resource.methods();
    let detail = format!("the methods here are {methods}");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).allow(methods)
}

/// Runs to its end even when who asked is gone: what has begun to change is not left half changed.
async fn detached<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Problem> {
    let failed = |_| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "it ended before it was done; see the log",
        )
    };
    tokio::spawn(work).await.map_err(failed)
}

/// How a trial ended, or why it cannot.
fn ended(status: Result<RolloutStatus, Refused>) -> Result<Answer, Problem> {
    match status {
        Ok(status) => Ok(answer::json(StatusCode::OK, &status)),
        Err(Refused { reason, detail, .. }) => Err(Problem::new(StatusCode::CONFLICT, reason, detail)),
    }
}

async fn reload(control: &Arc<dyn Control>) -> Result<Answer, Problem> {
    let control = Arc::clone(control);
    match detached(async move { control.reload().await }).await? {
        Ok(reloaded) => Ok(answer::json(StatusCode::OK, &reloaded)),
        Err(Refused {
            reason,
            detail,
            diagnostics,
        }) => {
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, reason, detail);
            Err(problem.with("diagnostics", diagnostics))
        }
    }
}

async fn set(control: &Arc<dyn Control>, request: KillRequest) -> Result<Answer, Problem> {
    let control = Arc::clone(control);
    let switch = detached(async move { control.kill_set(request).await }).await??;
    let mut answer = answer::json(StatusCode::CREATED, &switch);
    let location = switch
        .id
        .and_then(|id| HeaderValue::try_from(format!("/-/kill/{id}")).ok());
    if let Some(location) = location {
        answer.headers_mut().insert(LOCATION, location);
    }
    Ok(answer)
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        let (status, reason) = match error {
            RevokeError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "session_choice_invalid"),
            RevokeError::NotKept(_) => (StatusCode::INTERNAL_SERVER_ERROR, "state_not_persisted"),
        };
        Self::new(status, reason, error.to_string())
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let (status, reason) = match error {
            KeyError::Unused => (StatusCode::CONFLICT, "api_keys_unused"),
            KeyError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "api_key_invalid"),
            KeyError::NotFound(_) => (StatusCode::NOT_FOUND, "api_key_not_found"),
            KeyError::Ended(_) => (StatusCode::CONFLICT, "api_key_ended"),
            KeyError::NotWritten(_) => (StatusCode::INTERNAL_SERVER_ERROR, "state_not_persisted"),
            KeyError::Unavailable(_) => (StatusCode::INTERNAL_SERVER_ERROR, "secret_unavailable"),
        };
        Self::new(status, reason, error.to_string())
    }
}

impl From<KillError> for Problem {
    fn from(error: KillError) -> Self {
        let (status, reason) = match error {
            KillError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "kill_switch_invalid"),
            KillError::NotFound(_) => (StatusCode::NOT_FOUND, "kill_switch_not_found"),
            KillError::Full(_) => (StatusCode::CONFLICT, "kill_switches_full"),
            KillError::NotPersisted(_) => (StatusCode::INTERNAL_SERVER_ERROR, "state_not_persisted"),
        };
        Self::new(status, reason, error.to_string())
    }
}

async fn read_json<T: DeserializeOwned>(head: &Parts, body: Incoming, invalid: &'static str) -> Result<T, Problem> {
    let media_type = head
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let detail = "the body must be application/json";
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media_type_unsupported",
            detail,
        ));
    }
    let bytes = body_of(body).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        if error.is_data() {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, invalid, error.to_string())
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "json_invalid", error.to_string())
        }
    })
}

async fn body_of(body: Incoming) -> Result<Bytes, Problem> {
    let read = timeout(BODY, Limited::new(body, MOST_BODY).collect()).await;
    let late = |_| {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "the body did not come in time",
        )
    };
    match read.map_err(late)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let detail = format!("the body has more than {MOST_BODY} bytes");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail))
        }
        Err(error) => Err(Problem::new(StatusCode::BAD_REQUEST, "body_broken", error.to_string())),
    }
}
