//! From the bytes of a token to verified claims: the whole story of a verification, in order. Where the token comes
//! from, what a route wants of its claims and what is remembered is for others.

use std::sync::Arc;

use serde_json::Value;

use super::algorithm::{self, Algorithms};
use super::cache;
use super::issuer::{Trusted, Validity};
use super::json;
use super::jwk::NoKey;
use super::jws::{Compact, Malformed};
use super::refusal::Refusal;
use crate::claims::Claims;
use crate::client::Now;

/// Levels of nesting in claims.
const CLAIMS_DEPTH: usize = 16;

/// A token that was verified.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Its claims.
    pub claims: Arc<Claims>,
    /// Which of the issuers signed it, by place.
    pub issuer: usize,
    /// The generation of the keys it was verified with.
    pub generation: u64,
    /// When it is valid.
    pub validity: Validity,
    /// About how many bytes its claims take.
    pub weight: usize,
}

/// Why there are no verified claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The token is bad.
    Refused(Refusal),
    /// The issuer at this place has no key for it. Newer keys may have one.
    UnknownKey(usize),
    /// The issuer at this place has no keys at all, or only old ones.
    NoKeys(usize),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::TooLong => Self::TooLong,
            Malformed::Extension => Self::Extension,
            Malformed::NotCompact | Malformed::NotBase64 | Malformed::Header => Self::Malformed,
        }
    }
}

/// Verifies a token (RFC 7519, 7.2). `iss` only says whose keys and rules to go by; that issuer must then have signed
/// it.
pub fn verify(token: &[u8], issuers: &[Trusted], now: Now) -> Result<Verified, Failure> {
    let compact = Compact::parse(token).map_err(Refusal::from)?;
    let algorithm = algorithm::by_name(&compact.header.algorithm).ok_or(Refusal::Algorithm)?;
    let any = issuers
        .iter()
        .fold(Algorithms::default(), |any, issuer| any.or(issuer.algorithms));
    if !any.has(algorithm) {
        return Err(Refusal::Algorithm.into());
    }
    let claims = json::object(&compact.payload, CLAIMS_DEPTH).map_err(|_| Refusal::Malformed)?;
    let named = claims.get("iss").and_then(Value::as_str).ok_or(Refusal::Issuer)?;
    let known = issuers.iter().enumerate().find(|(_, issuer)| &*issuer.issuer == named);
    let (place, issuer) = known.ok_or(Refusal::Issuer)?;
    if !issuer.algorithms.has(algorithm) {
        return Err(Refusal::Algorithm.into());
    }
    if !issuer.accepts_type(compact.header.typ.as_deref()) {
        return Err(Refusal::Type.into());
    }
    let keys = issuer
        .keys
        .current(now, issuer.stale_for)
        .ok_or(Failure::NoKeys(place))?;
    let key = match keys.select(compact.header.kid.as_deref(), algorithm) {
        Ok(key) => key,
        Err(NoKey::Unknown) => return Err(Failure::UnknownKey(place)),
        Err(NoKey::Ambiguous) => return Err(Refusal::UnknownKey.into()),
    };
    if !key.verifies(algorithm, compact.signed, &compact.signature) {
        return Err(Refusal::Signature.into());
    }
    let validity = issuer.judge(&claims, now.unix())?;
    let weight = cache::weigh(&claims);
    let claims = Arc::new(Claims::new(&issuer.name, validity.expires_at, claims));
    Ok(Verified {
        claims,
        issuer: place,
        generation: keys.generation(),
        validity,
        weight,
    })
}
