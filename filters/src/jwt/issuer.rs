//! An issuer as the filter trusts it: what of its tokens must be how, and the judging of claims by it (RFC 7519, 4.1;
//! RFC 8725, 3.8 to 3.12). Signatures are judged before, in [`super::verify`].

use std::sync::Arc;
use std::time::Duration;

use portcullis_config::identity::Issuer;
use ring::digest;
use serde_json::{Map, Value};

use super::algorithm::Algorithms;
use super::jws;
use super::keys::KeySet;
use super::refusal::Refusal;

/// Types of tokens when the configuration names none; a token without `typ` is fine then, too.
const TYPES: [&str; 2] = ["jwt", "at+jwt"];
/// The end of the year 9999: a date beyond it is a mistake or an attack.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// An issuer that a link trusts.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// Its name in the configuration.
    pub name: Box<str>,
    /// The exact `iss`.
    pub issuer: Box<str>,
    /// The algorithms its tokens may use.
    pub algorithms: Algorithms,
    /// How long its keys may be used without being confirmed.
    pub stale_for: Duration,
    /// Its keys.
    pub keys: Arc<KeySet>,
    audiences: Box<[Box<str>]>,
    types: Option<Box<[Box<str>]>>,
    /// Allowed difference of clocks, in seconds.
    pub leeway: i64,
}

/// When a token is valid, seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second, leeway included.
    pub from: i64,
    /// The second at which it is no more, leeway included.
    pub until: i64,
    /// `exp`.
    pub expires_at: i64,
}

impl Trusted {
    /// Compiles an issuer. `keys` must be of its source.
    pub fn new(name: &str, written: &Issuer, keys: Arc<KeySet>) -> Self {
        let types = |list: &Vec<String>| list.iter().map(|typ| jws::media_type(typ).into()).collect();
        Self {
            name: name.into(),
            issuer: written.issuer.as_str().into(),
            algorithms: Algorithms::of(&written.algorithms),
            stale_for: written.refresh.stale_for.get(),
            keys,
            audiences: written
                .audiences
                .iter()
                .map(|audience| audience.as_str().into())
                .collect(),
            types: written.types.as_ref().map(types),
            leeway: i64::try_from(written.leeway.get().as_secs()).unwrap_or(0),
        }
    }

    /// Whether `typ` is one of the issuer's, without regard to case. A token without `typ` is good only where no types
    /// are configured.
    pub fn accepts_type(&self, typ: Option<&str>) -> bool {
        match (typ, &self.types) {
            (typ, None) => typ.is_none_or(|typ| TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ))),
            (Some(typ), Some(list)) => list.iter().any(|known| known.eq_ignore_ascii_case(typ)),
            (None, Some(_)) => false,
        }
    }

    /// Judges the claims of a token whose signature is this issuer's.
    pub fn judge(&self, claims: &Map<String, Value>, now: i64) -> Result<Validity, Refusal> {
        if claims.get("iss").and_then(Value::as_str) != Some(&*self.issuer) {
            return Err(Refusal::Issuer);
        }
        if claims.get("sub").is_some_and(|subject| !subject.is_string()) {
            return Err(Refusal::Claims);
        }
        let expires_at = date(claims.get("exp"), f64::floor)?.ok_or(Refusal::Claims)?;
        let not_before = date(claims.get("nbf"), f64::ceil)?;
        let issued_at = date(claims.get("iat"), f64::ceil)?;
        self.judge_audience(claims.get("aud"))?;
        let from = not_before.max(issued_at).unwrap_or(0) - self.leeway;
        let until = expires_at + self.leeway;
        if now >= until {
            Err(Refusal::Expired)
        } else if now < from {
            Err(Refusal::NotYetValid)
        } else {
            Ok(Validity {
                from,
                until,
                expires_at,
            })
        }
    }

    fn judge_audience(&self, audience: Option<&Value>) -> Result<(), Refusal> {
        let accepted = |audience: &str| self.audiences.iter().any(|known| **known == *audience);
        let matches = match audience {
            None => false,
            Some(Value::String(one)) => accepted(one),
            Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
                list.iter().filter_map(Value::as_str).any(accepted)
            }
            Some(_) => return Err(Refusal::Claims),
        };
        if matches { Ok(()) } else { Err(Refusal::Audience) }
    }

    /// Adds everything that a verdict on a token depends on, except keys and time, to a digest.
    pub fn digest(&self, context: &mut digest::Context) {
        let mut add = |bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        add(self.name.as_bytes());
        add(self.issuer.as_bytes());
        add(self.keys.source().to_string().as_bytes());
        add(&self.algorithms.bits().to_be_bytes());
        add(&self.leeway.to_be_bytes());
        add(&(self.audiences.len() as u64).to_be_bytes());
        for audience in &self.audiences {
            add(audience.as_bytes());
        }
        add(&[u8::from(self.types.is_some())]);
        for typ in self.types.iter().flatten() {
            add(typ.as_bytes());
        }
    }
}

/// A NumericDate (RFC 7519, 2) in whole seconds: a number from 0 to the year 9999, not a text that looks like one.
pub(super) fn date(claim: Option<&Value>, round: fn(f64) -> f64) -> Result<Option<i64>, Refusal> {
    let Some(value) = claim else {
        return Ok(None);
    };
    let seconds = match value.as_f64() {
        Some(seconds) if value.is_number() && (0.0..=LAST_SECOND).contains(&seconds) => round(seconds),
        _ => return Err(Refusal::Claims),
    };
    #[allow(clippy::cast_possible_truncation)] // in range, as was just seen
    Ok(Some(seconds as i64))
}
