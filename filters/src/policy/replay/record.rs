//! What is kept of a request so that another bundle can be tried on it later: a closed list, in one line of JSON. No
//! header field, parameter, claim or address is kept as it is; what policies go by is kept as a keyed hash.

use std::collections::BTreeSet;
use std::hash::Hasher as _;
use std::net::IpAddr;

use portcullis_bundles::algorithm::Cost;
use portcullis_bundles::policies::Policies;
use portcullis_config::key::{IpAttribute, Key};
use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use crate::attributes;
use crate::request::Request;

/// Longest path and host that are kept. A request with a longer one is not recorded.
const MAX_TEXT: usize = 1024;
/// Most keys whose values are kept.
const MAX_KEYS: usize = 128;
/// Before a hash.
pub(super) const HASHED: char = '~';
/// Before a value of a closed list, which is kept as it is.
const PLAIN: char = '=';

/// A recorded request, as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    /// Milliseconds since 1970.
    pub(super) t: u64,
    /// The method.
    pub(super) m: String,
    /// The host.
    pub(super) h: String,
    /// The path; segments that look like identities or secrets are hashed.
    pub(super) p: String,
    /// A hash of the query, so that the same request is known to be the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) q: Option<String>,
    /// Keys with their values: `~HASH`, `~HASH/HASH` (an address and its network), `=TEXT`, or empty when missing.
    pub(super) k: Vec<(String, String)>,
    /// Names that tell costs (`header:NAME`, `query:NAME`) with their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) c: Vec<(String, f64)>,
    /// Whether it was let through.
    pub(super) a: bool,
    /// Why.
    pub(super) r: String,
    /// The policy and the rule that refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) b: Option<(String, String)>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'o> {
    /// Whether it was let through.
    pub allowed: bool,
    /// Why.
    pub reason: &'o str,
    /// The policy and the rule that refused it.
    pub by: Option<(&'o str, &'o str)>,
}

/// What is kept of each request under one bundle.
#[derive(Debug, Default)]
pub struct Keep {
    keys: Box<[(Key, Box<str>)]>,
    costs: Box<[(Name, Box<str>)]>,
}

#[derive(Debug)]
enum Name {
    Header(http::HeaderName),
    Query(Box<str>),
}

impl Keep {
    /// The keys that a bundle goes by, and these others.
    pub fn of(policies: Option<&Policies>, others: &[Key]) -> Self {
        let mut keys: Vec<Key> = others.to_vec();
        let mut costs = Vec::new();
        let mut names = BTreeSet::new();
        if let Some(policies) = policies {
            keys.extend(policies.keys().cloned());
            for cost in policies.costs() {
                let (name, text) = match cost {
                    Cost::Fixed(_) => continue,
                    Cost::Header { name, .. } => (Name::Header(name.clone()), format!("header:{name}")),
                    Cost::Query { name, .. } => (Name::Query(name.clone()), format!("query:{name}")),
                };
                if names.insert(text.clone()) && costs.len() < MAX_KEYS {
                    costs.push((name, text.into_boxed_str()));
                }
            }
        }
        let mut known = BTreeSet::new();
        let named = keys.into_iter().map(|key| (key.to_string().into_boxed_str(), key));
        let keys = named.filter(|(text, _)| known.insert(text.clone())).take(MAX_KEYS);
        Self {
            keys: keys.map(|(text, key)| (key, text)).collect(),
            costs: costs.into(),
        }
    }

    /// The line of a request. `None` when it cannot be kept.
    pub fn line(&self, request: &Request<'_>, secret: &[u8; 16], outcome: Outcome<'_>) -> Option<Box<[u8]>> {
        let head = request.head;
        if head.path.len() > MAX_TEXT || head.host.len() > MAX_TEXT {
            return None;
        }
        let line = Line {
            t: head.now.unix_ms,
            m: head.method.as_str().to_owned(),
            h: head.host.to_owned(),
            p: path(head.path, secret),
            q: head.query.map(|query| hashed(secret, "query", query)),
            k: self.values(request, secret),
            c: self.costs(request),
            a: outcome.allowed,
            r: outcome.reason.to_owned(),
            b: outcome.by.map(|(policy, rule)| (policy.to_owned(), rule.to_owned())),
        };
        serde_json::to_vec(&line).ok().map(Vec::into_boxed_slice)
    }

