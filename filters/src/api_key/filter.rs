//! The `api_key` filter: find the key, look it up by its hash, ask what it may do, say whose it is.

use std::sync::Arc;

use http::header::{AUTHORIZATION, ORIGIN};
use http::{HeaderName, HeaderValue};
use portcullis_config::diagnostic::{Diagnostic, codes};

use super::config::{ApiKeyConfig, Forward, Part};
use super::record::{Class, Environment, is_scope};
use super::refusal::Refusal;
use super::table::{Found, Hasher, KeyTable, Known};
use super::text;
use crate::filter::{Filter, Phases};
use crate::headers::names::{is_twin, reserved_in_request};
use crate::request::{Head, Request};
use crate::secrets::{KEY_BYTES, SecretSlot};
use crate::verdict::{CONTINUE, Outcome};
use crate::zones::{BuildEnv, OneShape};

/// Most header fields that are looked at, or written.
const MOST: usize = 16;
/// Longest text that is hashed: no key is longer.
const LONGEST: usize = 128;

/// Lets requests pass that carry a good API key.
#[derive(Debug)]
pub struct ApiKeyFilter {
    classes: Box<[Class]>,
    environment: Environment,
    scopes: Box<[Box<str>]>,
    fields: Box<[HeaderName]>,
    optional: bool,
    forward: Forward,
    outputs: Box<[(HeaderName, Part)]>,
    table: Arc<KeyTable>,
    secret: Arc<SecretSlot>,
}

impl Filter for ApiKeyFilter {
    const KIND: &'static str = "api_key";
    const PHASES: Phases = Phases::REQUEST;
    type Config = ApiKeyConfig;
    type State = ();

    fn build(config: ApiKeyConfig, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        let Some(written) = env.api_keys else {
            let message = "the configuration knows no API keys";
            let wrong = env.wrong(codes::MISSING_KEY, "", message);
            return Err(wrong.help("add `identity: { api_keys: { hash_key: ... } }`"));
        };
        for (key, empty) in [
            ("classes", config.classes.is_empty()),
            ("headers", config.headers.is_empty()),
        ] {
            if empty {
                return Err(env.wrong(codes::OUT_OF_RANGE, key, format!("`{key}` is empty")));
            }
        }
        if config.headers.len() > MOST || config.to_headers.len() > MOST || config.scopes.len() > super::record::MOST {
            let message = "at most 16 header fields are looked at or written, and 64 scopes wanted";
            return Err(env.wrong(codes::OUT_OF_RANGE, "", message));
        }
        if let Some(wrong) = config.scopes.iter().find(|scope| !is_scope(scope)) {
            return Err(env.wrong(codes::INVALID_VALUE, "scopes", format!("`{wrong}` cannot be a scope")));
        }
        let field = |key: &str, name: &str| {
            let name = HeaderName::try_from(name).ok();
            name.filter(|name| reserved_in_request(name).is_none())
                .ok_or_else(|| env.wrong(codes::INVALID_VALUE, key, "a field is named that no filter may use"))
        };
        let fields = config.headers.iter().map(|name| field("headers", &name.0));
        let fields = fields.collect::<Result<Box<[_]>, _>>()?;
        let outputs = config
            .to_headers
            .iter()
            .map(|(name, part)| Ok((field("to_headers", &name.0)?, *part)));
        let outputs = outputs.collect::<Result<Box<[_]>, Diagnostic>>()?;
        let reference = written.hash_key.clone();
        let table = env.zones.open::<KeyTable>(KeyTable::NAME, &OneShape);
        Ok(Self {
            classes: config.classes.into(),
            environment: config.environment,
            scopes: config.scopes.into_iter().map(Into::into).collect(),
            fields,
            optional: config.optional,
            forward: config.forward,
            outputs,
            table: table.map_err(|error| env.zone_error("", &error))?,
            secret: SecretSlot::open(env, "", &reference, KEY_BYTES)?,
        })
    }

    fn on_request(&self, (): &mut (), request: &mut Request<'_>) -> Outcome {
        let judged = match self.text(request.head) {
            Err(refusal) => Err(refusal),
            Ok(None) if self.optional => {
                self.clean(request);
                return CONTINUE;
            }
            Ok(None) => Err(Refusal::Missing),
            Ok(Some(text)) => {
                let secret = self.secret.get()?;
                self.judge(text, &Hasher::new(secret.expose()), request.head)
            }
        };
        match judged.and_then(|key| self.admit(&key, request)) {
            Ok(()) => CONTINUE,
            Err(refusal) => {
                self.table.count(refusal);
                Ok(refusal.denial().into())
            }
        }
    }
}

