//! What is known of a key: everything but the key. This is also the form in which it is stored.

use std::fmt;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cors::origin::Origin;
use crate::tenant::TenantId;

/// Most versions of a key that are good at the same time.
pub const MOST_VERSIONS: usize = 2;
/// Most scopes, origins and networks of a key.
pub const MOST: usize = 64;

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// `pk_`: in browsers and apps, where everybody can read it.
    Publishable,
    /// `sk_`: on servers. Refused where a browser sends it.
    Secret,
    /// `rk_`: on servers, for its scopes only.
    Restricted,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Publishable, Self::Secret, Self::Restricted];

    /// What its keys begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Publishable => "pk",
            Self::Secret => "sk",
            Self::Restricted => "rk",
        }
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publishable => "publishable",
            Self::Secret => "secret",
            Self::Restricted => "restricted",
        }
    }
}

/// What a key is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// The real thing.
    #[default]
    Live,
    /// Tests.
    Test,
}

impl Environment {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Live, Self::Test];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

/// A key without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What it is called.
    pub id: String,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// Whose it is.
    pub organisation: String,
    /// What it may be used for.
    pub class: Class,
    /// Where.
    pub environment: Environment,
    /// What it may do.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Origins of pages that may send it. None: any.
    #[serde(default)]
    pub origins: Vec<String>,
    /// Networks that it may come from. None: any.
    #[serde(default)]
    pub networks: Vec<IpNet>,
    /// When it was issued, seconds since 1970.
    pub created_at: u64,
    /// When it ends.
    #[serde(default)]
    pub expires_at: Option<u64>,
    /// When it was revoked.
    #[serde(default)]
    pub revoked_at: Option<u64>,
    /// When it was last let through, as far as it was written down.
    #[serde(default)]
    pub last_used_at: Option<u64>,
    /// Its texts, the newest last.
    pub versions: Vec<Version>,
}

/// One text of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// HMAC-SHA-256 of the text, in hexadecimal digits.
    pub hash: String,
    /// When it was made.
    pub created_at: u64,
    /// When it ends, where another one has taken its place.
    #[serde(default)]
    pub expires_at: Option<u64>,
}

/// A record makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the API key `{id}`: {why}")]
pub struct BadRecord {
    /// Which.
    pub id: String,
    /// Why.
    pub why: String,
}

impl Record {
    /// Checks what the types do not say.
    pub fn check(&self) -> Result<TenantId, BadRecord> {
        let bad = |why: &dyn fmt::Display| BadRecord {
            id: self.id.clone(),
            why: why.to_string(),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !(1..=64).contains(&self.id.len()) || !self.id.bytes().all(plain) {
            return Err(bad(&"an id has 1 to 64 letters, digits, `-` and `_`"));
        }
        if self.name.len() > 256 {
            return Err(bad(&"a name has at most 256 bytes"));
        }
        if [self.scopes.len(), self.origins.len(), self.networks.len()]
            .iter()
            .any(|count| *count > MOST)
        {
            return Err(bad(&"it has at most 64 scopes, origins and networks"));
        }
        if self.scopes.iter().any(|scope| !is_scope(scope)) {
            return Err(bad(
                &"a scope has 1 to 128 visible ASCII characters, no quote and no backslash",
            ));
        }
        if let Some(wrong) = self.origins.iter().find(|origin| origin.parse::<Origin>().is_err()) {
            return Err(bad(&format!("`{wrong}` is no origin, such as https://app.example.com")));
        }
        if self.versions.len() > MOST_VERSIONS || self.versions.iter().any(|version| version.digest().is_none()) {
            return Err(bad(
                &"it has at most two versions, each with a hash of 64 hexadecimal digits",
            ));
        }
        TenantId::new(&self.organisation).map_err(|error| bad(&error))
    }

    /// Whether it has all of these scopes. Without any of its own, a secret key has every one, and another none.
    pub fn has_scopes(&self, wanted: &[Box<str>]) -> bool {
        let all = self.class == Class::Secret && self.scopes.is_empty();
        all || wanted
            .iter()
            .all(|wanted| self.scopes.iter().any(|scope| **scope == **wanted))
    }

    /// What has become of it: `active`, `expired` or `revoked`.
    pub fn status(&self, now: u64) -> &'static str {
        if self.revoked_at.is_some() {
            "revoked"
        } else if self.expires_at.is_some_and(|at| at <= now) {
            "expired"
        } else {
            "active"
        }
    }
}

/// A scope as RFC 6749, 3.3, has it.
pub fn is_scope(scope: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    (1..=128).contains(&scope.len()) && scope.bytes().all(fits)
}

impl Version {
    /// The hash as bytes.
    pub fn digest(&self) -> Option<[u8; 32]> {
        let mut digest = [0; 32];
        if self.hash.len() != 64 || !self.hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, place) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(self.hash.get(place..place + 2)?, 16).ok()?;
        }
        Some(digest)
    }
}