    fn values(&self, request: &Request<'_>, secret: &[u8; 16]) -> Vec<(String, String)> {
        let value = |(key, name): &(Key, Box<str>)| {
            let value = attributes::text(request, key);
            let is_odd = value.is_err() && matches!(key, Key::Jwt(_));
            // A query that could not be searched was refused; it is kept as missing.
            let text = match (key, value.ok().flatten()) {
                // A claim that is a list or a map is there, and equals nothing.
                (_, None) if is_odd => format!("{HASHED}?"),
                (_, None) => String::new(),
                (
                    Key::Ua(_) | Key::Route | Key::Ip(IpAttribute::Type | IpAttribute::Tor | IpAttribute::Country),
                    Some(value),
                ) => {
                    format!("{PLAIN}{value}")
                }
                (Key::Ip(IpAttribute::Address), Some(value)) => {
                    let network = network(request.head.client.address);
                    format!(
                        "{HASHED}{:032x}/{:032x}",
                        hash(secret, name, &value),
                        hash(secret, name, &network)
                    )
                }
                (_, Some(value)) => format!("{HASHED}{:032x}", hash(secret, name, &value)),
            };
            (name.to_string(), text)
        };
        let mut values: Vec<_> = self.keys.iter().map(value).collect();
        // Counters are a tenant's own, whether or not a policy asks for its name.
        if let Some(tenant) = &request.facts.tenant
            && !self.keys.iter().any(|(key, _)| *key == Key::Tenant)
        {
            let name = Key::Tenant.to_string();
            let kept = hashed(secret, &name, tenant.as_str());
            values.push((name, kept));
        }
        values
    }

    fn costs(&self, request: &Request<'_>) -> Vec<(String, f64)> {
        let number = |(name, text): &(Name, Box<str>)| {
            let value = match name {
                Name::Header(name) => attributes::header(request, name),
                Name::Query(name) => request.query(name).ok().flatten(),
            };
            let number: f64 = value?.parse().ok().filter(|number: &f64| number.is_finite())?;
            Some((text.to_string(), number))
        };
        self.costs.iter().filter_map(number).collect()
    }
}

/// What an address is counted by: itself, or its /64.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{:x}/64", address.to_bits() >> 64),
    }
}

/// A value under its key's name. Nobody without the secret can try values out.
pub(super) fn hash(secret: &[u8; 16], key: &str, value: &str) -> u128 {
    let mut hasher = SipHasher24::new_with_key(secret);
    for text in [key, value] {
        hasher.write_u64(u64::try_from(text.len()).unwrap_or(u64::MAX));
        hasher.write(text.as_bytes());
    }
    hasher.finish128().as_u128()
}

/// How a hash stands in a line.
pub(super) fn hashed(secret: &[u8; 16], key: &str, value: &str) -> String {
    format!("{HASHED}{:032x}", hash(secret, key, value))
}

/// A path whose segments that look like an identity or a secret are hashed: an e-mail address, a long number, a long mixture
/// of letters and digits.
fn path(path: &str, secret: &[u8; 16]) -> String {
    let segments = path.split('/').map(|segment| {
        if is_telling(segment) {
            format!("{HASHED}{:016x}", hash(secret, "path", segment) >> 64)
        } else {
            segment.to_owned()
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

fn is_telling(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let escaped = segment.to_ascii_lowercase();
    segment.contains('@')
        || escaped.contains("%40")
        || digits >= 9
        || (segment.len() > 24 && digits > 0)
        || segment.len() > 48
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telling_segments_are_hashed_and_others_stay() {
        let secret = [7; 16];
        assert_eq!(path("/v1/items/42", &secret), "/v1/items/42");
        for telling in [
            "alice@example.com",
            "alice%40example.com",
            "4111111111111111",
            "550e8400-e29b-41d4-a716-446655440000",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln",
        ] {
            let kept = path(&format!("/v1/{telling}/x"), &secret);
            assert!(
                kept.starts_with("/v1/~") && kept.ends_with("/x") && !kept.contains(telling),
                "{kept}"
            );
            assert_ne!(kept, path(&format!("/v1/{telling}/x"), &[8; 16]), "the key counts");
        }
    }
}
