//! The `signature` filter: is the request signed by who shares a secret with us, now and for the first time? And our own
//! signature on what goes on.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use portcullis_config::diagnostic::{Diagnostic, codes};
use portcullis_config::secret::SecretRef;
use ring::hmac;

use super::config::{Known, OnReplay, SchemeConfig, SignConfig, SignatureConfig, VerifyConfig};
use super::scheme::{Scheme, Unread};
use super::seen::{Noted, Seen, SeenSignatures};
use crate::facts::Body;
use crate::filter::{Filter, Phases};
use crate::headers::names::is_twin;
use crate::request::Request;
use crate::response::Response;
use crate::secrets::SecretSlot;
use crate::verdict::{CONTINUE, Denial, FilterError, Outcome, Reason, Reply, Stop, Verdict};
use crate::zones::BuildEnv;

/// Shortest secret, in bytes.
const LEAST_SECRET: usize = 16;
/// Most secrets of a link.
const MOST_SECRETS: usize = 8;
/// The most that may be held back of one request.
const MOST_BODY: u64 = 64 << 20;
/// The longest that a timestamp may be away, in seconds.
const LONGEST: u64 = 3600;

/// Lets signed requests pass, and signs what goes on.
#[derive(Debug)]
pub struct Signature {
    verify: Option<Verify>,
    sign: Option<Sign>,
    max_body: usize,
}

#[derive(Debug)]
struct Verify {
    scheme: Scheme,
    secrets: Box<[Arc<SecretSlot>]>,
    tolerance_s: u64,
    on_replay: OnReplay,
    seen: Arc<SeenSignatures>,
}

#[derive(Debug)]
struct Sign {
    scheme: Scheme,
    secret: Arc<SecretSlot>,
}

/// What the filter knows of a request.
#[derive(Debug, Default)]
pub struct SignatureState {
    /// The signature that is remembered on its account.
    noted: Option<Seen>,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Missing,
    Malformed,
    Expired,
    Invalid,
    Replayed,
    BodyTooLarge,
}

impl Filter for Signature {
    const KIND: &'static str = "signature";
    const PHASES: Phases = Phases::REQUEST.and(Phases::RESPONSE);
    type Config = SignatureConfig;
    type State = SignatureState;

    fn keeps(state: &SignatureState) -> bool {
        state.noted.is_some()
    }

    fn build(config: SignatureConfig, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        if config.verify.is_none() && config.sign.is_none() {
            let message = "`signature` has neither `verify` nor `sign`, so that it would do nothing";
            return Err(env.wrong(codes::MISSING_KEY, "", message));
        }
        if !(1..=MOST_BODY).contains(&config.max_body.get()) {
            let message = "between 1 byte and 64MiB are held back";
            return Err(env.wrong(codes::OUT_OF_RANGE, "max_body", message));
        }
        Ok(Self {
            verify: config.verify.map(|written| Verify::build(written, env)).transpose()?,
            sign: config.sign.map(|written| Sign::build(written, env)).transpose()?,
            max_body: usize::try_from(config.max_body.get()).unwrap_or(usize::MAX),
        })
    }

    fn on_request(&self, state: &mut SignatureState, request: &mut Request<'_>) -> Outcome {
        let body = match &request.facts.body {
            None => return Ok(Verdict::Body(self.max_body)),
            Some(Body::Whole(bytes, _)) => bytes.clone(),
            Some(Body::TooLarge) => return Ok(refuse(Refusal::BodyTooLarge)),
            Some(Body::NoRoom) => {
                let detail = "as many bodies are held back already as there is room for";
                return Err(FilterError::unavailable("held_bodies_full", detail));
            }
            Some(Body::Unseen) => {
                let detail = "nobody has the body that is signed";
                return Err(FilterError::unavailable("signature_body_unseen", detail));
            }
        };
        if let Some(verify) = &self.verify
            && let Some(verdict) = verify.judge(state, request, &body)?
        {
            return Ok(verdict);
        }
        match &self.sign {
            Some(sign) => sign.write(request, &body),
            None => CONTINUE,
        }
    }

    fn on_response(&self, state: &mut SignatureState, response: &mut Response<'_>) -> Outcome {
        let failed = !(200..400).contains(&response.status.as_u16());
        if let (Some(verify), Some(noted)) = (&self.verify, state.noted.take())
            && failed
        {
            verify.seen.forget(&noted);
        }
        CONTINUE
    }
}

impl Verify {
    fn build(written: VerifyConfig, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        let key = "verify";
        let seconds = written.tolerance.get().as_secs();
        if !(1..=LONGEST).contains(&seconds) {
            return Err(env.wrong(codes::OUT_OF_RANGE, key, "`tolerance` is from 1s to 1h"));
        }
        if !(1..=MOST_SECRETS).contains(&written.secrets.len()) {
            return Err(env.wrong(codes::OUT_OF_RANGE, key, "`secrets` has 1 to 8 items"));
        }
        if !(1..=1 << 24).contains(&written.max_seen) {
            return Err(env.wrong(codes::OUT_OF_RANGE, key, "`max_seen` is from 1 to 16777216"));
        }
        let seen = env.zones.open(&env.own_zone(), &written.max_seen);
        let seen = seen.map_err(|error| env.zone_error(key, &error))?;
        let secrets: Result<_, _> = written.secrets.iter().map(|secret| slot(env, key, secret)).collect();
        Ok(Self {
            scheme: scheme(env, key, written.scheme, written.custom)?,
            secrets: secrets?,
            tolerance_s: seconds,
            on_replay: written.on_replay.unwrap_or(OnReplay::Deny),
            seen,
        })
    }

