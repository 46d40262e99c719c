//! What a provider answers and sends, read and judged: token responses (RFC 6749, 5), ID tokens (OpenID Connect Core, 3.1.3.7
//! and 12.2), logout tokens (Back-Channel Logout, 2.6). The signature of a token is judged by the verifier of `jwt`. Pure.

use serde_json::{Map, Value};

use super::provider::Provider;
use super::record::Tokens;
use crate::client::Now;
use crate::jwt::issuer::Trusted;
use crate::jwt::json;
use crate::jwt::jws::Compact;
use crate::jwt::verify::{Failure, verify};

/// Levels of nesting in an answer.
const DEPTH: usize = 16;
/// Longest access or refresh token.
const MOST_TOKEN: usize = 16 << 10;
/// Longest user name, session id, token id (OpenID Connect Core, 2, has 255 for `sub`).
const MOST_NAME: usize = 255;
/// The event that a logout token is about.
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Tokens that a provider gave.
#[derive(Clone, PartialEq)]
pub struct Given {
    /// Access and refresh token.
    pub tokens: Tokens,
    /// The ID token, if it came along.
    pub id_token: Option<String>,
}

/// Why an answer of the token endpoint is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotGiven {
    /// The code or the refresh token is not good (any more).
    InvalidGrant,
    /// Another error, by its code.
    Error(String),
    /// Not what RFC 6749 says an answer is.
    Malformed(&'static str),
}

/// Reads an answer of the token endpoint.
pub fn given(status: u16, body: &[u8], now_ms: u64) -> Result<Given, NotGiven> {
    let answer = json::object(body, DEPTH).map_err(|_| NotGiven::Malformed("not a proper JSON object"))?;
    if status != 200 {
        let code = answer.get("error").and_then(Value::as_str).unwrap_or_default();
        return Err(match code {
            "invalid_grant" => NotGiven::InvalidGrant,
            "" => NotGiven::Malformed("an error without a code"),
            other => NotGiven::Error(plain(other)),
        });
    }
    let text = |name: &'static str, most: usize| match answer.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= most => Ok(Some(text.clone())),
        Some(_) => Err(NotGiven::Malformed("a token is no text, or too long")),
    };
    let bearer = answer.get("token_type").and_then(Value::as_str);
    if !bearer.is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err(NotGiven::Malformed("the token's type is not Bearer"));
    }
    let access = text("access_token", MOST_TOKEN)?.ok_or(NotGiven::Malformed("no access token"))?;
    if !access.bytes().all(|byte| matches!(byte, 0x21..=0x7e)) {
        return Err(NotGiven::Malformed("the access token has characters that no token has"));
    }
    let expires_ms = match answer.get("expires_in") {
        None | Some(Value::Null) => None,
        Some(seconds) => {
            let seconds = seconds
                .as_u64()
                .ok_or(NotGiven::Malformed("`expires_in` is no number of seconds"))?;
            Some(now_ms.saturating_add(seconds.min(10 * 365 * 86_400) * 1000))
        }
    };
    Ok(Given {
        tokens: Tokens {
            access,
            expires_ms,
            refresh: text("refresh_token", MOST_TOKEN)?,
        },
        id_token: text("id_token", crate::jwt::jws::MAX_TOKEN)?,
    })
}

/// A code of somebody else, fit for a log.
pub fn plain(code: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    code.chars().filter(fits).take(64).collect()
}

/// Why a token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// For this reason.
    Refused(&'static str),
    /// Its key is not known. Newer keys may have it.
    Key,
    /// The issuer's keys are not there.
    NoKeys,
}

/// Who logged in.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// `sub`.
    pub subject: String,
    /// `sid`.
    pub sid: Option<String>,
    /// The tenant, where the configuration names its claim.
    pub tenant: Option<String>,
    /// All claims of the ID token.
    pub claims: Map<String, Value>,
}

