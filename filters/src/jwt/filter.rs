//! The `jwt` filter: find the token, verify it or remember it, ask what the route wants of it, pass its claims on.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use portcullis_config::diagnostic::Diagnostic;
use serde_json::Value;

use super::cache::{Rules, TokenCache};
use super::config::{Forward, JwtConfig};
use super::issuer::Trusted;
use super::refusal::{Challenges, Refusal};
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
    pub(super) field: HeaderName,
    pub(super) optional: bool,
    pub(super) forward: Forward,
    pub(super) outputs: Box<[Output]>,
    pub(super) wanted: Box<[Wanted]>,
    pub(super) scopes: Box<[Box<str>]>,
    pub(super) challenges: Challenges,
}

/// A claim that must have one of these values.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) claim: Box<str>,
    pub(super) values: Box<[Value]>,
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

    fn on_request(&self, state: &mut JwtState, request: &mut Request<'_>) -> Outcome {
        let token = match source::token(request.head.headers, &self.field) {
            Ok(Some(token)) => token,
            Ok(None) if self.optional => {
                self.clean(request);
                return CONTINUE;
            }
            Ok(None) => return Ok(self.refuse(Refusal::Missing)),
            Err(refusal) => return Ok(self.refuse(refusal)),
        };
        match self.claims(token, &request.facts.scope(), request.head.now) {
            Ok(claims) => self.admit(claims, request),
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
    fn admit(&self, claims: Arc<Claims>, request: &mut Request<'_>) -> Outcome {
        if !self.scopes.iter().all(|scope| has_scope(&claims, scope)) {
            return Ok(self.refuse(Refusal::Scope));
        }
        if !self.wanted.iter().all(|wanted| wanted.is_met(&claims)) {
            return Ok(self.refuse(Refusal::ClaimNotAllowed));
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
        request.facts.claims = Some(claims);
        CONTINUE
    }

    /// Keeps from the upstream what it could mistake for our word: fields that we write, the token where it is not to
    /// travel, and the twins of both.
    fn clean(&self, request: &mut Request<'_>) {
        let is_ours = |name: &str| self.outputs.iter().any(|output| is_twin(output.field.as_str(), name));
        for name in request.head.headers.keys() {
            let is_token = *name == self.field && self.forward == Forward::Keep;
            if is_ours(name.as_str()) || (!is_token && is_twin(self.field.as_str(), name.as_str())) {
                request.facts.request_headers.remove(name.clone());
            }
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

/// Whether a scope is in `scope` (RFC 8693, 4.2) or `scp`: a text of words, or a list of texts.
fn has_scope(claims: &Claims, scope: &str) -> bool {
    ["scope", "scp"]
        .into_iter()
        .filter_map(|name| claims.get(name))
        .any(|claim| match claim {
            Value::String(words) => words.split(' ').any(|word| word == scope),
            Value::Array(list) => list.iter().any(|item| item == scope),
            _ => false,
        })
}

impl Wanted {
    fn is_met(&self, claims: &Claims) -> bool {
        match claims.get(&self.claim) {
            None => false,
            Some(Value::Array(list)) => list.iter().any(|item| self.values.contains(item)),
            Some(scalar) => self.values.contains(scalar),
        }
    }
}
