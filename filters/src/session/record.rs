//! A session as it is kept: who, since when, with which tokens, and until when it is good. Pure.

use portcullis_config::units;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::id::{Family, Random};

/// Longest record, in bytes. Tokens and claims beyond it make no session.
pub const MAX_RECORD: usize = 48 << 10;

/// A session.
#[derive(Clone, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Raised by each change, so that the later of two is known.
    pub version: u64,
    /// What its ids are made with.
    pub salt: Random,
    /// Which of them is current.
    pub family: Family,
    /// When it began, milliseconds since 1970.
    pub created_ms: u64,
    /// When it was used last, as far as that was written down.
    pub seen_ms: u64,
    /// The limits that it began under, milliseconds. Stricter ones that came later count too.
    pub idle_ms: u64,
    /// See `idle_ms`.
    pub absolute_ms: u64,
    /// The issuer's name in the configuration.
    pub issuer: String,
    /// The user: `sub`.
    pub subject: String,
    /// The session at the provider: `sid`.
    pub sid: Option<String>,
    /// The tenant that it acts for.
    pub tenant: Option<String>,
    /// A keyed hash of the device that it began on.
    pub device: Option<Random>,
    /// The claims of the ID token.
    pub claims: Map<String, Value>,
    /// What the provider gave.
    pub tokens: Tokens,
}

/// Tokens of the provider. They never leave for a browser.
#[derive(Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// The access token.
    pub access: String,
    /// When it expires, milliseconds since 1970, if the provider said so.
    pub expires_ms: Option<u64>,
    /// The refresh token, if there is one.
    pub refresh: Option<String>,
}

/// How long sessions last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Without a request, milliseconds.
    pub idle_ms: u64,
    /// In all.
    pub absolute_ms: u64,
    /// How old an id may grow before the next one takes its place.
    pub rotate_ms: u64,
    /// How long the id before is good beside it.
    pub grace_ms: u64,
    /// How long before its end an access token is renewed.
    pub ahead_ms: u64,
}

/// A duration in milliseconds.
pub fn milliseconds(time: units::Duration) -> u64 {
    u64::try_from(time.get().as_millis()).unwrap_or(u64::MAX)
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Not used for too long.
    Idle,
    /// Too old.
    Absolute,
}

/// What is to be done about the access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Nothing.
    Fresh,
    /// It ends soon: renew it beside the request.
    Soon,
    /// It has ended: nothing goes on with it.
    Over,
    /// It has ended, and there is nothing to renew it with.
    Lost,
}

impl Record {
    /// Whether it is over. `seen_ms`: when it was used last.
    pub fn ended(&self, seen_ms: u64, limits: &Limits, now_ms: u64) -> Option<Ended> {
        if now_ms.saturating_sub(self.created_ms) >= self.absolute_ms.min(limits.absolute_ms) {
            Some(Ended::Absolute)
        } else if now_ms.saturating_sub(seen_ms) >= self.idle_ms.min(limits.idle_ms) {
            Some(Ended::Idle)
        } else {
            None
        }
    }

    /// What is to be done about its access token.
    pub fn renewal(&self, limits: &Limits, now_ms: u64) -> Renewal {
        let Some(expires_ms) = self.tokens.expires_ms else {
            return Renewal::Fresh;
        };
        let has_refresh = self.tokens.refresh.is_some();
        if now_ms >= expires_ms {
            if has_refresh { Renewal::Over } else { Renewal::Lost }
        } else if has_refresh && now_ms.saturating_add(limits.ahead_ms) >= expires_ms {
            Renewal::Soon
        } else {
            Renewal::Fresh
        }
    }

    /// As it is written. `None` if it is too large.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let bytes = serde_json::to_vec(self).ok()?;
        (bytes.len() <= MAX_RECORD).then_some(bytes)
    }

    /// As it was written.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("version", &self.version)
            .field("family", &self.family)
            .finish_non_exhaustive()
    }
}