/// Judges the ID token of a login. `tenant`: the one that was asked for; empty for none.
pub fn identity(provider: &Provider, token: &str, nonce: &str, tenant: &str, now: Now) -> Result<Identity, Doubt> {
    let claims = verified(&provider.id_tokens, token, now)?;
    // An access token of the same issuer and audience is none (RFC 9068, 2.1).
    if of_type(token, "at+jwt") || of_type(token, "logout+jwt") {
        return Err(Doubt::Refused("type_not_allowed"));
    }
    if claims.get("nonce").and_then(Value::as_str) != Some(nonce) {
        return Err(Doubt::Refused("nonce_mismatch"));
    }
    let several = claims
        .get("aud")
        .and_then(Value::as_array)
        .is_some_and(|list| list.len() > 1);
    match claims.get("azp") {
        None if !several => {}
        Some(Value::String(party)) if **party == *provider.client_id => {}
        _ => return Err(Doubt::Refused("azp_mismatch")),
    }
    if !provider.required.iter().all(|required| required.is_met(&claims)) {
        return Err(Doubt::Refused("claim_not_allowed"));
    }
    let own = name(&claims, "sub")?.ok_or(Doubt::Refused("claims_invalid"))?;
    let acts_for = match &provider.tenant_claim {
        None => None,
        Some(claim) => name(&claims, claim)?,
    };
    if !tenant.is_empty() && acts_for.as_deref() != Some(tenant) {
        return Err(Doubt::Refused("tenant_mismatch"));
    }
    Ok(Identity {
        subject: own,
        sid: name(&claims, "sid")?,
        tenant: acts_for,
        claims,
    })
}

/// Whether an ID token that came with renewed tokens is about the same user (OpenID Connect Core, 12.2).
pub fn is_same_user(provider: &Provider, token: &str, subject: &str, now: Now) -> Result<bool, Doubt> {
    let claims = verified(&provider.id_tokens, token, now)?;
    Ok(claims.get("sub").and_then(Value::as_str) == Some(subject))
}

/// Whom a provider logs out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logout {
    /// `jti`: what tells it from others.
    pub id: String,
    /// One session there.
    pub sid: Option<String>,
    /// A user, all sessions.
    pub subject: Option<String>,
}

/// Judges a logout token.
pub fn logout(provider: &Provider, token: &str, now: Now) -> Result<Logout, Doubt> {
    let claims = verified(&provider.logout_tokens, token, now)?;
    let event = claims.get("events").and_then(|events| events.get(LOGOUT));
    if !event.is_some_and(Value::is_object) || claims.contains_key("nonce") {
        return Err(Doubt::Refused("no_logout_event"));
    }
    // It is known again for an hour; one that is good for longer could come back.
    let expires_at = claims.get("exp").and_then(Value::as_f64).unwrap_or(f64::MAX);
    let ahead = std::time::Duration::from_secs(3_000).as_secs_f64();
    let until = std::time::Duration::from_millis(now.unix_ms).as_secs_f64() + ahead;
    if expires_at > until {
        return Err(Doubt::Refused("claims_invalid"));
    }
    let logout = Logout {
        id: name(&claims, "jti")?.ok_or(Doubt::Refused("claims_invalid"))?,
        sid: name(&claims, "sid")?,
        subject: name(&claims, "sub")?,
    };
    if logout.sid.is_none() && logout.subject.is_none() {
        return Err(Doubt::Refused("claims_invalid"));
    }
    Ok(logout)
}

fn verified(trusted: &Trusted, token: &str, now: Now) -> Result<Map<String, Value>, Doubt> {
    match verify(token.as_bytes(), std::slice::from_ref(trusted), now) {
        Ok(_) => {}
        Err(Failure::Refused(refusal)) => return Err(Doubt::Refused(refusal.reason())),
        Err(Failure::UnknownKey(_)) => return Err(Doubt::Key),
        Err(Failure::NoKeys(_)) => return Err(Doubt::NoKeys),
    }
    let compact = Compact::parse(token.as_bytes()).map_err(|_| Doubt::Refused("token_malformed"))?;
    json::object(&compact.payload, DEPTH).map_err(|_| Doubt::Refused("token_malformed"))
}

fn of_type(token: &str, kind: &str) -> bool {
    let typ = Compact::parse(token.as_bytes())
        .ok()
        .and_then(|compact| compact.header.typ);
    typ.is_some_and(|typ| typ.eq_ignore_ascii_case(kind))
}

fn name(claims: &Map<String, Value>, claim: &str) -> Result<Option<String>, Doubt> {
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= MOST_NAME => Ok(Some(text.clone())),
        Some(_) => Err(Doubt::Refused("claims_invalid")),
    }
}