    /// What becomes of the request; `None` when nothing is against it.
    fn judge(
        &self,
        state: &mut SignatureState,
        request: &Request<'_>,
        body: &[u8],
    ) -> Result<Option<Verdict>, FilterError> {
        let (headers, now) = (request.head.headers, request.head.now);
        let claimed = match self.scheme.read(headers) {
            Ok(claimed) => claimed,
            Err(Unread::Missing) => return Ok(Some(refuse(Refusal::Missing))),
            Err(Unread::Malformed) => return Ok(Some(refuse(Refusal::Malformed))),
        };
        let Some(text) = self.scheme.text(headers, claimed.timestamp(), body) else {
            return Ok(Some(refuse(Refusal::Malformed)));
        };
        let mut keys = Vec::with_capacity(self.secrets.len());
        for secret in &self.secrets {
            keys.push(hmac::Key::new(hmac::HMAC_SHA256, secret.get()?.expose()));
        }
        let Some(tag) = claimed.verified(keys.iter(), &text) else {
            return Ok(Some(refuse(Refusal::Invalid)));
        };
        let away = claimed.seconds().map_or(0, |at| at.abs_diff(now.unix_ms / 1000));
        if away > self.tolerance_s {
            return Ok(Some(refuse(Refusal::Expired)));
        }
        if self.on_replay == OnReplay::Allow {
            return Ok(None);
        }
        // Signed in the future as far as is taken, it could come again for this long.
        let until = now.unix_ms.saturating_add(2_000 * self.tolerance_s + 1_000);
        let seen = request.facts.scope().key(tag);
        match (self.seen.note(&seen, until, now.unix_ms), self.on_replay) {
            (Noted::New, _) => {
                state.noted = Some(seen);
                Ok(None)
            }
            (Noted::Known, OnReplay::Ignore) => Ok(Some(Verdict::Stop(Stop::Reply(Box::new(Reply {
                status: StatusCode::OK,
                headers: Vec::new(),
                body: bytes::Bytes::new(),
            }))))),
            (Noted::Known, _) => Ok(Some(refuse(Refusal::Replayed))),
            (Noted::NoRoom, _) => {
                let detail = "as many signatures are remembered as there is room for";
                Err(FilterError::unavailable("signature_replay_full", detail))
            }
        }
    }
}

impl Sign {
    fn build(written: SignConfig, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        Ok(Self {
            scheme: scheme(env, "sign", written.scheme, written.custom)?,
            secret: slot(env, "sign", &written.secret)?,
        })
    }

    /// Signs what goes on. What the client sends under these names does not.
    fn write(&self, request: &mut Request<'_>, body: &[u8]) -> Outcome {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.get()?.expose());
        let timestamp = (request.head.now.unix_ms / 1000).to_string();
        let Some(text) = self.scheme.text(request.head.headers, &timestamp, body) else {
            return Ok(refuse(Refusal::Malformed));
        };
        let tag = hmac::sign(&key, &text);
        for sent in request.head.headers.keys() {
            if self.scheme.fields().any(|field| is_twin(field.as_str(), sent.as_str())) {
                request.facts.request_headers.remove(sent.clone());
            }
        }
        for (field, value) in self.scheme.write(&timestamp, tag.as_ref()) {
            let value = HeaderValue::try_from(value)
                .map_err(|_| FilterError::internal("signature_header", "the signature is no header value"))?;
            request.facts.request_headers.set(field, value);
        }
        CONTINUE
    }
}

fn slot(env: &mut BuildEnv<'_>, key: &str, secret: &SecretRef) -> Result<Arc<SecretSlot>, Diagnostic> {
    SecretSlot::open(env, key, secret, LEAST_SECRET)
}

fn scheme(
    env: &BuildEnv<'_>,
    key: &str,
    known: Option<Known>,
    custom: Option<SchemeConfig>,
) -> Result<Scheme, Diagnostic> {
    let compiled = match (known, custom) {
        (Some(name), None) => Scheme::known(name).ok_or_else(|| "this scheme is not known".to_owned()),
        (None, Some(written)) => Scheme::new(written),
        _ => Err("one of `scheme` and `custom` says how requests are signed".to_owned()),
    };
    compiled.map_err(|why| env.wrong(codes::INVALID_VALUE, key, why))
}

fn refuse(refusal: Refusal) -> Verdict {
    let (status, reason, detail) = match refusal {
        Refusal::Missing => (StatusCode::FORBIDDEN, "signature_missing", "The request is not signed."),
        Refusal::Malformed => (
            StatusCode::FORBIDDEN,
            "signature_malformed",
            "What should sign the request cannot be read.",
        ),
        Refusal::Expired => (
            StatusCode::FORBIDDEN,
            "signature_expired",
            "The request was signed too long ago, or in the future.",
        ),
        Refusal::Invalid => (
            StatusCode::FORBIDDEN,
            "signature_invalid",
            "The signature is not one of this request.",
        ),
        Refusal::Replayed => (StatusCode::CONFLICT, "signature_replayed", "The request came before."),
        Refusal::BodyTooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "signature_body_too_large",
            "The body is larger than what is looked at.",
        ),
    };
    Denial::new(status, Reason(reason)).detail(detail).into()
}
