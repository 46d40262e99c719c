//! Sessions as operators see, choose and count them. The sessions themselves are in [`super::table`].

use std::sync::atomic::AtomicU64;

use super::id::Key;
use super::keeper::Keeping;
use super::record::Record;

/// How often what became of sessions.
#[derive(Debug, Default)]
pub struct Counts {
    /// Logins.
    pub begun: AtomicU64,
    /// Ended by a limit.
    pub expired: AtomicU64,
    /// Ended by somebody.
    pub revoked: AtomicU64,
    /// Ended because an old id was used again.
    pub reused: AtomicU64,
    /// Requests from another device.
    pub other_device: AtomicU64,
    /// Tokens renewed.
    pub renewed: AtomicU64,
    /// Tokens not renewed.
    pub not_renewed: AtomicU64,
}

/// A session as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// By what it is found.
    pub key: Key,
    /// The issuer's name.
    pub issuer: String,
    /// The user.
    pub subject: String,
    /// The tenant.
    pub tenant: Option<String>,
    /// When it began, milliseconds since 1970.
    pub created_ms: u64,
    /// When it was used last.
    pub seen_ms: u64,
}

/// Which sessions are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// One.
    Key(Key),
    /// All of a user: `sub`.
    User(String),
    /// All that act for a tenant.
    Tenant(String),
    /// Those of a session at the provider, of an issuer: `sid`.
    Sid(String, String),
    /// All of a user of an issuer: `sub`.
    Subject(String, String),
}

impl Which {
    pub(super) fn is(&self, key: &Key, record: &Record) -> bool {
        match self {
            Self::Key(wanted) => wanted == key,
            Self::User(user) => record.subject == *user,
            Self::Tenant(tenant) => record.tenant.as_ref() == Some(tenant),
            Self::Sid(issuer, sid) => record.issuer == *issuer && record.sid.as_ref() == Some(sid),
            Self::Subject(issuer, user) => record.issuer == *issuer && record.subject == *user,
        }
    }
}

/// Sessions that were ended, and when that survives a crash.
pub struct Revoked {
    /// What they were.
    pub records: Vec<Record>,
    /// Ready when each end is written.
    pub kept: Vec<Keeping>,
}

/// There are as many sessions as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;
