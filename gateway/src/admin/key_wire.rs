//! API keys over the admin listener: what is asked and answered.

use ipnet::IpNet;
use portcullis_filters::api_key::record::{Class, Environment};
use serde::{Deserialize, Serialize};

use crate::telemetry::stamp::Stamp;

/// Body of `POST /-/api-keys`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// Whose it is.
    pub organisation: String,
    /// What it may be used for.
    pub class: Class,
    /// Where.
    #[serde(default)]
    pub environment: Environment,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// What it may do.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Origins of pages that may send it.
    #[serde(default)]
    pub origins: Vec<String>,
    /// Networks that it may come from.
    #[serde(default)]
    pub networks: Vec<IpNet>,
    /// For how long: `30d`. For good unless given.
    #[serde(default)]
    pub ttl: Option<String>,
}

/// Body of `POST /-/api-keys/ID/rotate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// How long the text of before is still good: `0s`, `24h`.
    pub overlap: String,
}

/// What is told of a key. Not its text, and not its hash.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyView {
    /// What it is called.
    pub id: String,
    /// For people.
    pub name: String,
    /// Whose it is.
    pub organisation: String,
    /// What it may be used for.
    pub class: Class,
    /// Where.
    pub environment: Environment,
    /// `active`, `expired` or `revoked`.
    pub status: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Origins of pages that may send it.
    pub origins: Vec<String>,
    /// Networks that it may come from.
    pub networks: Vec<IpNet>,
    /// When it was issued.
    pub created_at: Stamp,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Stamp>,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Stamp>,
    /// When it was last let through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Stamp>,
    /// How many texts of it are good.
    pub versions: usize,
}

/// A key with its text, which is told this once.
#[derive(Clone, Serialize, Deserialize)]
pub struct Issued {
    /// The text.
    pub key: String,
    /// The rest.
    pub issued: KeyView,
}
