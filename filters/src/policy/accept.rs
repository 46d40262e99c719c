//! What a bundle may not ask for, because it could never apply: to be called before a bundle is accepted.

use std::fmt;

use portcullis_bundles::policies::Policies;
use portcullis_bundles::when::When;
use portcullis_config::geoip::GeoIp;
use portcullis_config::key::Key;

use crate::attributes;

/// A key of a bundle that would never have a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// Where it stands: `policy p, rule r`.
    pub place: String,
    /// The key.
    pub key: Key,
    /// Why it cannot have a value.
    pub why: &'static str,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}` cannot be used: {}", self.place, self.key, self.why)
    }
}

/// Every such key of a bundle, under a configuration with this `geoip`. When there are any, the bundle must be refused: its
/// limits would not be enforced.
pub fn unsupported(policies: &Policies, geoip: Option<&GeoIp>) -> Vec<Unsupported> {
    let mut found = Vec::new();
    let mut look = |key: &Key, place: &dyn Fn() -> String| {
        if let Some(why) = attributes::unsupported(key, geoip) {
            found.push(Unsupported {
                place: place(),
                key: key.clone(),
                why,
            });
        }
    };
    for (index, switch) in policies.switches().as_slice().iter().enumerate() {
        look(&switch.key, &|| format!("kill_switches[{index}]"));
    }
    for policy in policies.all() {
        for key in policy.when.iter().flat_map(When::keys) {
            look(key, &|| format!("policy `{}`, when", policy.id));
        }
        for rule in policy.rules.iter().chain(policy.fallback.as_deref()) {
            let place = || format!("policy `{}`, rule `{}`", policy.id, rule.name);
            for key in rule.every_key() {
                look(key, &place);
            }
        }
    }
    found
}
