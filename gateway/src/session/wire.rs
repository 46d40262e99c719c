//! Sessions as the admin listener and the command line tell of them: no id, no token, no claim.

use serde::{Deserialize, Serialize};

use crate::telemetry::stamp::Stamp;

/// Answer of `GET /-/sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionList {
    /// How many there are.
    pub total: usize,
    /// The oldest of them, at most 10,000.
    pub sessions: Vec<SessionEntry>,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEntry {
    /// What it is called here. No cookie can be made of it.
    pub id: String,
    /// The realm that it is in.
    pub realm: String,
    /// The issuer's name in the configuration.
    pub issuer: String,
    /// The user: `sub`.
    pub user: String,
    /// The tenant that it acts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// When it began.
    pub created_at: Stamp,
    /// When it was used last.
    pub seen_at: Stamp,
}

/// Body of `POST /-/sessions/revoke`: which sessions end. Exactly one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRevoke {
    /// One session, as the list calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// All of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// All that act for a tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// Answer of `POST /-/sessions/revoke`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsRevoked {
    /// How many sessions ended.
    pub revoked: usize,
}
