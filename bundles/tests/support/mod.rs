//! What several test files need: loaders, keys, and an examiner that is as simple as it can be. Not the gateway's
//! evaluator: it stands at one moment, so no bucket is ever refilled.

#![allow(dead_code)] // each test file uses a part of it

use std::collections::HashMap;

use portcullis_bundles::algorithm::{Cost, Limit};
use portcullis_bundles::attributes::Attributes;
use portcullis_bundles::examine::{Decision, Examiner};
use portcullis_bundles::format::{Mode, OnMissing, Outcome};
use portcullis_bundles::loader::{Loader, Settings};
use portcullis_bundles::policies::{Matches, Policies, Policy, Rule};
use portcullis_bundles::sample::Sample;
use portcullis_bundles::signing::SigningKey;
use portcullis_bundles::switches::Phase;
use portcullis_bundles::trust::{KeyAlgorithm, Trust};
use portcullis_config::secret::Secret;

/// 2026-02-03T14:00:00Z.
pub(crate) const NOW: i64 = 1_770_127_200;

pub(crate) const SHARED: &[u8] = b"a shared secret of more than thirty-two bytes";

pub(crate) fn settings() -> Settings {
    Settings {
        max_bytes: 1 << 20,
        max_version_jump: None,
        insecure_unsigned: false,
        names: None,
    }
}

/// Trusts `shared` (HMAC, [`SHARED`]) and `release` (Ed25519, seed of 32 sevens).
pub(crate) fn trust() -> Trust {
    let mut trust = Trust::default();
    trust.add_hmac("shared", &Secret::new(SHARED.to_vec())).unwrap();
    trust.add_ed25519("release", &release().public_key().unwrap()).unwrap();
    trust
}

pub(crate) fn shared() -> SigningKey {
    SigningKey::read("shared", Some(KeyAlgorithm::HmacSha256), &Secret::new(SHARED.to_vec())).unwrap()
}

pub(crate) fn release() -> SigningKey {
    let seed = b"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=".to_vec();
    SigningKey::read("release", Some(KeyAlgorithm::Ed25519), &Secret::new(seed)).unwrap()
}

pub(crate) fn loader() -> Loader {
    Loader::new(settings(), trust(), Box::new(Naive))
}

pub(crate) fn unsigned_loader() -> Loader {
    Loader::new(
        Settings {
            insecure_unsigned: true,
            ..settings()
        },
        Trust::default(),
        Box::new(Naive),
    )
}

/// See the module.
pub(crate) struct Naive;

impl Examiner for Naive {
    fn examine(&self, policies: &Policies, request: &Sample, repeat: u32, now: i64) -> Result<Decision, String> {
        let mut spent = HashMap::new();
        let mut last = Err("not sent".to_owned());
        for _ in 0..repeat {
            last = Ok(decide(policies, request, now, &mut spent));
        }
        last
    }
}

fn decide(policies: &Policies, request: &Sample, now: i64, spent: &mut HashMap<String, f64>) -> Decision {
    for phase in [Phase::BeforeIdentity, Phase::AfterIdentity] {
        if policies.switches().find(request, phase, now).is_some() {
            return Decision {
                outcome: Outcome::Reject,
                reason: "kill_switch".into(),
                policy: None,
                rule: None,
            };
        }
    }
    let mut matches = Matches::new();
    policies.matching(&request.host, &request.path, request.method.as_str(), &mut matches);
    let all = matches.iter().filter_map(|place| policies.get(*place));
    for policy in all.filter(|policy| policies.mode(policy, now) == Mode::Enforce) {
        for rule in applying(policy, request) {
            if let Some(reason) = refuses(rule, request, spent) {
                let (policy, rule) = (Some(policy.id.to_string()), Some(rule.name.to_string()));
                return Decision {
                    outcome: Outcome::Reject,
                    reason: reason.into(),
                    policy,
                    rule,
                };
            }
        }
    }
    let reason = if matches.is_empty() {
        "no_matching_policy"
    } else {
        "all_rules_passed"
    };
    Decision {
        outcome: Outcome::Allow,
        reason: reason.into(),
        policy: None,
        rule: None,
    }
}

fn applying<'a>(policy: &'a Policy, request: &Sample) -> Vec<&'a Rule> {
    let holds = |rule: &&Rule| {
        rule.conditions
            .iter()
            .all(|one| request.get(&one.key).as_deref() == Some(&one.value))
    };
    let rules: Vec<_> = policy.rules.iter().filter(holds).collect();
    if rules.is_empty() {
        policy.fallback.as_deref().into_iter().collect()
    } else {
        rules
    }
}

fn refuses(rule: &Rule, request: &Sample, spent: &mut HashMap<String, f64>) -> Option<&'static str> {
    let mut counter = format!("{:x}", rule.identity);
    for key in &rule.keys {
        match (request.get(key), rule.on_missing) {
            (Some(value), _) => {
                counter.extend(["|", &value.len().to_string(), ":", &value]);
            }
            (None, OnMissing::Skip) => return None,
            (None, OnMissing::Anonymous) => counter.push_str("|-"),
            (None, OnMissing::Deny) => return Some("descriptor_missing"),
        }
    }
    let (cost, most, reason) = match &rule.limit {
        Limit::TokenBucket(bucket) => (&bucket.cost, bucket.burst, "token_bucket_exceeded"),
        Limit::CostBased(budget) => (&budget.cost, budget.most, "budget_exceeded"),
        Limit::TokenBucketLlm(_) => unreachable!("bundles of these tests have none"),
    };
    let cost = match cost {
        Cost::Fixed(cost) | Cost::Header { default: cost, .. } | Cost::Query { default: cost, .. } => *cost,
    };
    let spent = spent.entry(counter).or_default();
    if *spent + cost > most {
        return Some(reason);
    }
    *spent += cost;
    None
}