impl ApiKeyFilter {
    /// The text of the one key that a request carries.
    fn text<'h>(&self, head: &Head<'h>) -> Result<Option<&'h [u8]>, Refusal> {
        let mut found = None;
        for field in &self.fields {
            for value in head.headers.get_all(field) {
                let mut text = value.as_bytes();
                if *field == AUTHORIZATION {
                    let Some(token) = bearer(text).filter(|token| text::is_meant(token)) else {
                        continue;
                    };
                    text = token;
                }
                if found.replace(text).is_some() {
                    return Err(Refusal::Repeated);
                }
            }
        }
        Ok(found)
    }

    fn judge(&self, text: &[u8], hasher: &Hasher, head: &Head<'_>) -> Result<Arc<Known>, Refusal> {
        if text.len() > LONGEST || text::parse(text).is_none() {
            return Err(Refusal::Malformed);
        }
        let Found { key, expires_at, .. } = self.table.find(&hasher.hash(text)).ok_or(Refusal::Unknown)?;
        let now = head.now.unix_ms / 1000;
        let ended = |at: Option<u64>| at.is_some_and(|at| at <= now);
        let record = &key.record;
        if record.revoked_at.is_some() {
            Err(Refusal::Revoked)
        } else if ended(record.expires_at) || ended(expires_at) {
            Err(Refusal::Expired)
        } else if record.environment != self.environment {
            Err(Refusal::Environment)
        } else if !self.classes.contains(&record.class) {
            Err(Refusal::Class)
        } else if record.class != Class::Publishable && is_browser(head) {
            Err(Refusal::InBrowser)
        } else if !key.origins.is_empty() && !comes_from(head, &key) {
            Err(Refusal::Origin)
        } else if !key.networks.is_empty() && !key.networks.has(head.client.address) {
            Err(Refusal::Network)
        } else if !record.has_scopes(&self.scopes) {
            Err(Refusal::Scope)
        } else {
            Ok(key)
        }
    }

    /// A good key: whose request it is, and what is told of it.
    fn admit(&self, key: &Known, request: &mut Request<'_>) -> Result<(), Refusal> {
        let tenant = request.facts.tenant.get_or_insert_with(|| key.organisation.clone());
        if *tenant != key.organisation {
            return Err(Refusal::Tenant);
        }
        self.clean(request);
        for (field, part) in &self.outputs {
            let record = &key.record;
            let text = match part {
                Part::Id => &record.id,
                Part::Organisation => &record.organisation,
                Part::Class => record.class.as_str(),
                Part::Environment => record.environment.as_str(),
                Part::Scopes => &key.scopes,
            };
            // Every part was checked when the key was taken in.
            if let Ok(value) = HeaderValue::from_str(text) {
                request.facts.request_headers.set(field.clone(), value);
            }
        }
        request.facts.claims.get_or_insert_with(|| Arc::clone(&key.claims));
        key.used(request.head.now.unix_ms);
        Ok(())
    }

    /// Keeps from the upstream what it could mistake for our word, and the key where it is not to travel.
    fn clean(&self, request: &mut Request<'_>) {
        let is_ours = |name: &str| self.outputs.iter().any(|(field, _)| is_twin(field.as_str(), name));
        for (name, value) in request.head.headers {
            let carries = || {
                let of_key = *name != AUTHORIZATION || bearer(value.as_bytes()).is_some_and(text::is_meant);
                of_key && self.fields.iter().any(|field| is_twin(field.as_str(), name.as_str()))
            };
            if is_ours(name.as_str()) || (self.forward == Forward::Strip && carries()) {
                request.facts.request_headers.remove(name.clone());
            }
        }
        for (field, _) in &self.outputs {
            // An earlier filter may have written it.
            if request.header(field).is_some() {
                request.facts.request_headers.remove(field.clone());
            }
        }
    }
}

/// What follows the scheme `Bearer` (RFC 6750, 2.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

/// Whether a browser has sent it: pages cannot keep these fields from being written.
fn is_browser(head: &Head<'_>) -> bool {
    head.headers.contains_key(ORIGIN) || head.headers.contains_key("sec-fetch-site")
}

fn comes_from(head: &Head<'_>, key: &Known) -> bool {
    let mut sent = head.headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (sent.next(), sent.next()) else {
        return false;
    };
    key.origins.iter().any(|allowed| allowed.allows(origin.as_bytes()))
}
