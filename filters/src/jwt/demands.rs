//! What a route wants of a good token beyond its being good: scopes, values of claims, a condition, age, and how the user has
//! authenticated (RFC 9470). Whether a token is good at all is [`super::verify`]'s.

use std::borrow::Cow;

use portcullis_bundles::when::{Claim, Environment, When};
use portcullis_config::key::Key;
use serde_json::Value;

use super::config::StepUp;
use super::issuer::date;
use super::refusal::Refusal;
use crate::attributes::{self, KeyError};
use crate::claims::Claims;
use crate::request::Request;

/// What a route wants.
#[derive(Debug)]
pub(super) struct Demands {
    pub(super) scopes: Box<[Box<str>]>,
    pub(super) wanted: Box<[Wanted]>,
    pub(super) when: Option<When>,
    /// Seconds since `iat`.
    pub(super) max_token_age: Option<i64>,
    pub(super) step_up: Option<StepUp>,
}

/// A claim that must have one of these values.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) claim: Box<str>,
    pub(super) values: Box<[Value]>,
}

impl Demands {
    /// Judges the claims of a good token. `leeway` is that of its issuer, in seconds.
    pub(super) fn judge(&self, claims: &Claims, request: &Request<'_>, leeway: i64) -> Result<(), Refusal> {
        let now = request.head.now.unix();
        if let Some(longest) = self.max_token_age {
            let issued_at = date(claims.get("iat"), f64::floor)?.ok_or(Refusal::Claims)?;
            if now - issued_at > longest + leeway {
                return Err(Refusal::TooOld);
            }
        }
        if !self.scopes.iter().all(|scope| has_scope(claims, scope)) {
            return Err(Refusal::Scope);
        }
        if !self.wanted.iter().all(|wanted| wanted.is_met(claims)) {
            return Err(Refusal::ClaimNotAllowed);
        }
        if !self.when.as_ref().is_none_or(|when| holds(when, claims, request)) {
            return Err(Refusal::Condition);
        }
        match &self.step_up {
            Some(step_up) if !is_strong(step_up, claims, now - leeway) => Err(Refusal::Authentication),
            _ => Ok(()),
        }
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

/// Whether the user has authenticated as it is wanted. What the token does not say did not happen.
fn is_strong(step_up: &StepUp, claims: &Claims, now: i64) -> bool {
    let acr = claims.get("acr").and_then(Value::as_str);
    let known = |acr: &str| step_up.acr_values.iter().any(|known| known == acr);
    if !step_up.acr_values.is_empty() && !acr.is_some_and(known) {
        return false;
    }
    let methods = claims.get("amr").and_then(Value::as_array);
    let used = |method: &String| methods.is_some_and(|list| list.iter().any(|used| used == method));
    if !step_up.amr.iter().all(used) {
        return false;
    }
    step_up.max_age.is_none_or(|longest| {
        let longest = i64::try_from(longest.get().as_secs()).unwrap_or(i64::MAX);
        let at = date(claims.get("auth_time"), f64::floor);
        at.is_ok_and(|at| at.is_some_and(|at| now.saturating_sub(at) <= longest))
    })
}

/// Whether a condition holds. One that cannot be told does not: here it lets in, and is no limit.
fn holds(when: &When, claims: &Claims, request: &Request<'_>) -> bool {
    when.holds(&Asked { claims, request }).unwrap_or(false)
}

/// A request with the claims of its token, before the request has them.
struct Asked<'r, 'a> {
    claims: &'r Claims,
    request: &'r Request<'a>,
}

impl Environment for Asked<'_, '_> {
    type Error = KeyError;

    fn method(&self) -> &str {
        self.request.head.method.as_str()
    }

    fn path(&self) -> &str {
        self.request.head.path
    }

    fn host(&self) -> &str {
        self.request.head.host
    }

    fn text(&self, key: &Key, _: bool) -> Result<Option<Cow<'_, str>>, KeyError> {
        attributes::text(self.request, key)
    }

    fn claim(&self, name: &str, _: bool) -> Option<Claim<'_>> {
        self.claims.get(name).map(Claim::Json)
    }
}
