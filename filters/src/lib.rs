//! What decides about a request: the [`filter::Filter`] contract, the [`chain::Chain`] that enforces it, the
//! receipts that prove it, the zones whose state outlives a reload, and every built-in filter.
//!
//! Nothing here knows Pingora, a socket or a clock: a request comes in as [`request::Request`], time included, and a
//! verdict goes out.

pub mod agents;
pub mod api_key;
pub mod attributes;
pub mod buckets;
pub mod chain;
pub mod claims;
pub mod client;
pub mod cookies;
pub mod cors;
pub mod csrf;
pub mod facts;
pub mod filter;
pub mod gate;
pub mod geoip;
pub mod headers;
pub mod ip_access;
pub mod jitter;
pub mod jwt;
pub mod limit_headers;
pub mod limit_stats;
pub mod link;
pub mod mtls;
pub mod policy;
pub mod rate_limit;
pub mod receipt;
pub mod record;
pub mod registry;
pub mod request;
pub mod response;
pub mod secrets;
pub mod session;
pub mod signature;
pub mod tenant;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod trace;
pub mod verdict;
pub mod zones;
