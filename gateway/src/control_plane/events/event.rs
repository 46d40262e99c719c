//! Events. These types are the whole of what an event can hold: numbers, times, codes that stand in this program, ids and
//! versions that stand in the bundle. There is no field for anything that came with a request.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

/// Something that happened, or how often it did.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// Requests that were answered or cut off.
    Traffic(Traffic),
    /// Decisions of one kind.
    Decisions(Decisions),
    /// A bundle that came into force, or did not.
    Bundle(Bundle),
    /// The gateway started or stops.
    Gateway(Gateway),
    /// Events that were lost because there were too many.
    Lost(Lost),
}

/// Requests of a span of time, by the class of their status.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Traffic {
    /// From when (seconds since 1970).
    pub from: f64,
    /// Until when.
    pub to: f64,
    /// All of them.
    pub requests: u64,
    /// 100 to 199.
    pub status_1xx: u64,
    /// 200 to 299.
    pub status_2xx: u64,
    /// 300 to 399.
    pub status_3xx: u64,
    /// 400 to 499.
    pub status_4xx: u64,
    /// 500 to 599.
    pub status_5xx: u64,
}

/// How often a decision was made in a span of time.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Decisions {
    /// From when (seconds since 1970).
    pub from: f64,
    /// Until when.
    pub to: f64,
    /// The policy's id, where one decided.
    #[serde(serialize_with = "shared")]
    #[schemars(with = "Option<String>")]
    pub policy: Option<Arc<str>>,
    /// Its rule's name.
    #[serde(serialize_with = "shared")]
    #[schemars(with = "Option<String>")]
    pub rule: Option<Arc<str>>,
    /// `allow`, `deny`, `reply`, `error`.
    pub action: &'static str,
    /// `enforce`, `shadow`.
    pub mode: &'static str,
    /// The reason's code.
    pub reason: &'static str,
    /// How often.
    pub count: u64,
}

/// What became of a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Bundle {
    /// When (seconds since 1970).
    pub at: f64,
    /// `applied`, `rejected`.
    pub status: &'static str,
    /// The version in force after it.
    pub version: Option<u64>,
    /// `sha256:` and the digest of what is in force after it.
    pub hash: Option<String>,
    /// Why it was rejected: the reason's code.
    pub error: Option<&'static str>,
}

/// The gateway started or stops.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Gateway {
    /// When (seconds since 1970).
    pub at: f64,
    /// `started`, `stopping`.
    pub change: &'static str,
    /// The version of this binary.
    pub version: &'static str,
}

/// Events that were lost.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Lost {
    /// When that was noticed (seconds since 1970).
    pub at: f64,
    /// How many.
    pub events: u64,
}

#[allow(clippy::ref_option)] // as serde calls it
fn shared<S: Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(serializer)
}
