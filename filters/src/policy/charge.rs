//! From a rule and a subject to what is charged to which bucket.

use portcullis_bundles::algorithm::{self, Limit, TokenBucket};
use portcullis_bundles::format::OnMissing;
use portcullis_bundles::policies::{Policy, Rule};

use super::subject::Subject;
use crate::attributes::KeyError;
use crate::buckets::{Charge, Cost, KeyHasher, Params};
use crate::limit_stats::LimitStats;

/// A rule that applies, and what it charges.
pub(super) struct Applied<'p> {
    pub(super) policy: &'p Policy,
    pub(super) rule: &'p Rule,
    pub(super) charge: Charge,
}

/// What becomes of a rule.
pub(super) enum Due {
    /// It charges.
    Charge(Charge),
    /// A key is missing and the rule is left out.
    Skip,
    /// A key is missing and the request is refused.
    Deny,
}

/// Why a rule could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RuleError {
    #[error("policy {policy}, rule {rule}: {error}")]
    Key {
        policy: Box<str>,
        rule: Box<str>,
        error: KeyError,
    },
    #[error("policy {policy}, rule {rule}: its numbers are out of range")]
    Numbers { policy: Box<str>, rule: Box<str> },
}

impl RuleError {
    pub(super) fn key(policy: &Policy, rule: &Rule, error: KeyError) -> Self {
        Self::Key {
            policy: policy.id.as_ref().into(),
            rule: rule.name.as_ref().into(),
            error,
        }
    }
}

/// The parameters of a rule's buckets.
pub(super) fn params(rule: &Rule) -> Option<Params> {
    let Limit::TokenBucket(TokenBucket {
        tokens_per_second,
        burst,
        ..
    }) = &rule.limit;
    Params::new(*tokens_per_second, *burst)
}

/// What a rule that applies does.
pub(super) fn due(
    policy: &Policy,
    rule: &Rule,
    subject: &impl Subject,
    mut hasher: KeyHasher,
    stats: &LimitStats,
) -> Result<Due, RuleError> {
    for key in &rule.keys {
        let there = subject
            .count_by(key, &mut hasher)
            .map_err(|error| RuleError::key(policy, rule, error))?;
        if there {
            continue;
        }
        stats.missing(rule.on_missing);
        match rule.on_missing {
            OnMissing::Skip => return Ok(Due::Skip),
            OnMissing::Anonymous => hasher.add(None),
            OnMissing::Deny => return Ok(Due::Deny),
        }
    }
    let numbers = || RuleError::Numbers {
        policy: policy.id.as_ref().into(),
        rule: rule.name.as_ref().into(),
    };
    let params = params(rule).ok_or_else(numbers)?;
    let Limit::TokenBucket(bucket) = &rule.limit;
    let cost = cost(&bucket.cost, &params, subject, stats).map_err(|error| RuleError::key(policy, rule, error))?;
    Ok(Due::Charge(Charge {
        key: hasher.finish(),
        params,
        cost: cost.ok_or_else(numbers)?,
    }))
}

/// What the subject costs. A number that it tells counts when it is finite, not negative and not above the burst.
fn cost(
    cost: &algorithm::Cost,
    params: &Params,
    subject: &impl Subject,
    stats: &LimitStats,
) -> Result<Option<Cost>, KeyError> {
    let (told, default) = match cost {
        algorithm::Cost::Fixed(tokens) => return Ok(Cost::new(*tokens)),
        algorithm::Cost::Header { name, default } => (subject.header(name), *default),
        algorithm::Cost::Query { name, default } => (subject.query(name)?, *default),
    };
    let Some(told) = told else {
        return Ok(Cost::new(default));
    };
    let number = told
        .trim()
        .parse()
        .ok()
        .and_then(Cost::new)
        .filter(|cost| cost.fits(params));
    if number.is_none() {
        stats.bad_cost();
    }
    Ok(number.or_else(|| Cost::new(default)))
}
