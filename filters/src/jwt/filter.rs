//! The `jwt` filter: find the token, verify it or remember it, ask what the route wants of it, pass its claims on.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, COOKIE};
use http::{HeaderName, HeaderValue};
use portcullis_config::diagnostic::Diagnostic;

use super::cache::{Rules, TokenCache};
use super::config::{Forward, JwtConfig};
use super::demands::Demands;
use super::issuer::Trusted;
use super::refusal::{Challenges, Refusal};
use super::source::Places;
use super::verify::{Failure, verify};
use super::{compile, source};
use crate::claims::Claims;
use crate::client::Now;
use crate::filter::{Filter, Phases};
use crate::headers::names::is_twin;
use crate::request::Request;
use crate::tenant::Scope;
use crate::verdict::{CONTINUE, FilterError, Outcome, Verdict};
use crate::zones::BuildEnv;

/// Lets requests pass that carry a good token.
pub struct Jwt {
    pub(super) issuers: Box<[Trusted]>,
    pub(super) rules: Rules,
    pub(super) cache: Arc<TokenCache>,
    pub(super) places: Places,
    pub(super) optional: bool,
    pub(super) forward: Forward,
    pub(super) outputs: Box<[Output]>,
    pub(super) demands: Demands,
    pub(super) challenges: Challenges,
}

/// A claim that becomes a header field.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) field: HeaderName,
    pub(super) claim: Box<str>,
}

/// What the filter knows of a request.
#[derive(Debug, Default)]
pub struct JwtState {
    /// Newer keys were asked for. Once a request is enough.
    asked: bool,
}

impl Filter for Jwt {
    const KIND: &'static str = "jwt";
    const PHASES: Phases = Phases::REQUEST;
    type Config = JwtConfig;
    type State = JwtState;

    fn build(config: JwtConfig, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        compile::compile(config, env)
    }

    fn secret_parameter(&self) -> Option<&str> {
        self.places.query.as_deref()
    }

    fn on_request(&self, state: &mut JwtState, request: &mut Request<'_>) -> Outcome {
        let found = match self.places.find(request.head) {
            Ok(Some(found)) => found,
            Ok(None) if self.optional => {
                self.clean(request);
                return CONTINUE;
            }
            Ok(None) => return Ok(self.refuse(Refusal::Missing)),
            Err(refusal) => return Ok(self.refuse(refusal)),
        };
        match self.claims(&found.token, &request.facts.scope(), request.head.now) {
            Ok(claims) => self.admit(claims, request, found.in_query),
            Err(Failure::Refused(refusal)) => Ok(self.refuse(refusal)),
            Err(failure @ (Failure::UnknownKey(place) | Failure::NoKeys(place))) => {
                if !state.asked
                    && let Some(waiting) = self.issuers.get(place).and_then(|issuer| issuer.keys.refresh())
                {
                    state.asked = true;
                    return Ok(Verdict::Wait(waiting));
                }
                self.without_key(failure, place)
            }
        }
    }
}

impl Jwt {
    /// The claims of a token, remembered or verified now.
    fn claims(&self, token: &[u8], scope: &Scope, now: Now) -> Result<Arc<Claims>, Failure> {
        // Too long for any token: not even worth hashing.
        if token.len() > super::jws::MAX_TOKEN {
            return Err(Refusal::TooLong.into());
        }
        let key = self.rules.key(scope, token);
        if let Some(claims) = self.cache.get(&key, &self.issuers, now) {
            return Ok(claims);
        }
        let verified = verify(token, &self.issuers, now)?;
        self.cache.insert(&key, &verified, now);
        Ok(verified.claims)
    }

    /// A good token: what the route wants of it, then what becomes of it.
    fn admit(&self, claims: Arc<Claims>, request: &mut Request<'_>, in_query: bool) -> Outcome {
        let issuer = self.issuers.iter().find(|issuer| issuer.name == claims.issuer);
        let leeway = issuer.map_or(0, |issuer| issuer.leeway);
        if let Err(refusal) = self.demands.judge(&claims, request, leeway) {
            return Ok(self.refuse(refusal));
        }
        self.clean(request);
        for output in &self.outputs {
            match claims.text(&output.claim) {
                Ok(None) => {}
                Ok(Some(text)) => match HeaderValue::from_bytes(text.as_bytes()) {
                    Ok(value) => request.facts.request_headers.set(output.field.clone(), value),
                    Err(_) => return Ok(self.refuse(Refusal::ClaimUnusable)),
                },
                Err(_) => return Ok(self.refuse(Refusal::ClaimUnusable)),
            }
        }
        if in_query {
            // RFC 6750, 2.3: who asks for the same URL later may have it from a store between us.
            let private = HeaderValue::from_static("private");
            request.facts.response_headers.append(CACHE_CONTROL, private);
        }
        request.facts.claims = Some(claims);
        CONTINUE
    }

    /// Keeps from the upstream what it could mistake for our word: fields that we write, the token where it is not to
    /// travel, and the twins of both.
    fn clean(&self, request: &mut Request<'_>) {
        let is_ours = |name: &str| self.outputs.iter().any(|output| is_twin(output.field.as_str(), name));
        let keeps = self.forward == Forward::Keep;
        for name in request.head.headers.keys() {
            let takes = |field: &HeaderName| is_twin(field.as_str(), name.as_str()) && !(keeps && name == field);
            if is_ours(name.as_str()) || self.places.header.as_ref().is_some_and(takes) {
                request.facts.request_headers.remove(name.clone());
            }
        }
        if let Some(cookie) = self.places.cookie.as_ref().filter(|_| !keeps) {
            take_cookie(cookie, request);
        }
        for output in &self.outputs {
            // An earlier filter may have written it.
            if request.header(&output.field).is_some() {
                request.facts.request_headers.remove(output.field.clone());
            }
        }
    }

    fn refuse(&self, refusal: Refusal) -> Verdict {
        self.challenges.denial(refusal).into()
    }

    fn without_key(&self, failure: Failure, place: usize) -> Outcome {
        if matches!(failure, Failure::UnknownKey(_)) {
            return Ok(self.refuse(Refusal::UnknownKey));
        }
        let name = self.issuers.get(place).map_or("", |issuer| &*issuer.name);
        let detail = format!("the keys of issuer `{name}` were never loaded or are too old");
        Err(FilterError::unavailable("jwks_unavailable", detail))
    }
}

/// Leaves the upstream all cookies but the one with the token.
fn take_cookie(name: &str, request: &mut Request<'_>) {
    let headers = request.head.headers;
    if !headers.contains_key(COOKIE) {
        return;
    }
    let others = source::other_cookies(headers, name).and_then(|others| HeaderValue::from_bytes(&others).ok());
    match others {
        Some(others) => request.facts.request_headers.set(COOKIE, others),
        None => request.facts.request_headers.remove(COOKIE),
    }
}
